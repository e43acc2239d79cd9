//! Whether something is tried again, and how long to wait before that; pure.

use std::time::Duration;

use flotilla_api::{Code, TicketId};
use flotilla_client::{Error, Kind};

/// The first wait: a change of leaders takes some of these.
const WAIT_FIRST: Duration = Duration::from_millis(200);
/// The longest wait: a server that is back is found within this time.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Gives the wait before try number `tries` (from 0): it doubles up to a limit, and one half of it is random, so that many
/// clients that lost one server do not come back in one moment.
pub fn wait(tries: u32, random: u64) -> Duration {
    let full = WAIT_FIRST.saturating_mul(1 << tries.min(16)).min(WAIT_MAX);
    let half_ms = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX).max(1);
    full / 2 + Duration::from_millis(random % half_ms)
}

/// How often an upload is begun again after a server was lost: one change of leaders and one lost gateway.
const RESTARTS_MAX: u32 = 4;

/// The tries of one change, all under one Idempotency-Key.
#[derive(Debug, Default)]
pub struct Restarts {
    tries: u32,
    /// The first try whose outcome is open: from then on nothing but an answer to the change is an outcome.
    open: Option<Error>,
}

impl Restarts {
    /// Takes note of a failed try; gives the wait before the next one.
    ///
    /// # Errors
    /// What to tell the caller, where there is no next try.
    pub fn after(&mut self, error: Error, random: u64) -> Result<Duration, Error> {
        // A source that broke off was never stored, and whoever calls again for it opens it anew.
        let again = matches!(error.kind(), Kind::Unavailable | Kind::Indeterminate) && self.tries < RESTARTS_MAX;
        if again {
            let wait = wait(self.tries, random);
            self.tries += 1;
            if error.kind() == Kind::Indeterminate {
                self.open.get_or_insert(error);
            }
            return Ok(wait);
        }
        Err(self.open.take().unwrap_or(error))
    }
}

/// How many turns a file may have whose upload has to begin anew for each: one, and some that were missed.
const TURNS_MAX: u32 = 4;

/// The turns of such a file.
#[derive(Debug)]
pub struct Turns {
    had: u32,
    ticket: Option<TicketId>,
}

impl Turns {
    /// Begins with the ticket under which the file is sent first, if there is one.
    pub fn new(ticket: Option<TicketId>) -> Self {
        Self { had: 0, ticket }
    }

    /// Takes note of a failed try; gives the ticket under which the upload begins anew at once: none where a turn was
    /// missed, also before it was told to anybody, so that the next one is waited for.
    ///
    /// # Errors
    /// The same one, where that is not what follows.
    pub fn after(&mut self, error: Error) -> Result<Option<TicketId>, Error> {
        let lost = matches!(&error, Error::Problem(problem) if problem.code == Code::TicketLost);
        if lost && self.ticket.take().is_some() {
            return Ok(None); // its turn was counted when it was told
        }
        let left = self.had < TURNS_MAX;
        self.ticket = match error {
            Error::Granted { ticket } if left => Some(ticket),
            Error::Problem(_) if lost && left => None,
            error => return Err(error),
        };
        self.had += 1;
        Ok(self.ticket)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::Problem;

    use super::*;

    fn unreachable() -> Error {
        Error::Unreachable { address: "a".into(), source: "refused".into() }
    }

    fn open() -> Error {
        Error::Indeterminate { key: "k".parse().expect("a good id"), why: "reset".into(), problem: None }
    }

    #[test]
    fn tries_are_bounded() {
        let mut restarts = Restarts::default();
        for _ in 0..RESTARTS_MAX {
            assert!(restarts.after(unreachable(), 0).is_ok());
        }
        assert!(matches!(restarts.after(unreachable(), 0), Err(Error::Unreachable { .. })));
        assert!(matches!(Restarts::default().after(Error::Invalid("x".into()), 0), Err(Error::Invalid(_))));
    }

    #[test]
    fn an_open_outcome_stays_open_whatever_fails_later() {
        let mut restarts = Restarts::default();
        assert!(restarts.after(open(), 0).is_ok());
        assert!(restarts.after(unreachable(), 0).is_ok());
        let last = restarts.after(Error::Source(std::io::Error::other("gone")), 0).expect_err("no point in going on");
        assert_eq!(last.kind(), Kind::Indeterminate);
    }

    #[test]
    fn turns_that_were_missed_are_followed_by_others_and_not_for_ever() {
        let ticket = TicketId { number: 1, secret: 2 };
        let (granted, lost) = (
            || Error::Granted { ticket },
            || Error::Problem(Box::new(Problem::new(Code::TicketLost, "nobody used it in time"))),
        );
        let mut turns = Turns::new(None);
        assert!(matches!(turns.after(lost()), Ok(None)), "while it was waited for");
        for _ in 1..TURNS_MAX {
            assert!(matches!(turns.after(granted()), Ok(Some(told)) if told == ticket));
            assert!(matches!(turns.after(lost()), Ok(None)), "under way");
        }
        assert!(matches!(turns.after(granted()), Err(Error::Granted { .. })));
        assert!(matches!(turns.after(lost()), Err(Error::Problem(_))));
        assert!(matches!(Turns::new(Some(ticket)).after(unreachable()), Err(Error::Unreachable { .. })));
        assert!(matches!(Turns::new(Some(ticket)).after(lost()), Ok(None)));
    }

    #[test]
    fn waits_grow_to_their_limit_and_differ() {
        let longest: Vec<_> = (0..40).map(|tries| wait(tries, u64::MAX)).collect();
        assert!(longest.windows(2).all(|pair| pair[0] <= pair[1] + WAIT_FIRST));
        assert!(longest.iter().all(|wait| *wait < WAIT_MAX) && longest[39] >= WAIT_MAX / 2);
        assert!((0..40).all(|tries| wait(tries, 0) >= WAIT_FIRST / 2));
        assert_ne!(wait(5, 1), wait(5, 2));
    }
}
