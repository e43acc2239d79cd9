//! Tickets as clients have them: issued instead of a wait, looked at, used and given up.
//!
//! What a ticket is the directory decides; when its turn comes is the leader's affair.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use flotilla_api::{
    ClusterName, Code, FileName, Problem, TicketAnswer, TicketId, TicketState, header,
    keys::PrincipalName,
    queue::{Class, Lane},
    tickets::TICKET_WAIT_MAX_S,
};
use flotilla_http_server::{ApiError, Caller, files::Source};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CACHE_CONTROL, LOCATION, RETRY_AFTER},
};
use serde::Deserialize;

use super::{
    Late, Service,
    admit::Wish,
    error::{of_answer, of_directory, of_refusal},
};
use crate::{
    directory::{
        Answer, Command,
        read::Error,
        rows::{self, TicketRow, Weight},
        tickets::{Change, Ending, Issue, OPENS_MAX, Told},
    },
    tickets::count,
};

/// How long a new ticket's own supernode is waited for before its position is told.
const APPLIED_WITHIN: Duration = Duration::from_secs(1);

/// What a request under a ticket is let through as.
pub(super) enum Passes {
    /// It has its place at this cluster.
    Due(ClusterName),
    /// It was let through before: it waits as others do, and is made once.
    AsOthers,
    /// Its turn has not come.
    Waits(TicketRow),
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    wait: Option<u64>,
}

/// Tells how a ticket stands; waits for its turn to come, if it is asked to and there is room for one more who waits. Who
/// finds none is told at once how the ticket stands and when to look again, as if it had not asked to wait: a refusal would
/// say nothing of a ticket that is good.
pub(super) async fn look(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let (service, id, principal) = (service.ready()?, parse(&id)?, principal(&caller)?);
    let wait = Duration::from_secs(asked.wait.unwrap_or(0).min(TICKET_WAIT_MAX_S));
    let until = service.clock.now() + wait;
    let mut changes = service.turns.clone();
    let room = (!wait.is_zero()).then(|| service.polls.begin(&principal)).flatten();
    loop {
        changes.borrow_and_update();
        let row = service.ticket(id, &principal).await;
        let waits = row.as_ref().is_ok_and(|row| row.state == rows::TicketState::Waiting);
        // The channel ends with the supernode: the client asks another one.
        let over = !waits
            || room.is_none()
            || tokio::time::timeout_at(until, changes.changed()).await.map_or(true, |changed| changed.is_err());
        // Its key may have been revoked while it waited, however that ended.
        service.documents.recheck(caller.key)?;
        if over {
            return row.map(|row| service.answer(StatusCode::OK, id, &row));
        }
    }
}

/// Gives a ticket up.
pub(super) async fn cancel(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (service, id, principal) = (service.ready()?, parse(&id)?, principal(&caller)?);
    service.ticket(id, &principal).await?;
    let end = Change::End { numbers: vec![id.number], why: Ending::Cancelled };
    if service.change_tickets(end).await? == Told::Ended(vec![true]) {
        count("cancelled", 1);
        return Ok(StatusCode::NO_CONTENT);
    }
    // It has ended meanwhile, or its request was sent.
    let row = service.directory().fresh_ticket(id, &principal).await.map_err(|error| of_directory(&error))?;
    row.ok_or_else(lost)?;
    Err(ApiError::new(Code::Conflict, "the ticket was used: its request is under way, or over"))
}

impl Service {
    /// Issues a ticket for a request that would have to wait, and answers with it.
    pub(super) async fn issue(
        &self,
        wish: &Wish<'_>,
        what: [u8; 16],
        home: Option<ClusterName>,
    ) -> Result<Response, ApiError> {
        let (entropy, principal) = (&self.forwarder.entropy, principal(wish.caller)?);
        let (secret, weight) = (entropy.u64(), weight(wish.class));
        let issue = Issue { secret, principal: principal.clone(), what, weight, home: home.clone() };
        let number = match of_change(self.directory().issue_ticket(entropy.u128(), issue).await)? {
            Told::Issued(number) => number,
            told => return Err(of_answer(&Answer::Ticket(told))),
        };
        count("issued", 1);
        let id = TicketId { number, secret };
        // Its number is its place in the log. A supernode that is behind tells of it what was asked for: unknown to its
        // client it would still have its turn.
        let _ = self.directory().group().wait_applied(number, APPLIED_WITHIN).await;
        let applied = self.directory().applied_ticket(id, &principal).ok().flatten();
        let state = rows::TicketState::Waiting;
        let row = applied.unwrap_or(TicketRow { secret, principal, what, weight, home, state });
        Ok(self.answer(StatusCode::ACCEPTED, id, &row))
    }

