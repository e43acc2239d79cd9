//! The rules of tickets: a principal's have their turns in the order in which they were issued, and each ends once. Pure.
//!
//! No clock decides here. Who leads grants them as places get free, and says when one was held for long enough.

use flotilla_api::{ClusterName, keys::PrincipalName};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    machine::{Answer, Refusal, get, put},
    rows::{
        OwnerRow, SYSTEM, TICKET_LINES, TICKET_OWNERS, TICKETS, TICKETS_STANDING, TICKETS_USED, TicketRow, TicketState,
        TicketsRow, Weight, line_end, line_key, line_number, number, number_key,
    },
};

#[cfg(test)]
mod tests;

/// The most tickets that wait or are granted: some minutes of a busy fleet.
pub const STANDING_MAX: usize = 10_000;
/// The most of one principal.
pub const OWNED_MAX: u32 = 1_000;
/// The most tickets that are granted and not used; each holds a place.
pub const GRANTED_MAX: usize = 1_024;
/// The most used ones that are known; the next one makes the oldest unknown.
pub const USED_MAX: u32 = 10_000;
/// The most tickets of one command: each touches five rows at most.
pub const AT_ONCE_MAX: usize = 64;
/// How often a ticket opens the door: once, and again for a supernode that was lost before it had passed the request on,
/// and for that one's successor. Later it still names the change, which then waits as any other does.
pub const OPENS_MAX: u8 = 3;

/// A change of tickets. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Issues a ticket; its number is the entry's place in the log.
    Issue(Issue),
    /// Has the turn of tickets come, one after the other: of each that waits and has none of its principal before it.
    Grant {
        /// The tickets, and the clusters that have a place for them; at most [`AT_ONCE_MAX`].
        grants: Vec<(u64, ClusterName)>,
    },
    /// A request was sent under a ticket.
    Use {
        /// Its number.
        number: u64,
        /// What its owner knows of it.
        secret: u64,
        /// Who sent the request.
        principal: PrincipalName,
        /// The request.
        what: [u8; 16],
    },
    /// Ends tickets that were not used.
    End {
        /// The tickets; at most [`AT_ONCE_MAX`].
        numbers: Vec<u64>,
        /// Why.
        why: Ending,
    },
    /// Forgets tickets that were used at or before an entry; the oldest [`AT_ONCE_MAX`] of them.
    Clear {
        /// The entry.
        upto: u64,
    },
}

/// A ticket to be issued; fields as in [`TicketRow`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// What its owner alone knows of it.
    pub secret: u64,
    /// Whose it is.
    pub principal: PrincipalName,
    /// What it is for.
    pub what: [u8; 16],
    /// How much that is.
    pub weight: Weight,
    /// The home of its key.
    pub home: Option<ClusterName>,
}

/// Why a ticket ends unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Its turn came, and its place was held for long enough.
    Lost,
    /// Nobody wants it any more.
    Cancelled,
}

/// What became of tickets. Kept for retries: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A ticket with this number.
    Issued(u64),
    /// Whether the turn of each has come by this.
    Granted(Vec<bool>),
    /// The request may pass.
    Used {
        /// The cluster that has a place for it.
        cluster: ClusterName,
        /// The how many-th time that it was used.
        times: u8,
    },
    /// Its turn has not come.
    Waits,
    /// The ticket is for another request.
    Other,
    /// There is no such ticket.
    Unknown,
    /// Whether each ended by this.
    Ended(Vec<bool>),
    /// How many are forgotten.
    Cleared(u32),
}

