//! How log entries, votes and memberships are stored: mirrors of our own, so that openraft may change its types.
//!
//! # Shape
//! Every value is a [`flotilla_api::codec`] value (version byte, then postcard) of a struct below. Change one only by raising
//! that version or, for enums, by adding variants at the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_api::codec;
use openraft::{EntryPayload, vote::RaftLeaderId};
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    types::{Entry, LogId, Membership, Proposal, StoredMembership, Vote, log_id},
};
use crate::network::Member;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRow {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

#[derive(Serialize, Deserialize)]
struct VoteRow {
    term: u64,
    node: u64,
    committed: bool,
}

#[derive(Serialize, Deserialize)]
struct EntryRow {
    id: LogIdRow,
    payload: PayloadRow,
}

#[derive(Serialize, Deserialize)]
enum PayloadRow {
    Blank,
    Command(Bytes),
    Membership(ConfigRow),
}

/// The voters (two sets while a change is under way) and every member, learners among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigRow {
    voters: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, MemberRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MemberRow {
    name: String,
    peer: String,
}

/// A membership and where in the log it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRow {
    at: Option<LogIdRow>,
    config: ConfigRow,
}

impl From<&LogId> for LogIdRow {
    fn from(id: &LogId) -> Self {
        Self { term: id.committed_leader_id().term, index: id.index() }
    }
}

impl From<LogIdRow> for LogId {
    fn from(row: LogIdRow) -> Self {
        log_id(row.term, row.index)
    }
}

impl From<&Membership> for ConfigRow {
    fn from(membership: &Membership) -> Self {
        let member =
            |(id, member): (&u64, &Member)| (*id, MemberRow { name: member.name.clone(), peer: member.peer.clone() });
        Self { voters: membership.get_joint_config().clone(), members: membership.nodes().map(member).collect() }
    }
}

impl TryFrom<ConfigRow> for Membership {
    type Error = StoreError;
    fn try_from(row: ConfigRow) -> Result<Self, StoreError> {
        let member = |(id, member): (u64, MemberRow)| (id, Member { name: member.name, peer: member.peer });
        let members: BTreeMap<_, _> = row.members.into_iter().map(member).collect();
        Self::new(row.voters, members).map_err(|error| StoreError::corrupt("membership", error))
    }
}

impl From<&StoredMembership> for MembershipRow {
    fn from(stored: &StoredMembership) -> Self {
        Self { at: stored.log_id().as_ref().map(LogIdRow::from), config: stored.membership().into() }
    }
}

impl TryFrom<MembershipRow> for StoredMembership {
    type Error = StoreError;
    fn try_from(row: MembershipRow) -> Result<Self, StoreError> {
        Ok(Self::new(row.at.map(LogId::from), row.config.try_into()?))
    }
}

pub(crate) fn encode_log_id(id: &LogId) -> Vec<u8> {
    codec::encode(&LogIdRow::from(id))
}

pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, StoreError> {
    let row: LogIdRow = codec::decode(bytes).map_err(|error| StoreError::corrupt("log id", error))?;
    Ok(row.into())
}

pub(crate) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let leader = vote.leader_id();
    codec::encode(&VoteRow { term: leader.term(), node: *leader.node_id(), committed: vote.is_committed() })
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, StoreError> {
    let row: VoteRow = codec::decode(bytes).map_err(|error| StoreError::corrupt("vote", error))?;
    Ok(if row.committed { Vote::new_committed(row.term, row.node) } else { Vote::new(row.term, row.node) })
}

pub(crate) fn encode_membership(stored: &StoredMembership) -> Vec<u8> {
    codec::encode(&MembershipRow::from(stored))
}

pub(crate) fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, StoreError> {
    let row: MembershipRow = codec::decode(bytes).map_err(|error| StoreError::corrupt("membership", error))?;
    row.try_into()
}

pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRow::Blank,
        EntryPayload::Normal(Proposal(bytes)) => PayloadRow::Command(bytes.clone()),
        EntryPayload::Membership(membership) => PayloadRow::Membership(membership.into()),
    };
    codec::encode(&EntryRow { id: (&entry.log_id).into(), payload })
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, StoreError> {
    let row: EntryRow = codec::decode(bytes).map_err(|error| StoreError::corrupt("log entry", error))?;
    let payload = match row.payload {
        PayloadRow::Blank => EntryPayload::Blank,
        PayloadRow::Command(bytes) => EntryPayload::Normal(Proposal(bytes)),
        PayloadRow::Membership(config) => EntryPayload::Membership(config.try_into()?),
    };
    Ok(Entry { log_id: row.id.into(), payload })
}

#[cfg(test)]
mod tests;
