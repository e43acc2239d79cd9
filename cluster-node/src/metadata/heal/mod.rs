//! Healing: which nodes hold a copy of a chunk, and the tasks by which that is put right. Pure.
//!
//! A replica set changes only here and only by command. A task is planned by the leader and carried out by the node that leased it;
//! whatever it brings about names the lease, so that a node that was given up can't do harm late.

pub mod replicas;
pub mod tasks;

use flotilla_api::{ChunkId, NodeId};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

pub use tasks::{Lease, TaskId, Work};

/// A change that heals. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Plans tasks; those that do not fit any more are left out.
    Plan {
        /// What is to be done; at most [`tasks::PLANS_MAX`] are looked at.
        work: Vec<Work>,
    },
    /// Takes a task that nobody has leased, or whose lease has run out.
    Take {
        /// The task.
        task: TaskId,
        /// Who takes it.
        node: NodeId,
        /// How long on the cluster clock, in milliseconds; at most [`tasks::LEASE_MAX_MS`].
        lasts_ms: u64,
    },
    /// Keeps a lease for longer.
    Keep {
        /// The lease.
        lease: Lease,
        /// As for `Take`, from now on.
        lasts_ms: u64,
    },
    /// Ends a task.
    End {
        /// The lease under which it was carried out.
        lease: Lease,
    },
    /// Drops a task that nobody has leased, or whose lease has run out: it is planned anew, or not needed any more.
    Forget {
        /// The task.
        task: TaskId,
    },
    /// The node of a lease has synced copies of chunks, each checked against the chunk's hash. A task without chunks has ended.
    AddReplicas {
        /// The lease under which they were made.
        lease: Lease,
        /// The chunks; at most [`replicas::IDS_MAX`] are looked at.
        ids: Vec<ChunkId>,
    },
    /// A node is to unlink copies of chunks that are named.
    DropReplicas {
        /// The node.
        node: NodeId,
        /// Why, which says what must be left.
        why: Surplus,
        /// The chunks, each with the nodes whose copies were verified; at most [`replicas::IDS_MAX`] are looked at.
        ids: Vec<(ChunkId, Vec<NodeId>)>,
    },
}

/// Why a copy is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Surplus {
    /// There are more copies than are wanted: so many verified ones must be left.
    Many {
        /// How many are wanted.
        keep: u8,
    },
    /// It is corrupt: one verified copy must be left, from which another is made.
    Corrupt,
}

/// What a command did. Kept for retries: variants are only added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// How many tasks or chunks changed.
    Done {
        /// How many.
        count: u32,
        /// Whether the bound on rows ended the work.
        more: bool,
    },
    /// The task is leased.
    Leased(Lease),
    /// The state is no longer what the proposer saw: the task is gone, or another lease holds.
    Passed,
}

/// Applies a command.
pub fn apply(state: &mut dyn Txn, command: Command, at: Position) -> Result<Answer, Fault> {
    match command {
        Command::Plan { work } => tasks::plan(state, work, at),
        Command::Take { task, node, lasts_ms } => tasks::take(state, task, node, lasts_ms, at),
        Command::Keep { lease, lasts_ms } => tasks::keep(state, lease, lasts_ms),
        Command::End { lease } => tasks::end(state, lease),
        Command::Forget { task } => tasks::forget(state, task),
        Command::AddReplicas { lease, ids } => replicas::add(state, lease, &ids),
        Command::DropReplicas { node, why, ids } => replicas::drop_of(state, node, why, &ids, at),
    }
}

fn done(count: usize, more: bool) -> Answer {
    Answer::Done { count: u32::try_from(count).unwrap_or(u32::MAX), more }
}

#[cfg(test)]
mod tests;