/// Applies a change.
///
/// # Errors
/// [`Fault`]: the state can't be read.
pub(super) fn apply(state: &mut dyn Txn, change: Change, at: Position) -> Result<Answer, Fault> {
    let mut all: TicketsRow = get(state, SYSTEM, TICKETS_STANDING)?.unwrap_or_default();
    let told = match change {
        Change::Issue(issue) => match issued(state, &mut all, issue, at.index)? {
            Ok(number) => Told::Issued(number),
            Err(refusal) => return Ok(Answer::Refused(refusal)),
        },
        Change::Grant { grants } => {
            let grants = grants.into_iter().take(AT_ONCE_MAX);
            let done: Result<_, Fault> =
                grants.map(|(number, cluster)| granted(state, &mut all, number, cluster)).collect();
            Told::Granted(done?)
        }
        Change::Use { number, secret, principal, what } => match get::<TicketRow>(state, TICKETS, &number_key(number))?
        {
            Some(row) if row.secret == secret && row.principal == principal => {
                used(state, &mut all, (number, row), what, at.index)?
            }
            Some(_) | None => Told::Unknown,
        },
        Change::End { numbers, why } => {
            let numbers = numbers.into_iter().take(AT_ONCE_MAX);
            let done: Result<_, Fault> = numbers.map(|number| ended(state, &mut all, number, why)).collect();
            Told::Ended(done?)
        }
        Change::Clear { upto } => Told::Cleared(cleared(state, &mut all, upto, AT_ONCE_MAX)?),
    };
    all.revision += 1;
    put(state, SYSTEM, TICKETS_STANDING.to_vec(), &all);
    Ok(Answer::Ticket(told))
}

/// Why a principal gets no ticket more, if there are too many.
pub(super) fn too_many(all: &TicketsRow, owner: Option<OwnerRow>) -> Option<Refusal> {
    if all.waiting as usize + all.granted.len() >= STANDING_MAX {
        return Some(Refusal::TicketsFull);
    }
    owner.filter(|owner| owner.standing >= OWNED_MAX).map(|_| Refusal::TicketsOfOne)
}

fn issued(state: &mut dyn Txn, all: &mut TicketsRow, issue: Issue, number: u64) -> Result<Result<u64, Refusal>, Fault> {
    let Issue { secret, principal, what, weight, home } = issue;
    let key = principal.as_str().as_bytes().to_vec();
    let owner = get::<OwnerRow>(state, TICKET_OWNERS, &key)?;
    if let Some(refusal) = too_many(all, owner) {
        return Ok(Err(refusal));
    }
    // Whoever has none that stands has none that waits, whatever was before.
    let mut owner = owner.unwrap_or_else(|| {
        all.owners += 1;
        OwnerRow { standing: 0, from: number }
    });
    owner.standing += 1;
    all.waiting += 1;
    put(state, TICKET_OWNERS, key, &owner);
    state.put(TICKET_LINES, line_key(&principal, number), Vec::new());
    let row = TicketRow { secret, principal, what, weight, home, state: TicketState::Waiting };
    put(state, TICKETS, number_key(number), &row);
    Ok(Ok(number))
}

fn granted(state: &mut dyn Txn, all: &mut TicketsRow, number: u64, cluster: ClusterName) -> Result<bool, Fault> {
    let Some(mut row) = get::<TicketRow>(state, TICKETS, &number_key(number))? else { return Ok(false) };
    if row.state != TicketState::Waiting || all.granted.len() >= GRANTED_MAX {
        return Ok(false);
    }
    let key = row.principal.as_str().as_bytes().to_vec();
    let Some(mut owner) = get::<OwnerRow>(state, TICKET_OWNERS, &key)? else { return Ok(false) };
    if !is_next(state, &row.principal, owner.from, number)? {
        return Ok(false);
    }
    owner.from = owner.from.max(first_after(number));
    put(state, TICKET_OWNERS, key, &owner);
    state.delete(TICKET_LINES, line_key(&row.principal, number));
    all.waiting -= 1;
    all.turns += 1;
    all.granted.push(number);
    row.state = TicketState::Granted { cluster, turn: all.turns };
    put(state, TICKETS, number_key(number), &row);
    Ok(true)
}

