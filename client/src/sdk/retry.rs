//! Decides whether a failed try is followed by another, when and where; pure, with no clock, randomness or I/O.

use std::{io, time::Duration};

use flotilla_api::{Code, Problem};

use crate::body::BoxError;

/// Tries after the first: with the waits below about 6 s, twice the longest gap that a change of leaders leaves.
pub(super) const RETRIES: u32 = 6;
/// What a caller can ask for at most; at 5 s each, more than any restart takes.
pub(super) const RETRIES_MAX: u32 = 100;
/// Tries after a change whose outcome is open, wherever they go: each one asks a server that may have remembered it; three servers
/// are a group.
const OPEN_RETRIES: u32 = 3;
/// The first wait: a request or two of a busy server.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// The longest wait of our own making: a server that is back is found within this time.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A server that asks for more than this is not waited for: whether the wait is worth it is for the caller to say.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What one try ended with.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent.
    Unreachable(BoxError),
    /// The request was cut before its body's end, so that no server can have acted on it.
    Cut(BoxError),
    /// The request was sent, and there is no answer that could be read.
    Lost(BoxError),
    /// A server refused.
    Problem(Box<Problem>),
    /// An answer that is not understood.
    Malformed(String),
    /// The source of the body failed.
    Source(io::Error),
    /// The request can't be sent.
    Invalid(String),
}

impl Failure {
    /// Says whether a change that failed so may have been made nevertheless.
    fn leaves_open(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Malformed(_) => true,
            Self::Problem(problem) => problem.code == Code::Indeterminate,
            Self::Unreachable(_) | Self::Cut(_) | Self::Source(_) | Self::Invalid(_) => false,
        }
    }

    /// Says whether another address may do better.
    pub(super) fn blames_address(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Cut(_) | Self::Lost(_) => true,
            Self::Problem(problem) => {
                matches!(problem.code, Code::NotReady | Code::NoLeader | Code::CatchingUp | Code::DirectoryUnavailable)
            }
            Self::Malformed(_) | Self::Source(_) | Self::Invalid(_) => false,
        }
    }

    /// Gives the addresses of the key's home, if the server knows that it is elsewhere, and where.
    pub(super) fn told_home(&self) -> &[String] {
        match self {
            Self::Problem(problem) if problem.code == Code::WrongHome => match &problem.home {
                Some(home) => &home.addresses,
                None => &[],
            },
            Self::Problem(_)
            | Self::Unreachable(_)
            | Self::Cut(_)
            | Self::Lost(_)
            | Self::Malformed(_)
            | Self::Source(_)
            | Self::Invalid(_) => &[],
        }
    }
}

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait, then try again.
    Again(Duration),
    /// Tell the caller.
    GiveUp,
}

/// The tries of one request so far.
#[derive(Debug)]
pub(super) struct Tries {
    mutating: bool,
    addresses: usize,
    retries_max: u32,
    retries: u32,
    hops: usize,
    open: u32,
}

impl Tries {
    pub(super) fn new(mutating: bool, addresses: usize, retries_max: u32) -> Self {
        Self { mutating, addresses, retries_max, retries: 0, hops: 0, open: 0 }
    }

