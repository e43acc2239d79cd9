//! The seam between processes: one request out, one answer back, both streaming; knows no route and no secret.
//!
//! [`Http`] is the real one; [`InMemory`] calls a service in the same process through faults that a test sets.

mod http;
mod memory;

pub use self::{
    http::Http,
    memory::{InMemory, Network},
};

use ::http::{Request, Response};
use async_trait::async_trait;

use crate::body::{Body, BoxError};

/// What a request is for; every lane has its own connections, so that none waits behind the bytes of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Bytes of files and chunks.
    Data,
    /// Everything small.
    Control,
    /// Raft log entries.
    RaftAppend,
    /// Raft heartbeats and votes.
    RaftHeartbeat,
    /// Raft snapshots.
    RaftSnapshot,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 5] = [Self::Data, Self::Control, Self::RaftAppend, Self::RaftHeartbeat, Self::RaftSnapshot];
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There was no connection, so nothing of the request was sent.
    #[error("'{target}' is unreachable")]
    Unreachable {
        /// Host and port.
        target: String,
        /// What the connector said.
        #[source]
        source: BoxError,
    },
    /// The request, or a part of it, was sent; what became of it is unknown.
    #[error("exchange with '{target}' was interrupted")]
    Interrupted {
        /// Host and port.
        target: String,
        /// What broke.
        #[source]
        source: BoxError,
    },
    /// The request can't be sent as it is; nothing was sent.
    #[error("request is malformed")]
    Invalid(#[source] BoxError),
}

/// Sends requests to other processes.
#[async_trait]
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Sends a request to the host of its URI (`http://HOST:PORT/route`) and gives the answer as soon as its head is there.
    ///
    /// Redirects are answers like any other. There is no deadline but the connect timeout; the caller sets one.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: try again or elsewhere. [`Error::Interrupted`]: try again if doing it twice does no harm.
    /// [`Error::Invalid`]: a bug of the caller.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the server may have executed the request.
    async fn send(&self, lane: Lane, request: Request<Body>) -> Result<Response<Body>, Error>;
}
