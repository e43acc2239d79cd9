//! Versions that are no longer current: they linger for their downloads, then their segments and chunks lose a reference.

use flotilla_api::{ChunkId, WriterId};
use flotilla_raft_store::{Fault, Position, Txn};

use super::{
    super::{
        bound::Budget,
        keys::{self, SegmentId},
        rows::{ChunkRow, Content, FileRow, GarbageRow, KeyRow, ReclaimRow, SegmentRow, UploadRow},
        table::{first, get, put},
    },
    Answer, clock, done, purge,
};

/// The most uploads that one command ends: each is a row with up to 1,024 segments, moved as a whole.
pub const UPLOADS_MAX: usize = 64;
/// Queued at the beginning of time: nothing can be reading it, so it need not linger.
const AT_ONCE: u64 = 0;

/// Queues the segments of a version that is no longer current: running downloads still read them.
pub fn replaced(state: &mut dyn Txn, before: Option<KeyRow>, at: Position) -> Result<(), Fault> {
    if let Some(FileRow { content: Content::Trees(trees), .. }) = before.and_then(|row| row.file) {
        let segments: Vec<SegmentId> = trees.into_iter().flat_map(|tree| tree.segments).collect();
        // A change of a part can keep all of them.
        if !segments.is_empty() {
            let now = clock::now(state)?;
            put(state, keys::RECLAIM, keys::queued(now, at.index), &ReclaimRow { segments });
        }
    }
    Ok(())
}

/// Queues the segments of an upload that will never be committed, and ends it. Answers whether it was there.
pub fn end_upload(
    state: &mut dyn Txn,
    upload: u64,
    of: impl Fn(&dyn Txn, WriterId) -> Result<bool, Fault>,
) -> Result<bool, Fault> {
    let key = upload.to_be_bytes().to_vec();
    let Some(row) = get::<UploadRow>(state, keys::UPLOADS, &key)? else { return Ok(false) };
    if !of(state, row.writer)? {
        return Ok(false);
    }
    state.delete(keys::UPLOADS, key);
    // Named after the upload, not after this command, which may end several: an upload ends once, so the key is free.
    put(state, keys::RECLAIM, keys::queued(AT_ONCE, upload), &ReclaimRow { segments: row.segments });
    Ok(true)
}

/// Ends uploads whose writers are retired.
pub fn end_uploads(state: &mut dyn Txn, uploads: &[u64], _at: Position) -> Result<Answer, Fault> {
    let mut count = 0;
    for upload in uploads.iter().take(UPLOADS_MAX) {
        if end_upload(state, *upload, purge::is_retired)? {
            count += 1;
        }
    }
    Ok(done(count, uploads.len() > UPLOADS_MAX))
}

/// Releases what was queued at or before `upto_ms`, oldest first, as far as the bound on rows allows.
pub fn reclaim(state: &mut dyn Txn, upto_ms: u64) -> Result<Answer, Fault> {
    let mut budget = Budget::default();
    let mut count = 0;
    loop {
        // The scan, and the row written back or removed.
        if !budget.take(2) {
            return Ok(done(count, true));
        }
        let Some((key, mut row)) = first::<ReclaimRow>(state, keys::RECLAIM)? else {
            return Ok(done(count, false));
        };
        if keys::queued_at(&key).is_none_or(|at| at > upto_ms) {
            return Ok(done(count, false));
        }
        let mut released = 0;
        let mut spent = false;
        for segment in &row.segments {
            if !release_segment(state, *segment, &mut budget)? {
                spent = true;
                break;
            }
            released += 1;
        }
        count += released;
        if spent {
            row.segments.drain(..released);
            put(state, keys::RECLAIM, key, &row);
            return Ok(done(count, true));
        }
        state.delete(keys::RECLAIM, key);
    }
}

/// Takes one reference from a segment; without one it is gone, and its chunks lose one each. False if the budget does not reach.
fn release_segment(state: &mut dyn Txn, id: SegmentId, budget: &mut Budget) -> Result<bool, Fault> {
    if !budget.take(2) {
        return Ok(false);
    }
    let Some(mut row) = get::<SegmentRow>(state, keys::SEGMENTS, &id.to_bytes())? else { return Ok(true) };
    if row.references > 1 {
        row.references -= 1;
        put(state, keys::SEGMENTS, id.to_bytes(), &row);
        return Ok(true);
    }
    // Per chunk: the row read, then written or removed, and maybe a row of garbage.
    if !budget.take(3 * row.chunks.len()) {
        return Ok(false);
    }
    state.delete(keys::SEGMENTS, id.to_bytes());
    for chunk in row.chunks {
        release_chunk(state, chunk.id)?;
    }
    Ok(true)
}

/// Takes one reference from a chunk; without one it is garbage: its writer gave it away when it was named.
fn release_chunk(state: &mut dyn Txn, id: ChunkId) -> Result<(), Fault> {
    let key = id.to_bytes().to_vec();
    let Some(mut row) = get::<ChunkRow>(state, keys::CHUNKS, &key)? else { return Ok(()) };
    if row.references > 1 {
        row.references -= 1;
        put(state, keys::CHUNKS, key, &row);
    } else {
        state.delete(keys::CHUNKS, key.clone());
        put(state, keys::GARBAGE, key, &GarbageRow { marked: false, holders: row.replicas });
    }
    Ok(())
}
