//! The reclaim queue: what no current version references any more, until a later command works it off. Pure.

use flotilla_raft_store::{Position, Txn};

use super::{
    keys,
    rows::{Content, FileRow, KeyRow, ReclaimRow},
    table::put,
};

/// Queues the segments of a version that is no longer current: running downloads still read them.
pub(super) fn reclaim(state: &mut dyn Txn, before: Option<KeyRow>, at: Position) {
    if let Some(FileRow { content: Content::Trees(trees), .. }) = before.and_then(|row| row.file) {
        let segments = trees.into_iter().flat_map(|tree| tree.segments).collect();
        put(state, keys::RECLAIM, at.index.to_be_bytes().to_vec(), &ReclaimRow { segments });
    }
}