    /// Says whether an earlier try may have made the change.
    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }

    /// Says whether no server is to be asked any more what became of a change.
    pub(super) fn is_spent(&self) -> bool {
        self.open > OPEN_RETRIES
    }

    /// Takes note of a failed try that is not followed by a step of its own; gives whether the change is open by it.
    pub(super) fn note(&mut self, failure: &Failure) -> bool {
        let open = self.mutating && failure.leaves_open();
        self.open += u32::from(open);
        open
    }

    /// Takes note of a failed try; gives whether to leave the address, and the next step.
    ///
    /// `random` spreads the waits of many clients.
    pub(super) fn after(&mut self, failure: &Failure, random: u64) -> (bool, Step) {
        self.note(failure);
        let elsewhere = failure.blames_address();
        let step = match failure {
            _ if self.is_spent() => Step::GiveUp,
            Failure::Unreachable(_) if self.hops + 1 < self.addresses => {
                self.hops += 1;
                Step::Again(Duration::ZERO)
            }
            Failure::Unreachable(_) | Failure::Cut(_) | Failure::Lost(_) => self.wait(None, random),
            Failure::Problem(problem) if problem.code == Code::Indeterminate => self.wait(None, random),
            Failure::Problem(problem) if problem.retryable => {
                self.wait(problem.retry_after_ms.map(Duration::from_millis), random)
            }
            Failure::Problem(_) | Failure::Malformed(_) | Failure::Source(_) | Failure::Invalid(_) => Step::GiveUp,
        };
        (elsewhere, step)
    }

    /// Doubles the wait with each retry; one half of it, or what the server asks for, is fixed, the other half is random.
    fn wait(&mut self, asked: Option<Duration>, random: u64) -> Step {
        if self.retries >= self.retries_max || asked.is_some_and(|asked| asked > RETRY_AFTER_MAX) {
            return Step::GiveUp;
        }
        let full = WAIT_FIRST.saturating_mul(1 << self.retries.min(16)).min(WAIT_MAX);
        self.retries += 1;
        self.hops = 0;
        let half_ms = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        Step::Again(asked.unwrap_or(full / 2) + Duration::from_millis(random % half_ms))
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::{Epoch, error::HomeElsewhere};

    use super::*;

    fn problem(code: Code) -> Failure {
        Failure::Problem(Box::new(Problem::new(code, "")))
    }

    #[test]
    fn all_addresses_are_tried_before_the_first_wait() {
        let mut tries = Tries::new(true, 3, RETRIES);
        let refused = || Failure::Unreachable("refused".into());
        assert_eq!(tries.after(&refused(), 0), (true, Step::Again(Duration::ZERO)));
        assert_eq!(tries.after(&refused(), 0), (true, Step::Again(Duration::ZERO)));
        assert_eq!(tries.after(&refused(), 0), (true, Step::Again(WAIT_FIRST / 2)));
        assert_eq!(tries.after(&refused(), 0), (true, Step::Again(Duration::ZERO)));
        assert!(!tries.is_open());
    }

    #[test]
    fn waits_double_up_to_their_limit_and_end() {
        let mut tries = Tries::new(false, 1, 10);
        let mut waits = Vec::new();
        while let (_, Step::Again(wait)) = tries.after(&problem(Code::NotReady), u64::MAX) {
            waits.push(wait);
        }
        assert_eq!(waits.len(), 10);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(waits.iter().all(|wait| *wait < WAIT_MAX));
        assert!(waits[9] >= WAIT_MAX / 2);
    }

    #[test]
    fn only_problems_that_can_pass_are_tried_again() {
        for code in Code::ALL {
            let (_, step) = Tries::new(true, 1, 1).after(&problem(*code), 0);
            let again = code.retryable() || *code == Code::Indeterminate;
            assert_eq!(step != Step::GiveUp, again, "{code}");
        }
    }

    #[test]
    fn an_open_change_is_asked_for_a_few_times_only() {
        let mut tries = Tries::new(true, 2, RETRIES_MAX);
        for _ in 0..OPEN_RETRIES {
            assert!(matches!(tries.after(&Failure::Lost("reset".into()), 0), (true, Step::Again(_))));
        }
        assert_eq!(tries.after(&problem(Code::Indeterminate), 0), (false, Step::GiveUp));
        assert!(tries.is_open());
    }

    #[test]
    fn tries_elsewhere_count_among_those_of_an_open_change() {
        let mut tries = Tries::new(true, 2, RETRIES_MAX);
        let refused = || Failure::Unreachable("refused".into());
        for _ in 0..OPEN_RETRIES {
            assert!(tries.note(&Failure::Lost("a node hung".into())));
            assert!(matches!(tries.after(&refused(), 0), (true, Step::Again(_))));
        }
        assert!(!tries.is_spent());
        assert!(tries.note(&problem(Code::Indeterminate)));
        assert!(tries.is_spent());
        assert_eq!(tries.after(&refused(), 0), (true, Step::GiveUp));
    }

    #[test]
    fn a_refusal_names_the_home_if_it_is_known() {
        let mut wrong = Problem::new(Code::WrongHome, "");
        assert!(Failure::Problem(Box::new(wrong.clone())).told_home().is_empty());
        let addresses = vec!["http://b:1".to_owned()];
        let cluster = "b".parse().expect("a good name");
        wrong.home = Some(HomeElsewhere { cluster, epoch: Epoch(1), addresses: addresses.clone() });
        assert_eq!(Failure::Problem(Box::new(wrong)).told_home(), addresses);
        assert!(problem(Code::NoLeader).told_home().is_empty());
    }

    #[test]
    fn a_lost_read_is_not_open() {
        let mut tries = Tries::new(false, 1, 1);
        assert!(matches!(tries.after(&Failure::Lost("reset".into()), 0), (true, Step::Again(_))));
        assert!(!tries.is_open());
    }

    #[test]
    fn a_server_that_asks_for_too_long_is_not_waited_for() {
        let asks = |wait: Duration| {
            let ms = u64::try_from(wait.as_millis()).expect("a minute fits");
            Failure::Problem(Box::new(Problem::new(Code::RateLimited, "").retry_after_ms(ms)))
        };
        let mut tries = Tries::new(false, 1, 2);
        assert_eq!(tries.after(&asks(RETRY_AFTER_MAX), 0).1, Step::Again(RETRY_AFTER_MAX));
        assert_eq!(tries.after(&asks(RETRY_AFTER_MAX + Duration::from_secs(1)), 0).1, Step::GiveUp);
    }
}
