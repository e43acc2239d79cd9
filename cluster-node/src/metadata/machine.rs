//! The metadata machine: every command and answer, and which module applies it. Pure.

use flotilla_api::{NodeId, Version, WriterId, peer::Documents};
use flotilla_kv::Family;
use flotilla_raft_store::{Fault, Machine, Position, Txn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    commit::{self, Commit, Probe},
    copy::{self, Copy},
    delete::{self, Delete},
    heal, keys, life, nodes,
    rows::Etag,
    segments::{self, SegmentAppend},
    table::{get, put},
    writers,
};

/// A change to the metadata. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a process start of `node` the right to write chunks, and retires the writer of the start before.
    GrantWriter {
        /// The node.
        node: NodeId,
        /// The writer of the start before, as the one that asks knows it: refused if it is another one.
        after: Option<WriterId>,
    },
    /// Makes a version current.
    Commit(Box<Commit>),
    /// Ends a file; the home stays.
    Delete(Delete),
    /// Adds a full segment to an upload.
    AppendSegment(SegmentAppend),
    /// Takes over the supernode group's documents if they are newer.
    PutDocuments(Documents),
    /// Refuses a change whose precondition fails, before its body is read.
    Probe(Probe),
    /// Makes a file from another one of this cluster, without its bytes.
    Copy(Box<Copy>),
    /// A step in the life cycle of chunks and homes.
    Life(life::Command),
    /// A step of healing: tasks and replica sets.
    Heal(heal::Command),
    /// A decision about a node.
    Nodes(nodes::Command),
}

/// What a command did. Kept for retries: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The writer that was granted.
    Writer(WriterId),
    /// The version is current.
    Committed {
        /// Its place in the key's history.
        version: Version,
        /// Whether there was no live version before.
        created: bool,
    },
    /// The file is gone.
    Deleted {
        /// The tombstone's version.
        version: Version,
    },
    /// The segment was added.
    Appended {
        /// The upload.
        upload: u64,
    },
    /// Done, or nothing to do.
    Done,
    /// The command changed nothing.
    Refused(Refusal),
    /// The probed precondition holds.
    Holds,
    /// A version made from another one is current.
    Made {
        /// Its place in the key's history.
        version: Version,
        /// Whether there was no live version before.
        created: bool,
        /// Its length, in bytes.
        size: u64,
        /// Its ETag.
        etag: Etag,
    },
    /// What a step of the life cycle did.
    Life(life::Answer),
    /// What a step of healing did.
    Heal(heal::Answer),
    /// The id of a node that joins.
    Node(NodeId),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The home is closed or has another epoch: the key is elsewhere, or was granted anew.
    WrongHome,
    /// The home takes no writes now.
    Sealed,
    /// A first commit under an epoch that the sealed floor has passed: a fresh epoch is needed.
    BelowFloor,
    /// A chunk can't be named any more: its writer is retired or gave it up, or its upload has ended. Not kept for retries, which
    /// come with other chunks: these are gone for good.
    ChunkGone,
    /// There is no live version to delete.
    NotFound,
    /// The command itself breaks a bound.
    Invalid(String),
    /// The client's precondition does not hold; the current ETag, if there is a file.
    PreconditionFailed(Option<Etag>),
    /// The version that the change was made from is no longer current; the current ETag, if there is a file.
    Changed(Option<Etag>),
    /// The source of a copy is not what the client asked for; its ETag.
    SourceChanged(Etag),
    /// The source of a copy has more segments than one command may reference again.
    SourceTooLong,
}

/// The rules of a cluster's metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileMachine;

impl Machine for FileMachine {
    type Command = Command;
    type Answer = Answer;

    const FAMILIES: &'static [Family] = keys::FAMILIES;
    const COMMAND_VERSION: u8 = 2;

    fn apply(&self, state: &mut dyn Txn, command: Command, at: Position) -> Result<Answer, Fault> {
        let outcome = match command {
            Command::GrantWriter { node, after } => writers::grant_writer(state, node, after)?,
            Command::Commit(commit) => commit::commit_version(state, *commit, at)?,
            Command::Delete(delete) => delete::delete_file(state, &delete, at)?,
            Command::AppendSegment(append) => segments::append_segment(state, append, at)?,
            Command::PutDocuments(documents) => put_documents(state, &documents)?,
            Command::Probe(probe) => commit::probe(state, &probe)?,
            Command::Copy(copy) => copy::copy_file(state, *copy, at)?,
            Command::Life(command) => Ok(Answer::Life(life::apply(state, command, at)?)),
            Command::Heal(command) => Ok(Answer::Heal(heal::apply(state, command, at)?)),
            Command::Nodes(command) => Ok(nodes::apply(state, &command)?),
        };
        Ok(outcome.unwrap_or_else(Answer::Refused))
    }

    fn is_kept(answer: &Answer) -> bool {
        !matches!(answer, Answer::Refused(Refusal::ChunkGone))
    }
}

/// What a rule says: the answer, or why nothing was changed.
pub(super) type Outcome = Result<Answer, Refusal>;

fn put_documents(state: &mut dyn Txn, documents: &Documents) -> Result<Outcome, Fault> {
    let held: Documents = get(state, keys::SYSTEM, keys::DOCUMENTS)?.unwrap_or_default();
    let next: Option<Uuid> = get(state, keys::SYSTEM, keys::NEXT_DIRECTORY)?;
    // Those of another directory say nothing of the homes here, unless it is the one that was made from them.
    let known = match next {
        Some(next) => documents.directory == next || documents.directory == held.directory,
        None => held.revision == 0 || documents.directory == held.directory,
    };
    if known && documents.revision > held.revision {
        if next == Some(documents.directory) {
            state.delete(keys::SYSTEM, keys::NEXT_DIRECTORY.to_vec());
        }
        put(state, keys::SYSTEM, keys::DOCUMENTS.to_vec(), documents);
    }
    Ok(Ok(Answer::Done))
}

#[cfg(test)]
mod tests;
