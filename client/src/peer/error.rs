//! What can go wrong between two of our processes, and whether the request may have had an effect.

use std::time::Duration;

use flotilla_api::{Code, Problem};

use crate::body::BoxError;

/// Why a peer call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There was no connection; nothing can have been executed. Try again or elsewhere.
    #[error("peer '{target}' is unreachable")]
    Unreachable {
        /// The peer.
        target: String,
        /// What the connector said.
        #[source]
        source: BoxError,
    },
    /// The connection broke. Where the body had been handed over whole, the outcome is unknown; otherwise the peer can't have
    /// acted on it.
    #[error("exchange with peer '{target}' was interrupted")]
    Interrupted {
        /// The peer.
        target: String,
        /// What broke.
        #[source]
        source: BoxError,
        /// Whether the connection had been given the whole body.
        body_sent: bool,
    },
    /// There was no answer in time; the outcome is unknown.
    #[error("peer '{target}' did not answer within {deadline:?}")]
    Timeout {
        /// The peer.
        target: String,
        /// How long it had.
        deadline: Duration,
    },
    /// The peer refused; the problem says why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The answer (or the request) is not what our processes say to each other. A bug or a stranger; trying again is no help.
    #[error("exchange with peer '{target}' is malformed: {why}")]
    Malformed {
        /// The peer.
        target: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Whether a failed request may have had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// It had none and will have none.
    No,
    /// It may have had it, or have it later.
    Maybe,
}

impl Error {
    /// Says whether the request may have been executed.
    ///
    /// A problem is a refusal, except for the codes that say themselves that the outcome is open.
    #[must_use]
    pub fn executed(&self) -> Executed {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { body_sent: false, .. } => Executed::No,
            Self::Interrupted { .. } | Self::Timeout { .. } | Self::Malformed { .. } => Executed::Maybe,
            Self::Problem(problem) => match problem.code {
                Code::Indeterminate | Code::DurabilityNotReached | Code::Internal => Executed::Maybe,
                // A refusal.
                _ => Executed::No,
            },
        }
    }

    /// Gives the problem, if the peer sent one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Timeout { .. } | Self::Malformed { .. } => None,
        }
    }

    /// Gives the code of the problem, if the peer sent one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem().map(|problem| problem.code)
    }
}
