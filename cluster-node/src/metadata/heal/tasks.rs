//! Durable tasks: planned, leased for a time of the cluster clock, ended. A lease that has run out can be taken over.

use std::collections::HashSet;

use flotilla_api::{ChunkId, NodeId, codec};
use flotilla_kv::View;
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        keys,
        life::{clock, queues::Error},
        rows::{ChunkRef, TaskRow},
        table::{get, put},
    },
    Answer, done,
};

/// The most tasks that one command plans.
pub const PLANS_MAX: usize = 64;
/// The most tasks that stand at once: who plans more waits until some have ended.
pub const TASKS_MAX: u32 = 1024;
/// The longest lease, in milliseconds: so long a task waits if the node that carries it out dies.
pub const LEASE_MAX_MS: u64 = 60_000;
/// The most chunks of one task: seconds of work, and one command for their replicas.
pub const CHUNKS_MAX: usize = 64;

/// A task: unique, since it is named after its place in the log.
///
/// # Shape
/// `[log index u64][number within the command u8]`, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u64, pub u8);

impl TaskId {
    /// Gives the id as a database key.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.0.to_be_bytes().to_vec();
        bytes.push(self.1);
        bytes
    }

    /// Reads the id back from [`TaskId::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (index, number) = bytes.split_first_chunk()?;
        match number {
            [number] => Some(Self(u64::from_be_bytes(*index), *number)),
            _ => None,
        }
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Make copies of chunks on a node, which carries that out itself.
    Copy {
        /// The node that gets them.
        to: NodeId,
        /// The chunks, with what a copy must prove to be; at most [`CHUNKS_MAX`].
        chunks: Vec<ChunkRef>,
    },
}

impl Work {
    /// The node that carries it out.
    #[must_use]
    pub fn target(&self) -> NodeId {
        let Self::Copy { to, .. } = self;
        *to
    }

    /// The chunks that it is about.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkRef] {
        let Self::Copy { chunks, .. } = self;
        chunks
    }

    fn is_bounded(&self) -> bool {
        (1..=CHUNKS_MAX).contains(&self.chunks().len())
    }
}

/// The right to carry a task out, as long as no later one was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// Who has it.
    pub node: NodeId,
    /// Which lease of the task it is: the place in the log at which it was given.
    pub epoch: u64,
}

/// Plans tasks, as many as may stand.
pub fn plan(state: &mut dyn Txn, work: Vec<Work>, at: Position) -> Result<Answer, Fault> {
    let standing = standing(state)?;
    let (mut count, mut more) = (0_u32, work.len() > PLANS_MAX);
    for (number, work) in (0_u8..).zip(work).take(PLANS_MAX).filter(|(_, work)| work.is_bounded()) {
        if standing + count >= TASKS_MAX {
            more = true;
            break;
        }
        let id = TaskId(at.index, number);
        let planned = u32::try_from(work.chunks().len()).unwrap_or(u32::MAX);
        put(state, keys::TASKS, id.to_bytes(), &TaskRow { work, lease: None, until_ms: 0, taken: 0, planned });
        count += 1;
    }
    count_standing(state, standing + count);
    Ok(Answer::Done { count, more })
}

/// Takes a task. A node may take its own lease anew: only one process runs on its disk, and that one has lost the old lease.
pub fn take(state: &mut dyn Txn, id: TaskId, node: NodeId, lasts_ms: u64, at: Position) -> Result<Answer, Fault> {
    let Some(mut row) = free(state, id, Some(node))?.filter(|row| row.work.target() == node) else {
        return Ok(Answer::Passed);
    };
    let lease = Lease { task: id, node, epoch: at.index };
    row.lease = Some(lease);
    row.until_ms = until(state, lasts_ms)?;
    row.taken = row.taken.saturating_add(1);
    put(state, keys::TASKS, id.to_bytes(), &row);
    Ok(Answer::Leased(lease))
}