    /// Takes note that a request was sent under a ticket, and says how it passes.
    pub(super) async fn use_ticket(&self, id: TicketId, wish: &Wish<'_>, what: [u8; 16]) -> Result<Passes, ApiError> {
        let principal = principal(wish.caller)?;
        let mut row = self.ticket(id, &principal).await?;
        if row.state == rows::TicketState::Waiting {
            // Its client was told by another supernode, maybe.
            let fresh = self.directory().fresh_ticket(id, &principal).await.map_err(|error| of_directory(&error))?;
            row = fresh.ok_or_else(lost)?;
        }
        if row.what != what {
            return Err(for_another());
        }
        if row.state == rows::TicketState::Waiting {
            return Ok(Passes::Waits(row));
        }
        if is_spent(&row.state) {
            // To count it once more would change nothing, and be a write.
            return Ok(Passes::AsOthers);
        }
        let TicketId { number, secret } = id;
        match self.change_tickets(Change::Use { number, secret, principal, what }).await? {
            Told::Used { cluster, times } => {
                flotilla_env::failpoint!("supernode.ticket_used");
                if times == 1 {
                    count("used", 1);
                }
                Ok(if opens(times, row.weight, weight(wish.class)) { Passes::Due(cluster) } else { Passes::AsOthers })
            }
            Told::Waits => Ok(Passes::Waits(row)),
            Told::Other => Err(for_another()),
            Told::Unknown => Err(lost()),
            told => Err(of_answer(&Answer::Ticket(told))),
        }
    }

    /// Answers a request whose ticket has not had its turn.
    pub(super) fn still_waits(&self, id: TicketId, row: &TicketRow) -> Response {
        self.answer(StatusCode::ACCEPTED, id, row)
    }

    async fn ticket(&self, id: TicketId, principal: &PrincipalName) -> Result<TicketRow, ApiError> {
        let row = self.directory().ticket(id, principal).await.map_err(|error| of_directory(&error))?;
        row.ok_or_else(lost)
    }

    async fn change_tickets(&self, change: Change) -> Result<Told, ApiError> {
        of_change(self.directory().propose(self.forwarder.entropy.u128(), Command::Ticket(change)).await)
    }

