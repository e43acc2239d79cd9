//! Our own messages beside openraft's: commands for the leader, read indexes and snapshots.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    snapshot::Manifest,
    store::{
        codec::LogIdRow,
        types::{Outcome, Vote},
    },
};

/// A command for the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Propose {
    /// The command in its envelope.
    pub(crate) envelope: Bytes,
    /// How long the sender waits.
    pub(crate) wait_ms: u32,
}

/// What became of a proposed command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proposed {
    /// It was applied, or is too old to tell.
    Done(Outcome),
    /// This node does not lead, or not surely: the command was not taken.
    NotTaken {
        /// Who leads, as far as is known.
        leader: Option<u64>,
    },
    /// The command was taken, and may or may not be applied.
    Unknown,
}

/// The answer to a question for a read index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReadIndexAnswer {
    /// A read that sees this entry is linearizable.
    Index(u64),
    /// This node does not lead, or could not confirm that it does.
    NotConfirmed {
        /// Who leads, as far as is known.
        leader: Option<u64>,
    },
}

/// Names one snapshot of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// The last log id in it.
    pub(crate) at: Option<LogIdRow>,
    /// The CRC32C of its manifest.
    pub(crate) sum: u32,
}

/// Announces a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotBegin {
    pub(crate) manifest: Manifest,
}

/// Bytes of a part.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotPart {
    pub(crate) ticket: Ticket,
    pub(crate) place: Place,
    pub(crate) bytes: Bytes,
}

/// A place within the parts of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The part's number, from 0.
    pub(crate) part: u32,
    /// How many of its bytes are before this place.
    pub(crate) offset: u64,
}

/// What the receiver of a snapshot wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// The bytes from here on; behind the last part, the end.
    Next(Place),
    /// Nothing now: it installs another snapshot.
    Busy,
    /// It does not know the ticket (any more).
    Gone,
}

/// Asks for a snapshot that was received whole to be installed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub(crate) vote: Vote,
    pub(crate) ticket: Ticket,
}

/// How far the installation is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ended {
    /// Installed, or refused since the node knows a later vote; this is its vote.
    Done(Vote),
    /// Still at it; ask again.
    Working,
    /// It does not have the snapshot whole.
    Gone,
}
