//! Copies that this node is named for and does not have: told to the leader until they are elsewhere.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use flotilla_api::ChunkId;

/// The most that are kept; those beyond are found by the next walk.
pub const LOST_MAX: usize = 4096;

/// The copies that the last walk over the metadata did not find on the disk. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Lost(Arc<Mutex<BTreeSet<ChunkId>>>);

impl Lost {
    /// Notes what is lost among all chunks behind `after` up to `last`, or to the end: what was lost there before is forgotten,
    /// it was found again or this node is not named for it any more.
    pub fn looked(&self, after: Option<ChunkId>, last: Option<ChunkId>, lost: &[ChunkId]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = |id: &ChunkId| after.is_none_or(|after| *id > after) && last.is_none_or(|last| *id <= last);
        kept.retain(|id| !looked(id));
        let room = LOST_MAX.saturating_sub(kept.len());
        kept.extend(lost.iter().take(room));
    }

    /// Gives what is lost.
    #[must_use]
    pub fn list(&self, limit: usize) -> Vec<ChunkId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().take(limit).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;

    use super::*;

    #[test]
    fn what_was_found_again_or_is_no_longer_named_is_not_lost_any_more() {
        let ids: Vec<ChunkId> = (1..=9).map(|seq| ChunkId { writer: WriterId(1), seq }).collect();
        let lost = Lost::default();
        lost.looked(None, Some(ids[4]), &[ids[0], ids[2], ids[4]]);
        lost.looked(Some(ids[4]), None, &[ids[8]]);
        assert_eq!(lost.list(9), [ids[0], ids[2], ids[4], ids[8]]);
        assert_eq!(lost.list(1), [ids[0]]);
        lost.looked(None, Some(ids[4]), &[ids[2]]);
        assert_eq!(lost.list(9), [ids[2], ids[8]], "the first and the last of a page as well");
        lost.looked(None, None, &[]);
        assert_eq!(lost.list(9), []);
    }
}