    /// # Shape
    /// A [`TicketAnswer`]; while the ticket waits, `Retry-After` says when to look again. A 202 has `Location` and
    /// `Preference-Applied` besides. No cache may keep it, since a ticket is a credential for a place.
    fn answer(&self, status: StatusCode, id: TicketId, row: &TicketRow) -> Response {
        let seen = *self.turns.borrow();
        let (state, cluster, granted) = match &row.state {
            rows::TicketState::Waiting => (TicketState::Waiting, None, None),
            rows::TicketState::Granted { cluster, turn } => (TicketState::Granted, Some(cluster.clone()), Some(*turn)),
            rows::TicketState::Used { cluster, turn, .. } => (TicketState::Used, Some(cluster.clone()), Some(*turn)),
        };
        let waits = state == TicketState::Waiting;
        let position = waits.then(|| self.directory().ticket_position(&row.principal, id.number).ok()).flatten();
        let wait = position.and_then(|position| seen.wait(position));
        let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let answer = TicketAnswer { id, state, position, wait_ms, cluster, granted };
        let mut response = (status, Json(answer)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if waits {
            headers.insert(RETRY_AFTER, again_s(wait, self.ticket_hold).into());
        }
        if status == StatusCode::ACCEPTED {
            let path = HeaderValue::try_from(id.to_path()).expect("a route and hex digits are ASCII");
            headers.insert(LOCATION, path);
            let applied = HeaderName::from_static("preference-applied");
            headers.insert(applied, HeaderValue::from_static("respond-async"));
        }
        response
    }
}

fn of_change(answer: Result<Answer, Error>) -> Result<Told, ApiError> {
    match answer {
        Ok(Answer::Ticket(told)) => Ok(told),
        Ok(Answer::Refused(refusal)) => Err(of_refusal(&refusal)),
        Ok(answer) => Err(of_answer(&answer)),
        // The ticket's fate may be open, that of the file is not.
        Err(Error::Raft(flotilla_raft_store::Error::Indeterminate)) => {
            let detail = "the supernode group did not confirm the ticket in time; nothing was done with the file";
            Err(Problem::new(Code::NoLeader, detail).retry_after_ms(500).into())
        }
        Err(error) => Err(of_directory(&error)),
    }
}

/// Whether a ticket opens the door no more.
fn is_spent(state: &rows::TicketState) -> bool {
    matches!(state, rows::TicketState::Used { times, .. } if *times >= OPENS_MAX)
}

/// Whether a request has the place that is held for a ticket, which was used so often with it. One that is larger than
/// the one that the ticket was issued for waits for its own: a place for a small one would let a large one pass all
/// that wait, and all bounds.
fn opens(times: u8, issued: Weight, sent: Weight) -> bool {
    times <= OPENS_MAX && sent.units <= issued.units && (issued.big || !sent.big)
}

/// When to look at a ticket again, in seconds: whatever is estimated, twice while its place would be held. Who came later
/// than that, just as it was told to, could find its turn gone.
fn again_s(wait: Option<Duration>, hold: Duration) -> u64 {
    let most_s = (hold / 2).as_secs().max(1);
    wait.map_or(most_s, |wait| wait.as_secs()).clamp(1, most_s)
}

/// Reads the ticket under which a request is sent, if there is one.
///
/// # Errors
/// 400 `header_invalid`.
pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<TicketId>, ApiError> {
    let Some(value) = headers.get(header::TICKET) else { return Ok(None) };
    let bad = |error| ApiError::new(Code::HeaderInvalid, format!("header 'Flotilla-Ticket': {error}"));
    value.to_str().unwrap_or_default().parse::<TicketId>().map(Some).map_err(bad)
}

/// Gives what a ticket is for: one method with one file, from one source. Used for anything else, two changes would have
/// one id.
pub(super) fn what(method: &Method, name: &FileName, source: Option<&Source>) -> [u8; 16] {
    let source = source.map(|source| format!("{} {}", source.moves, source.name.to_header())).unwrap_or_default();
    let mut hasher = blake3::Hasher::new_derive_key("flotilla ticket's request v1");
    for part in [method.as_str(), &name.to_header(), &source] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut what = [0; 16];
    what.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    what
}

fn weight(class: Class) -> Weight {
    let Class { lane, units, bytes } = class;
    Weight { big: lane == Lane::Big, units, bytes }
}

fn parse(text: &str) -> Result<TicketId, ApiError> {
    text.parse::<TicketId>().map_err(|error| ApiError::new(Code::HeaderInvalid, format!("{error}")))
}

fn principal(caller: &Caller) -> Result<PrincipalName, ApiError> {
    let parsed = caller.principal.parse::<PrincipalName>();
    parsed.map_err(|_| ApiError::new(Code::Forbidden, "only principals with a key have tickets"))
}

fn lost() -> ApiError {
    let detail =
        "there is no such ticket any more: it was not used in time, or its use is long over; nothing was done now";
    let hint = "if it was used, read the file first; then send the request anew, without the ticket";
    Problem::new(Code::TicketLost, detail).hint(hint).into()
}

fn for_another() -> ApiError {
    let problem = Problem::new(Code::Conflict, "the ticket is for another request; nothing was done");
    problem.hint("a ticket is for the method and the file that it was issued for").into()
}

#[cfg(test)]
mod tests;
