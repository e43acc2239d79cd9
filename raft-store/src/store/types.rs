//! How openraft is parameterised: opaque commands and answers, so that it is compiled once for every machine.

use std::fmt;

use bytes::Bytes;
use openraft::{alias, vote::leader_id_std};
use serde::{Deserialize, Serialize};

use crate::network::Member;

openraft::declare_raft_types!(
    /// The types of every group. At most one leader per term, as in the Raft paper.
    pub(crate) Types:
        D = Proposal,
        R = Outcome,
        Node = Member,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type Entry = alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;

/// A command in its envelope, encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of a log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The entry holds no command.
    Nothing,
    /// The command was applied, by this entry or (`replayed`) by an earlier one.
    Applied {
        /// The entry that applied it.
        index: u64,
        /// Whether an earlier entry did.
        replayed: bool,
        /// The machine's answer, encoded.
        answer: Bytes,
    },
    /// The command's id is older than every kept result: it may or may not have been applied before.
    Indeterminate,
}

/// Builds a log id from its parts.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(leader_id_std::CommittedLeaderId::new(term), index)
}
