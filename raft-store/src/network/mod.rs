//! The seam to the other nodes of a group: what a transport carries, and how openraft uses it.
//!
//! It must not know HTTP, and the transport must not know what is in the bodies.

mod client;
pub(crate) mod messages;
pub(crate) mod wire;

pub(crate) use client::{Factory, Link};

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::NodeId;
use serde::{Deserialize, Serialize};

use crate::store::COMMAND_BYTES_MAX;

/// The longest body of a message, in bytes: entries up to the limit of one message of replication, and one more command.
pub const BODY_BYTES_MAX: usize = 2 * COMMAND_BYTES_MAX + (64 << 10);

/// The longest name of a member, in bytes; those of pods have at most 253.
pub const NAME_BYTES_MAX: usize = 255;
/// What a member's name is, for errors.
pub const NAME_RULE: &str = "1 to 255 letters of a-z and A-Z, digits, '.', '-' and '_'";

/// Whether a text can be a member's name, as [`NAME_RULE`] says.
///
/// Names stand in logs, lists and records that are read back with a bound, as they are.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let takes = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(takes)
}

/// A member of a group, as its log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Its name in logs; [`is_name`] holds for it.
    pub name: String,
    /// Its peer address, `HOST:PORT`.
    pub peer: String,
}

/// The kinds of messages between the nodes of a group.
///
/// Heartbeats and snapshots need connections of their own: a heartbeat behind a mebibyte of entries on a slow link costs the leader
/// its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// Log entries.
    Append,
    /// A leader's sign of life.
    Heartbeat,
    /// A request for a vote.
    Vote,
    /// The question whether a vote would be given.
    PreVote,
    /// A hand-over of leadership.
    Transfer,
    /// The start of a snapshot, or of its next attempt.
    SnapshotBegin,
    /// Bytes of a snapshot.
    SnapshotPart,
    /// The request to install a snapshot that is there.
    SnapshotEnd,
    /// A command for the leader.
    Propose,
    /// The question which entry a linearizable read has to see.
    ReadIndex,
}

impl Rpc {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Append,
        Self::Heartbeat,
        Self::Vote,
        Self::PreVote,
        Self::Transfer,
        Self::SnapshotBegin,
        Self::SnapshotPart,
        Self::SnapshotEnd,
        Self::Propose,
        Self::ReadIndex,
    ];

    /// Gives the kind as the last segment of its route.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Heartbeat => "heartbeat",
            Self::Vote => "vote",
            Self::PreVote => "pre-vote",
            Self::Transfer => "transfer",
            Self::SnapshotBegin => "snapshot-begin",
            Self::SnapshotPart => "snapshot-part",
            Self::SnapshotEnd => "snapshot-end",
            Self::Propose => "propose",
            Self::ReadIndex => "read-index",
        }
    }
}

impl fmt::Display for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no kind of message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a kind of raft message")]
pub struct UnknownRpc(String);

impl FromStr for Rpc {
    type Err = UnknownRpc;
    fn from_str(text: &str) -> Result<Self, UnknownRpc> {
        let known = Self::ALL.into_iter().find(|rpc| rpc.as_str() == text);
        known.ok_or_else(|| UnknownRpc(text.chars().take(32).collect()))
    }
}

/// Why a message was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// There is no connection: the message was certainly not handed over. Anything less certain is a [`Self::Timeout`].
    #[error("peer is unreachable: {0}")]
    Unreachable(String),
    /// There was no answer in time, or the connection broke after the message was sent: it may have been handled.
    #[error("peer did not answer in time")]
    Timeout,
    /// The peer answered with an error.
    #[error("peer refused the message: {0}")]
    Refused(String),
}

/// Carries messages to the other nodes of a group.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Hands `body` to [`crate::Group::handle`] of the member `target` and gives its answer.
    ///
    /// The kind of message says which pool of connections to use: heartbeats, snapshots and the rest keep apart.
    ///
    /// # Errors
    /// See [`TransportError`]; the sender decides whether to try again.
    ///
    /// # Cancel safety
    /// The call may be dropped at any time; the message may have been handled.
    async fn call(
        &self,
        target: NodeId,
        member: &Member,
        rpc: Rpc,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_route() {
        for rpc in Rpc::ALL {
            assert_eq!(rpc.as_str().parse(), Ok(rpc));
        }
        assert_eq!("votes".parse::<Rpc>(), Err(UnknownRpc("votes".into())));
    }
}
