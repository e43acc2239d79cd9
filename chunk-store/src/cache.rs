//! Chunks that were opened lately: their handle, header and checksums. Chunks never change, so none of it gets stale by itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flotilla_api::ChunkId;

use crate::read::OpenChunk;

/// How many chunks stay open: 256 file handles and, with the longest checksum lists, 1 MiB.
const OPEN_MAX: usize = 256;

/// The chunks opened last.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: HashMap<ChunkId, Entry>,
    /// Counts uses, to find what was used longest ago.
    uses: u64,
    /// Counts removals, so that what was opened before a removal is not kept after it.
    removals: u64,
}

#[derive(Debug)]
struct Entry {
    chunk: Arc<OpenChunk>,
    used: u64,
}

/// The state of the cache when a chunk was not in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Miss {
    removals: u64,
}

impl Cache {
    /// Whether a chunk is open; no use of it.
    pub(crate) fn has(&self, id: ChunkId) -> bool {
        self.state().open.contains_key(&id)
    }

    pub(crate) fn get(&self, id: ChunkId) -> Result<Arc<OpenChunk>, Miss> {
        let state = &mut *self.state();
        state.uses += 1;
        match state.open.get_mut(&id) {
            Some(entry) => {
                entry.used = state.uses;
                Ok(entry.chunk.clone())
            }
            None => Err(Miss { removals: state.removals }),
        }
    }

    /// Keeps a chunk that was opened after `miss`, unless something was removed since: it may have been this chunk.
    pub(crate) fn insert(&self, id: ChunkId, chunk: Arc<OpenChunk>, miss: Miss) {
        let state = &mut *self.state();
        if state.removals != miss.removals {
            return;
        }
        if state.open.len() >= OPEN_MAX && !state.open.contains_key(&id) {
            let oldest = state.open.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
            oldest.and_then(|oldest| state.open.remove(&oldest));
        }
        state.open.insert(id, Entry { chunk, used: state.uses });
    }

    pub(crate) fn remove(&self, id: ChunkId) {
        let state = &mut *self.state();
        state.removals += 1;
        state.open.remove(&id);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;
    use flotilla_env::disk::{Disk, MemDisk};

    use super::*;
    use crate::format::Header;

    fn id(seq: u64) -> ChunkId {
        ChunkId { writer: WriterId(1), seq }
    }

    fn chunk() -> Arc<OpenChunk> {
        let file = MemDisk::new().create(std::path::Path::new("/a")).expect("created");
        let header = Header { id: id(0), tree_offset: 0, length: 1, cv: [0; 32], crc: 0 };
        Arc::new(OpenChunk::new(file, header, Vec::new()))
    }

    fn add(cache: &Cache, seq: u64) {
        let miss = cache.get(id(seq)).expect_err("not yet kept");
        cache.insert(id(seq), chunk(), miss);
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = Cache::default();
        (0..OPEN_MAX as u64).for_each(|seq| add(&cache, seq));
        cache.get(id(0)).expect("kept");
        add(&cache, 9999);
        cache.get(id(0)).expect("used lately");
        cache.get(id(9999)).expect("the newest");
        cache.get(id(1)).expect_err("used longest ago");
        assert_eq!(cache.state().open.len(), OPEN_MAX);
    }

    #[test]
    fn what_was_opened_before_a_removal_is_not_kept_after_it() {
        let cache = Cache::default();
        let miss = cache.get(id(1)).expect_err("not yet kept");
        cache.remove(id(1));
        cache.insert(id(1), chunk(), miss);
        cache.get(id(1)).expect_err("it may be gone");
    }
}
