//! Chunks that nothing names: who may say so, the mark, and the word of every holder that its copy is gone.
//!
//! No clock decides here, only the log: a chunk is garbage if it lost its last reference, if its live writer released it, or if
//! nothing names it and its writer is retired or has settled what it may name.

use flotilla_api::{ChunkId, NodeId, WriterId};
use flotilla_raft_store::{Fault, Position, Txn};

use super::{
    super::{
        bound::Budget,
        keys,
        rows::{ChunkRow, GarbageRow},
        table::{get, put},
    },
    Answer, done, reclaim,
};

/// The most chunks that one command names.
pub const IDS_MAX: usize = 256;
/// The most nodes that one chunk is unlinked on at once; copies beyond them are found by their nodes' inventories.
pub const HOLDERS_MAX: usize = 8;

/// What a commit or an append finds out about a chunk that it wants to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nameable {
    /// Its own, never named before, and not settled.
    New,
    /// Named already, by this row.
    Named(ChunkRow),
    /// Marked or garbage, or an unreferenced one of another writer.
    Gone,
}

/// Whether a mark is decided by what the log knows. Not so under a planted fault, which all nodes of a cluster must have: copies
/// are then marked as a disk's look at the metadata saw them, and named in spite of their mark.
pub fn is_rechecked() -> bool {
    flotilla_env::failpoint!("purge.recheck", |_| false);
    true
}

/// A live writer that names chunks.
pub struct Namer {
    writer: WriterId,
    settled: u64,
}

impl Namer {
    /// Reads what is known of a writer.
    pub fn of(state: &dyn Txn, writer: WriterId) -> Result<Self, Fault> {
        Ok(Self { writer, settled: settled_below(state, writer)? })
    }

    /// Says whether it may name a chunk.
    pub fn nameable(&self, state: &dyn Txn, id: ChunkId) -> Result<Nameable, Fault> {
        let key = id.to_bytes();
        if let Some(row) = get::<ChunkRow>(state, keys::CHUNKS, &key)? {
            return Ok(Nameable::Named(row));
        }
        let garbage = || Ok::<_, Fault>(id.seq < self.settled || state.get(keys::GARBAGE, &key)?.is_some());
        let free = id.writer == self.writer && (!is_rechecked() || !garbage()?);
        Ok(if free { Nameable::New } else { Nameable::Gone })
    }
}

/// Whether a writer was granted once and is not any more: nothing of it can ever be named for the first time.
pub fn is_retired(state: &dyn Txn, writer: WriterId) -> Result<bool, Fault> {
    let next: u64 = get(state, keys::SYSTEM, keys::NEXT_WRITER)?.unwrap_or(1);
    Ok(writer.0 < next && state.get(keys::LIVE_WRITERS, &keys::writer(writer))?.is_none())
}

/// Below this, a writer has given up what nothing names.
fn settled_below(state: &dyn Txn, writer: WriterId) -> Result<u64, Fault> {
    Ok(get(state, keys::SETTLED, &keys::writer(writer))?.unwrap_or_default())
}

/// A live writer tells up to where all its uploads have ended: chunks below that nothing names are never named. A copy may still
/// turn up: a node writes one late that was passed by, or was away when the others were purged.
pub fn settle(state: &mut dyn Txn, node: NodeId, writer: WriterId, below: u64) -> Result<Answer, Fault> {
    let key = keys::writer(writer);
    let lives = get::<NodeId>(state, keys::LIVE_WRITERS, &key)? == Some(node);
    if !lives || settled_below(state, writer)? >= below {
        return Ok(Answer::Passed);
    }
    put(state, keys::SETTLED, key, &below);
    Ok(done(1, false))
}

/// A live writer gives up chunks that it will never name.
pub fn release(
    state: &mut dyn Txn,
    node: NodeId,
    writer: WriterId,
    upload: Option<u64>,
    chunks: Vec<(ChunkId, Vec<NodeId>)>,
    _at: Position,
) -> Result<Answer, Fault> {
    if get::<NodeId>(state, keys::LIVE_WRITERS, &keys::writer(writer))? != Some(node) {
        return Ok(Answer::Passed);
    }
    if let Some(upload) = upload {
        reclaim::end_upload(state, upload, |_, of| Ok(of == writer))?;
    }
    let (mut count, more) = (0, chunks.len() > IDS_MAX);
    for (id, mut holders) in chunks.into_iter().take(IDS_MAX).filter(|(id, _)| id.writer == writer) {
        let unnamed = |family| Ok::<_, Fault>(state.get(family, &id.to_bytes())?.is_none());
        if unnamed(keys::CHUNKS)? && unnamed(keys::GARBAGE)? {
            holders.truncate(HOLDERS_MAX);
            put(state, keys::GARBAGE, id.to_bytes().to_vec(), &GarbageRow { marked: false, holders });
            count += 1;
        }
    }
    Ok(done(count, more))
}