/// Behind a ticket whose turn has come none of its principal waits before it.
fn first_after(number: u64) -> u64 {
    flotilla_env::failpoint!("tickets.any_order", |_| 0);
    number + 1
}

/// Whether no ticket of the principal with a lower number waits.
fn is_next(state: &dyn Txn, principal: &PrincipalName, from: u64, number: u64) -> Result<bool, Fault> {
    flotilla_env::failpoint!("tickets.any_order", |_| Ok(true));
    let first = state.scan(TICKET_LINES, &line_key(principal, from), Some(&line_end(principal)), 1)?;
    Ok(first.first().and_then(|(key, _)| line_number(key)) == Some(number))
}

fn used(
    state: &mut dyn Txn,
    all: &mut TicketsRow,
    (number, mut row): (u64, TicketRow),
    what: [u8; 16],
    index: u64,
) -> Result<Told, Fault> {
    if row.what != what {
        return Ok(Told::Other);
    }
    let (cluster, turn, times) = match row.state {
        TicketState::Waiting => return Ok(Told::Waits),
        TicketState::Granted { cluster, turn } => {
            all.granted.retain(|granted| *granted != number);
            disowned(state, all, &row.principal)?;
            if all.used >= USED_MAX {
                cleared(state, all, index, 1)?;
            }
            all.used += 1;
            put(state, TICKETS_USED, number_key(index), &number);
            (cluster, turn, 1)
        }
        TicketState::Used { cluster, turn, times } => (cluster, turn, times.saturating_add(1)),
    };
    row.state = TicketState::Used { cluster: cluster.clone(), turn, times };
    put(state, TICKETS, number_key(number), &row);
    Ok(Told::Used { cluster, times })
}

fn ended(state: &mut dyn Txn, all: &mut TicketsRow, number: u64, why: Ending) -> Result<bool, Fault> {
    let Some(row) = get::<TicketRow>(state, TICKETS, &number_key(number))? else { return Ok(false) };
    match (&row.state, why) {
        (TicketState::Waiting, Ending::Cancelled) => {
            state.delete(TICKET_LINES, line_key(&row.principal, number));
            all.waiting -= 1;
        }
        (TicketState::Granted { .. }, Ending::Cancelled | Ending::Lost) => {
            all.granted.retain(|granted| *granted != number);
        }
        // Used just before, or its turn has not come: whoever wanted to end it knew too little.
        (TicketState::Used { .. }, Ending::Cancelled | Ending::Lost) | (TicketState::Waiting, Ending::Lost) => {
            return Ok(false);
        }
    }
    disowned(state, all, &row.principal)?;
    state.delete(TICKETS, number_key(number));
    Ok(true)
}

/// Counts one less of a principal's tickets that wait or are granted.
fn disowned(state: &mut dyn Txn, all: &mut TicketsRow, principal: &PrincipalName) -> Result<(), Fault> {
    let key = principal.as_str().as_bytes().to_vec();
    match get::<OwnerRow>(state, TICKET_OWNERS, &key)? {
        Some(owner) if owner.standing > 1 => {
            put(state, TICKET_OWNERS, key, &OwnerRow { standing: owner.standing - 1, ..owner });
        }
        Some(_) => {
            state.delete(TICKET_OWNERS, key);
            all.owners -= 1;
        }
        None => {}
    }
    Ok(())
}

fn cleared(state: &mut dyn Txn, all: &mut TicketsRow, upto: u64, limit: usize) -> Result<u32, Fault> {
    let end = number_key(upto.saturating_add(1));
    let mut count = 0;
    for (key, _) in state.scan(TICKETS_USED, &number_key(all.used_from), Some(&end), limit)? {
        if let Some(ticket) = get::<u64>(state, TICKETS_USED, &key)? {
            state.delete(TICKETS, number_key(ticket));
        }
        all.used_from = number(&key).map_or(all.used_from, |index| index + 1);
        state.delete(TICKETS_USED, key);
        count += 1;
    }
    all.used -= count;
    Ok(count)
}
