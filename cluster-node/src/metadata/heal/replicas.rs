//! Which nodes hold a copy of a chunk: added under a lease, dropped only while enough verified ones are left.

use flotilla_api::{ChunkId, NodeId};
use flotilla_raft_store::{Fault, Position, Txn};

use super::{
    super::{
        bound::Budget,
        keys,
        rows::ChunkRow,
        table::{get, put},
    },
    Answer, Lease, Surplus, Work, done, tasks,
};

/// The most chunks that one command names.
pub const IDS_MAX: usize = 128;
/// The most copies of a chunk: those that are wanted, one on its way to another node, and some of nodes that are away.
pub const REPLICAS_MAX: usize = 8;

/// Notes synced copies on the node of a lease, and strikes their chunks off the task: under one lease a copy is noted once. A chunk
/// that the node has yet to unlink stays in the task.
pub fn add(state: &mut dyn Txn, lease: Lease, ids: &[ChunkId]) -> Result<Answer, Fault> {
    let mut budget = Budget::default();
    // The task read and written, and the count of tasks.
    let Some(mut task) = tasks::held(state, lease)?.filter(|_| budget.take(4)) else { return Ok(Answer::Passed) };
    let Work::Copy { to, chunks } = &mut task.work;
    let (mut count, mut more) = (0, ids.len() > IDS_MAX);
    for id in ids.iter().take(IDS_MAX) {
        let Some(place) = chunks.iter().position(|planned| planned.id == *id) else { continue };
        // The row read and written, the unlink and the drop looked for.
        if !budget.take(4) {
            more = true;
            break;
        }
        // It was told to unlink an earlier copy, and may do so at any moment.
        if state.get(keys::UNLINKS, &keys::unlink(*to, *id))?.is_some() {
            continue;
        }
        chunks.swap_remove(place);
        // A chunk without a row was purged meanwhile: the copy is found by the node's inventory.
        let Some(mut row) = get::<ChunkRow>(state, keys::CHUNKS, &id.to_bytes())? else { continue };
        // A copy that was there when the lease was taken may have been dropped and unlinked since.
        let dropped_at: Option<u64> = get(state, keys::DROPPED, &id.to_bytes())?;
        let fresh = dropped_at.is_none_or(|dropped_at| lease.epoch > dropped_at);
        if fresh && row.replicas.len() < REPLICAS_MAX && !row.replicas.contains(to) {
            row.replicas.push(*to);
            put(state, keys::CHUNKS, id.to_bytes().to_vec(), &row);
            count += 1;
        }
    }
    tasks::put_left(state, lease.task, &task)?;
    Ok(done(count, more))
}

/// Takes copies of a node out of the sets and tells it to unlink them, chunk by chunk and only where enough verified ones are left.
/// A surplus copy need not be named: what was copied and never noted is dropped like any other.
pub fn drop_of(
    state: &mut dyn Txn,
    node: NodeId,
    why: Surplus,
    ids: &[(ChunkId, Vec<NodeId>)],
    at: Position,
) -> Result<Answer, Fault> {
    let keep = match why {
        Surplus::Many { keep } => usize::from(keep.max(1)),
        Surplus::Corrupt => 1,
    };
    let mut budget = Budget::default();
    let mut count = 0;
    for (id, verified) in ids.iter().take(IDS_MAX) {
        // The row read and written, the unlink read and written, the drop written.
        if !budget.take(5) {
            return Ok(done(count, true));
        }
        let Some(mut row) = get::<ChunkRow>(state, keys::CHUNKS, &id.to_bytes())? else { continue };
        let told = || state.get(keys::UNLINKS, &keys::unlink(node, *id));
        if !row.replicas.contains(&node) && (why == Surplus::Corrupt || told()?.is_some()) {
            continue;
        }
        // A copy that is not named is no part of the set: another one that is good is enough.
        let keep = if row.replicas.contains(&node) { keep } else { 1 };
        row.replicas.retain(|held| *held != node);
        let left = row.replicas.iter().filter(|held| verified.contains(held)).count();
        if left < keep {
            continue;
        }
        put(state, keys::CHUNKS, id.to_bytes().to_vec(), &row);
        put(state, keys::UNLINKS, keys::unlink(node, *id), &at.index);
        put(state, keys::DROPPED, id.to_bytes().to_vec(), &at.index);
        count += 1;
    }
    Ok(done(count, ids.len() > IDS_MAX))
}
