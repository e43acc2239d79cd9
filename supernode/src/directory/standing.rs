//! Tickets as they are applied here: for those who look at one, and for the leader, who has their turns come.

use flotilla_api::{TicketId, keys::PrincipalName};

use super::{
    Answer, Command,
    read::{DEADLINE, Directory, Error, decode},
    rows::{
        DOCUMENTS, DOCUMENTS_MAX, OwnerRow, SYSTEM, TICKET_LINES, TICKET_OWNERS, TICKETS, TICKETS_STANDING,
        TICKETS_USED, TicketRow, TicketsRow, line_end, line_key, line_number, number, number_key, principal_key,
    },
    tickets::{AT_ONCE_MAX, Change, Issue, OWNED_MAX, too_many},
};

#[cfg(test)]
mod tests;

/// The principals whose tickets the leader goes through: as many as there can be. Were there more, the last ones by name
/// would have no turn while the first ones take new tickets. Of those that were revoked tickets end.
const PRINCIPALS_MAX: usize = DOCUMENTS_MAX as usize;

/// A ticket that is the next one of its principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub number: u64,
    /// The ticket.
    pub row: TicketRow,
}

/// What the leader goes by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// All of them, counted.
    pub all: TicketsRow,
    /// The next one of each principal that has one that waits.
    pub heads: Vec<Head>,
    /// Those that are granted and not used.
    pub granted: Vec<Head>,
    /// Where in the log the first one was used of those that are still known.
    pub oldest_used: Option<u64>,
}

impl Directory {
    /// Issues a ticket, unless there are too many as applied here: whoever asks for ever more of them causes no writes.
    /// `bits` make the command's id and must be random.
    ///
    /// # Errors
    /// As [`Directory::propose`], and as [`Directory::applied_home`].
    ///
    /// # Cancel safety
    /// A dropped future may leave a ticket that nobody knows; it is lost when its turn has come and gone.
    pub async fn issue_ticket(&self, bits: u128, issue: Issue) -> Result<Answer, Error> {
        let owner = self.row::<OwnerRow>(TICKET_OWNERS, issue.principal.as_str().as_bytes())?;
        match too_many(&self.tickets()?, owner) {
            Some(refusal) => Ok(Answer::Refused(refusal)),
            None => self.propose(bits, Command::Ticket(Change::Issue(issue))).await,
        }
    }

    /// Gives a ticket of a principal. A hit comes from applied state and may be behind; a miss is answered only after a read
    /// barrier of the group.
    ///
    /// # Errors
    /// As [`Directory::home`].
    pub async fn ticket(&self, id: TicketId, principal: &PrincipalName) -> Result<Option<TicketRow>, Error> {
        match self.applied_ticket(id, principal)? {
            Some(row) => Ok(Some(row)),
            None => self.fresh_ticket(id, principal).await,
        }
    }

    /// Gives a ticket of a principal after a read barrier.
    ///
    /// # Errors
    /// As [`Directory::home`].
    pub async fn fresh_ticket(&self, id: TicketId, principal: &PrincipalName) -> Result<Option<TicketRow>, Error> {
        self.group().read(DEADLINE).await?;
        self.applied_ticket(id, principal)
    }

    /// Gives a ticket of a principal as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn applied_ticket(&self, id: TicketId, principal: &PrincipalName) -> Result<Option<TicketRow>, Error> {
        let row = self.row::<TicketRow>(TICKETS, &number_key(id.number))?;
        Ok(row.filter(|row| row.secret == id.secret && row.principal == *principal))
    }

    /// Gives the place of a ticket that waits among those of its principal, from 1 on, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn ticket_position(&self, principal: &PrincipalName, number: u64) -> Result<u64, Error> {
        let from = self.row::<OwnerRow>(TICKET_OWNERS, principal.as_str().as_bytes())?.unwrap_or_default().from;
        let (from, to) = (line_key(principal, from), line_key(principal, number));
        let before = self.group().consistent_view()?.scan(TICKET_LINES, &from, Some(&to), OWNED_MAX as usize)?;
        Ok(before.len() as u64 + 1)
    }

    /// Counts all tickets, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn tickets(&self) -> Result<TicketsRow, Error> {
        Ok(self.row(SYSTEM, TICKETS_STANDING)?.unwrap_or_default())
    }

    /// Gives what the leader goes by, as applied here.
    ///
    /// # Bounds
    /// Two rows and a short scan for each principal that has a ticket, of which there are [`DOCUMENTS_MAX`] at most.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn standing_tickets(&self) -> Result<Standing, Error> {
        let view = self.group().consistent_view()?;
        let head = |number: u64| -> Result<Option<Head>, Error> {
            let Some(bytes) = view.get(TICKETS, &number_key(number))? else { return Ok(None) };
            Ok(Some(Head { number, row: decode(TICKETS, &bytes)? }))
        };
        let all: TicketsRow = match view.get(SYSTEM, TICKETS_STANDING)? {
            Some(bytes) => decode(SYSTEM, &bytes)?,
            None => return Ok(Standing::default()),
        };
        let mut standing = Standing::default();
        for granted in &all.granted {
            standing.granted.extend(head(*granted)?);
        }
        for (name, bytes) in view.scan(TICKET_OWNERS, &[], None, PRINCIPALS_MAX)? {
            let owner: OwnerRow = decode(TICKET_OWNERS, &bytes)?;
            let principal = owner_name(&name)?;
            let (from, to) = (line_key(&principal, owner.from), line_end(&principal));
            let line = view.scan(TICKET_LINES, &from, Some(&to), look_at())?;
            let Some(next) = line.last().and_then(|(key, _)| line_number(key)) else { continue };
            standing.heads.extend(head(next)?);
        }
        let used = view.scan(TICKETS_USED, &number_key(all.used_from), None, 1)?;
        standing.oldest_used = used.first().and_then(|(key, _)| number(key));
        standing.all = all;
        Ok(standing)
    }

    /// Gives some of a principal's tickets that wait, the first ones, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn line(&self, principal: &PrincipalName) -> Result<Vec<u64>, Error> {
        let (from, to) = (line_key(principal, 0), line_end(principal));
        let line = self.group().consistent_view()?.scan(TICKET_LINES, &from, Some(&to), AT_ONCE_MAX)?;
        Ok(line.iter().filter_map(|(key, _)| line_number(key)).collect())
    }

    /// Whether a principal exists, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn has_principal(&self, name: &PrincipalName) -> Result<bool, Error> {
        Ok(self.group().consistent_view()?.get(DOCUMENTS, &principal_key(name))?.is_some())
    }
}

/// How far into a line the leader looks: at its first one.
fn look_at() -> usize {
    flotilla_env::failpoint!("tickets.any_order", |_| AT_ONCE_MAX);
    1
}

fn owner_name(key: &[u8]) -> Result<PrincipalName, Error> {
    let name = String::from_utf8_lossy(key).parse::<PrincipalName>();
    name.map_err(|error| Error::Corrupt { family: TICKET_OWNERS, what: error.to_string() })
}
