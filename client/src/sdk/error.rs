//! What a caller of the SDK is told when something went wrong, and what it can do next.

use std::io;

use flotilla_api::{Code, Problem, RequestId, TicketId};

use crate::body::BoxError;

/// What a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// A precondition does not hold, or another change came first: look again, then decide.
    Precondition,
    /// The credential is missing or does not allow this.
    Denied,
    /// The request itself is wrong.
    Invalid,
    /// Not now: try again later.
    Unavailable,
    /// A change may or may not have been made: look, or send it again with the same key.
    Indeterminate,
    /// The bytes received are not those that were announced.
    Verification,
    /// None of these.
    Other,
}

/// Why an operation failed, after all tries.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused; the problem says why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// No address of the API takes a connection; nothing was done.
    #[error("no server answers, the last one tried is '{address}'")]
    Unreachable {
        /// The address tried last.
        address: String,
        /// What the connector said.
        #[source]
        source: BoxError,
    },
    /// A read broke off, or an upload did before its end (nothing is stored); doing it again does no harm.
    #[error("the exchange with '{address}' broke off")]
    Interrupted {
        /// The address asked.
        address: String,
        /// What broke.
        #[source]
        source: BoxError,
    },
    /// A change was sent and it is not known whether it was, or will be, made.
    #[error("the outcome of request '{key}' is not known: {why}")]
    Indeterminate {
        /// The Idempotency-Key; the same request under this key is never done twice.
        key: RequestId,
        /// What the last try ended with.
        why: String,
        /// The last problem, if a server sent one.
        problem: Option<Box<Problem>>,
    },
    /// The body ended cleanly, but not where it was announced to.
    #[error("the body has {got_bytes} bytes instead of {expected_bytes}")]
    Length {
        /// The bytes announced.
        expected_bytes: u64,
        /// The bytes that came.
        got_bytes: u64,
    },
    /// The answer is not one of a Flotilla server, or of a version that is not understood.
    #[error("the answer is not understood: {0}")]
    Malformed(String),
    /// What was to be sent could not be read; the server has stored nothing.
    #[error("the source of the upload failed")]
    Source(#[source] io::Error),
    /// The turn of the request's ticket has come, and its body was a stream that was begun: it can only be sent anew, under
    /// the ticket (`PutOptions::ticket`), within the seconds for which the place is held.
    #[error("the turn of ticket {ticket} has come, and what was begun can't be sent again")]
    Granted {
        /// The ticket.
        ticket: TicketId,
    },
    /// The request can't be made as it is.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Says what the caller can do next.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Problem(problem) => kind_of(problem),
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Granted { .. } => Kind::Unavailable,
            Self::Indeterminate { .. } => Kind::Indeterminate,
            Self::Length { .. } => Kind::Verification,
            Self::Invalid(_) => Kind::Invalid,
            Self::Malformed(_) | Self::Source(_) => Kind::Other,
        }
    }

    /// Gives the problem document, if a server sent one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Indeterminate { problem, .. } => problem.as_deref(),
            Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::Length { .. }
            | Self::Granted { .. }
            | Self::Malformed(_)
            | Self::Source(_)
            | Self::Invalid(_) => None,
        }
    }
}

fn kind_of(problem: &Problem) -> Kind {
    if matches!(problem.code, Code::Indeterminate | Code::DurabilityNotReached) {
        return Kind::Indeterminate;
    }
    if problem.retryable {
        return Kind::Unavailable;
    }
    match problem.code.status().as_u16() {
        404 | 410 => Kind::NotFound,
        409 | 412 => Kind::Precondition,
        401 | 403 => Kind::Denied,
        400..=499 => Kind::Invalid,
        _ => Kind::Other,
    }
}
