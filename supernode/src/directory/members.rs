//! What the group has decided about its supernodes, and where they are reached. Pure.

use flotilla_api::{
    NodeId, codec,
    peer::{Document, Supernode},
};
use flotilla_kv::View;
use flotilla_member::membership::Places;
use flotilla_raft_store::{Fault, Txn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    machine::{Answer, Refusal, get, put, raise_revision},
    rows::{
        DISKS, DOCUMENTS, JOINED_MAX, LAST_START, MEMBERS, MEMBERS_MAX, MemberRow, NEXT_MEMBER, SYSTEM, member_key,
        supernode_key,
    },
};

/// Where ids of supernodes are kept.
const PLACES: Places = Places { disks: DISKS, system: SYSTEM, next: NEXT_MEMBER };

/// A step in the life of a supernode. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a new supernode its id: always the same one for the same disk.
    Join {
        /// The disk.
        disk: Uuid,
        /// Above every member's id, since initial members were given theirs before there was a log.
        floor: u64,
    },
    /// Notes a start of a supernode and where it is reached, and gives the start a number.
    Start {
        /// The supernode.
        card: Supernode,
        /// The start before, as the one that asks knows it: refused if it is another one.
        after: Option<u64>,
    },
    /// Has a supernode leave for ever, unless no other one would stay that has started.
    Remove {
        /// The supernode.
        id: NodeId,
    },
    /// Forgets a supernode that is no member any more.
    Forget {
        /// The supernode.
        id: NodeId,
    },
}

/// Applies a step.
pub fn apply(state: &mut dyn Txn, command: Command) -> Result<Answer, Fault> {
    match command {
        Command::Join { disk, floor } => {
            let known = state.get(DISKS, disk.as_bytes())?.is_some();
            if !known && state.scan(DISKS, &[], None, JOINED_MAX)?.len() >= JOINED_MAX {
                return Ok(Answer::Refused(Refusal::TooMany));
            }
            Ok(Answer::Member(PLACES.give(state, disk, floor)?))
        }
        Command::Start { card, after } => start(state, card, after),
        Command::Remove { id } => {
            let row: MemberRow = get(state, MEMBERS, &member_key(id))?.unwrap_or_default();
            // Here, since two orders that are given at once know nothing of each other.
            if !row.leaves && !another_stays(state, id)? {
                return Ok(Answer::Refused(Refusal::LastSupernode));
            }
            put(state, MEMBERS, member_key(id), &MemberRow { leaves: true, ..row });
            PLACES.take(state, id)?;
            Ok(Answer::Done)
        }
        Command::Forget { id } => {
            state.delete(MEMBERS, member_key(id));
            if state.get(DOCUMENTS, &supernode_key(id))?.is_some() {
                state.delete(DOCUMENTS, supernode_key(id));
                raise_revision(state)?;
            }
            Ok(Answer::Done)
        }
    }
}

/// Whether an id that no member has was one's that has left.
///
/// # Errors
/// [`Fault`]; trying again does not help.
pub fn has_left(view: &dyn View, id: NodeId) -> Result<bool, Fault> {
    PLACES.has_left(view, id)
}

fn another_stays(state: &dyn Txn, id: NodeId) -> Result<bool, Fault> {
    for (key, row) in state.scan(MEMBERS, &[], None, MEMBERS_MAX)? {
        let row: MemberRow = codec::decode(&row).map_err(|source| Fault::Corrupt { family: MEMBERS, source })?;
        if key != member_key(id) && row.start.is_some() && !row.leaves {
            return Ok(true);
        }
    }
    Ok(false)
}

fn start(state: &mut dyn Txn, card: Supernode, after: Option<u64>) -> Result<Answer, Fault> {
    let (key, document) = (member_key(card.id), supernode_key(card.id));
    let row: MemberRow = get(state, MEMBERS, &key)?.unwrap_or_default();
    if row.leaves {
        return Ok(Answer::Refused(Refusal::Leaves));
    }
    // A start that was killed while this was on its way would pass for the one that followed.
    if row.start != after {
        return Ok(Answer::Refused(Refusal::Started));
    }
    let start = get::<u64>(state, SYSTEM, LAST_START)?.unwrap_or(0) + 1;
    put(state, SYSTEM, LAST_START.to_vec(), &start);
    put(state, MEMBERS, key, &MemberRow { start: Some(start), leaves: false });
    let card = Document::Supernode(card);
    if get::<Document>(state, DOCUMENTS, &document)?.as_ref() != Some(&card) {
        put(state, DOCUMENTS, document, &card);
        raise_revision(state)?;
    }
    Ok(Answer::Started(start))
}

#[cfg(test)]
mod tests;