/// Whether nothing can name a chunk for the first time any more.
fn is_given_up(state: &dyn Txn, id: ChunkId) -> Result<bool, Fault> {
    Ok(!is_rechecked() || id.seq < settled_below(state, id.writer)? || is_retired(state, id.writer)?)
}

/// Marks chunks that are garbage, so that their holders unlink them, and forgets those that nobody holds.
pub fn purge(state: &mut dyn Txn, ids: &[ChunkId], holder: Option<NodeId>, at: Position) -> Result<Answer, Fault> {
    let mut budget = Budget::default();
    let mut count = 0;
    for id in ids.iter().take(IDS_MAX) {
        let key = id.to_bytes().to_vec();
        // The two rows looked at.
        if !budget.take(2) {
            return Ok(done(count, true));
        }
        if state.get(keys::CHUNKS, &key)?.is_some() && is_rechecked() {
            continue;
        }
        let row = get::<GarbageRow>(state, keys::GARBAGE, &key)?;
        // What tells of the writer, the rows written.
        if !budget.take(5) {
            return Ok(done(count, true));
        }
        let mut row = match row {
            Some(row) => row,
            None if holder.is_some() && is_given_up(state, *id)? => GarbageRow::default(),
            None => continue,
        };
        let mut told = if row.marked { Vec::new() } else { row.holders.clone() };
        if let Some(holder) = holder.filter(|holder| !row.holders.contains(holder)) {
            row.holders.push(holder);
            told.push(holder);
        }
        if row.marked && told.is_empty() {
            count += usize::from(row.holders.is_empty() && forget(state, *id)?);
            continue;
        }
        if !budget.take(told.len()) {
            return Ok(done(count, true));
        }
        count += 1;
        row.marked = true;
        for node in told {
            put(state, keys::UNLINKS, keys::unlink(node, *id), &at.index);
        }
        if !row.holders.is_empty() || !forget(state, *id)? {
            put(state, keys::GARBAGE, key, &row);
        }
    }
    Ok(done(count, ids.len() > IDS_MAX))
}

/// Ends what is known of a chunk that nobody holds, once nothing can name it any more: till then a commit that was long on its way
/// has to find that it is gone. Answers whether it is forgotten.
fn forget(state: &mut dyn Txn, id: ChunkId) -> Result<bool, Fault> {
    let key = id.to_bytes().to_vec();
    state.delete(keys::DROPPED, key.clone());
    let forgets = is_given_up(state, id)?;
    if forgets {
        state.delete(keys::GARBAGE, key);
    }
    Ok(forgets)
}

/// Notes that a node has no copy any more. What the node was told later than at the place
/// in the log that it names is not what it speaks of.
pub fn unlinked(state: &mut dyn Txn, node: NodeId, ids: &[(ChunkId, u64)]) -> Result<Answer, Fault> {
    let mut budget = Budget::default();
    let mut count = 0;
    for (id, told_at) in ids.iter().take(IDS_MAX) {
        let key = id.to_bytes().to_vec();
        // What was told read and deleted, the garbage read, it and the drop written, what tells of the writer.
        if !budget.take(8) {
            return Ok(done(count, true));
        }
        if get::<u64>(state, keys::UNLINKS, &keys::unlink(node, *id))? != Some(*told_at) {
            continue;
        }
        state.delete(keys::UNLINKS, keys::unlink(node, *id));
        // A copy that vanished without a mark says nothing: only a marked chunk is unlinked.
        let Some(mut row) = get::<GarbageRow>(state, keys::GARBAGE, &key)?.filter(|row| row.marked) else { continue };
        row.holders.retain(|held| *held != node);
        count += 1;
        if !row.holders.is_empty() || !forget(state, *id)? {
            put(state, keys::GARBAGE, key, &row);
        }
    }
    Ok(done(count, ids.len() > IDS_MAX))
}