/// Keeps a lease that holds. One that has run out and that nobody has taken over holds.
pub fn keep(state: &mut dyn Txn, lease: Lease, lasts_ms: u64) -> Result<Answer, Fault> {
    let Some(mut row) = held(state, lease)? else { return Ok(Answer::Passed) };
    row.until_ms = until(state, lasts_ms)?;
    put(state, keys::TASKS, lease.task.to_bytes(), &row);
    Ok(done(1, false))
}

/// Ends a task whose lease holds.
pub fn end(state: &mut dyn Txn, lease: Lease) -> Result<Answer, Fault> {
    if held(state, lease)?.is_none() {
        return Ok(Answer::Passed);
    }
    remove(state, lease.task)?;
    Ok(done(1, false))
}

/// Drops a task that nobody carries out.
pub fn forget(state: &mut dyn Txn, id: TaskId) -> Result<Answer, Fault> {
    if free(state, id, None)?.is_none() {
        return Ok(Answer::Passed);
    }
    remove(state, id)?;
    Ok(done(1, false))
}

/// Gives the task of a lease that holds.
pub fn held(state: &dyn Txn, lease: Lease) -> Result<Option<TaskRow>, Fault> {
    let row: Option<TaskRow> = get(state, keys::TASKS, &lease.task.to_bytes())?;
    Ok(row.filter(|row| row.lease == Some(lease)))
}

/// Writes down what is left of a task, and ends it if that is nothing.
pub fn put_left(state: &mut dyn Txn, id: TaskId, row: &TaskRow) -> Result<(), Fault> {
    if row.work.chunks().is_empty() {
        return remove(state, id);
    }
    put(state, keys::TASKS, id.to_bytes(), row);
    Ok(())
}

/// Reads all tasks, those planned first before the others.
///
/// # Bounds
/// [`TASKS_MAX`].
///
/// # Errors
/// [`Error`]; trying again does not help.
pub fn all(view: &dyn View) -> Result<Vec<(TaskId, TaskRow)>, Error> {
    let rows = view.scan(keys::TASKS, &[], None, TASKS_MAX as usize)?;
    let each = rows.iter().filter_map(|(key, row)| Some((TaskId::from_bytes(key)?, row)));
    each.map(|(id, row)| Ok((id, codec::decode(row)?))).collect()
}

/// Gives the chunks that a node is to get.
///
/// # Errors
/// As [`all`].
pub fn planned_for(view: &dyn View, node: NodeId) -> Result<HashSet<ChunkId>, Error> {
    let rows = all(view)?;
    let of = rows.iter().filter(|(_, row)| row.work.target() == node);
    Ok(of.flat_map(|(_, row)| row.work.chunks()).map(|chunk| chunk.id).collect())
}

/// Gives how many tasks stand.
pub fn standing(state: &dyn Txn) -> Result<u32, Fault> {
    Ok(get(state, keys::SYSTEM, keys::TASKS_STANDING)?.unwrap_or_default())
}

fn count_standing(state: &mut dyn Txn, count: u32) {
    put(state, keys::SYSTEM, keys::TASKS_STANDING.to_vec(), &count);
}

fn remove(state: &mut dyn Txn, id: TaskId) -> Result<(), Fault> {
    let standing = standing(state)?;
    state.delete(keys::TASKS, id.to_bytes());
    count_standing(state, standing.saturating_sub(1));
    Ok(())
}

/// Gives a task that can be taken, by the node that has leased it or by another one.
fn free(state: &dyn Txn, id: TaskId, by: Option<NodeId>) -> Result<Option<TaskRow>, Fault> {
    let row: Option<TaskRow> = get(state, keys::TASKS, &id.to_bytes())?;
    let now_ms = clock::now(state)?;
    Ok(row.filter(|row| row.lease.is_none_or(|lease| Some(lease.node) == by) || row.until_ms <= now_ms))
}

fn until(state: &dyn Txn, lasts_ms: u64) -> Result<u64, Fault> {
    Ok(clock::now(state)?.saturating_add(lasts_ms.min(LEASE_MAX_MS)))
}
