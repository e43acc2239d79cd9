//! Why a group did not do what was asked.

use flotilla_api::{NodeId, codec};

use crate::{network::wire::Refusal, store::StoreError};

/// What a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ask the leader.
    NotLeader {
        /// Who leads, as far as is known.
        hint: Option<NodeId>,
    },
    /// Try again later; nothing was done.
    Unavailable,
    /// Look at the state first; another change stands against this one.
    Conflict,
    /// Mend the request.
    Invalid,
    /// It may or may not have been done; ask again with the same id.
    Indeterminate,
    /// Give up; the process is ending or broken.
    Internal,
}

/// A failure of a group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No leader took the request in time, so nothing was done.
    #[error("group has no leader")]
    NoLeader,
    /// This node does not lead, and the request is for the leader alone.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who leads, as far as is known.
        hint: Option<NodeId>,
    },
    /// The command was handed over, but its outcome is not known.
    #[error("outcome of the command is not known")]
    Indeterminate,
    /// The node installs a snapshot; its state is not whole.
    #[error("node is installing a snapshot")]
    CatchingUp,
    /// The node did not apply what the read has to see in time.
    #[error("node has applied entry {applied}, the read has to see entry {wanted}")]
    Behind {
        /// What it has applied.
        applied: u64,
        /// What it should have.
        wanted: u64,
    },
    /// Too many reads wait.
    #[error("too many reads are waiting")]
    Busy,
    /// The command is longer than [`crate::COMMAND_BYTES_MAX`].
    #[error("command has {bytes} bytes, more than {}", crate::COMMAND_BYTES_MAX)]
    TooLarge {
        /// Its length with its envelope.
        bytes: usize,
    },
    /// The membership can't be changed so, or not now.
    #[error("membership is not changed: {0}")]
    Membership(String),
    /// A peer's message is not handled.
    #[error(transparent)]
    Peer(#[from] Refusal),
    /// An answer does not decode, which means that nodes run different machines.
    #[error("answer of the machine does not decode")]
    Answer(#[source] codec::Error),
    /// The settings contradict each other.
    #[error("raft settings are invalid: {0}")]
    Settings(String),
    /// The group has stopped, or is stopping.
    #[error("group has stopped")]
    Stopped,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Says what to do next.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotLeader { hint } => Kind::NotLeader { hint: *hint },
            Self::NoLeader | Self::CatchingUp | Self::Behind { .. } | Self::Busy => Kind::Unavailable,
            Self::Membership(_) => Kind::Conflict,
            Self::TooLarge { .. } | Self::Peer(_) | Self::Settings(_) => Kind::Invalid,
            Self::Indeterminate => Kind::Indeterminate,
            Self::Answer(_) | Self::Stopped | Self::Store(_) => Kind::Internal,
        }
    }
}
