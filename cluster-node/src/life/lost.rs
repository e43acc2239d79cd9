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
    /// Notes what a part of a walk looked for, and what of it is lost.
    pub fn looked(&self, named: &[ChunkId], lost: &[ChunkId]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(first), Some(last)) = (named.first(), named.last()) {
            let before: BTreeSet<ChunkId> = kept.range(first..=last).copied().collect();
            kept.retain(|id| !before.contains(id));
        }
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
    fn what_was_looked_for_again_and_found_is_not_lost_any_more() {
        let ids: Vec<ChunkId> = (1..=9).map(|seq| ChunkId { writer: WriterId(1), seq }).collect();
        let lost = Lost::default();
        lost.looked(&ids[..5], &ids[1..3]);
        lost.looked(&ids[5..], &ids[6..7]);
        assert_eq!(lost.list(9), [ids[1], ids[2], ids[6]]);
        lost.looked(&ids[..5], &ids[2..3]);
        assert_eq!(lost.list(9), [ids[2], ids[6]]);
        assert_eq!(lost.list(1), [ids[2]]);
    }
}
