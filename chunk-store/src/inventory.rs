//! Lists what is stored, page by page, for comparison with the metadata.

use std::sync::{Arc, PoisonError};

use flotilla_api::ChunkId;

use crate::{
    error::Error,
    names::{Found, SHELVES, recognise, shelf_of},
    store::{ChunkStore, Inner},
};

/// The longest page: 64 KiB of ids.
pub const LIST_MAX: usize = 4096;

/// The shelf that the last page ended on, so that a long shelf is not read again for every page.
#[derive(Debug)]
pub(crate) struct Page {
    shelf: u8,
    ids: Arc<[ChunkId]>,
}

impl ChunkStore {
    /// Lists chunks that are stored and synced, from the one after `after` on; an empty page is the end.
    ///
    /// The order is the store's own. A chunk that is here from the first page to the last is listed exactly once; one that comes
    /// or goes in between may be listed or not, so look again with [`ChunkStore::stat`] before acting on a page.
    ///
    /// # Bounds
    /// At most `limit` and at most [`LIST_MAX`] ids.
    ///
    /// # Errors
    /// Io if a folder can't be read.
    pub async fn list(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, Error> {
        let limit = limit.clamp(1, LIST_MAX);
        self.blocking(move |store| {
            let mut page = Vec::new();
            for shelf in after.map_or(0, shelf_of)..SHELVES {
                let after = after.filter(|id| shelf_of(*id) == shelf);
                let ids = store.ids_on(shelf, after.is_some())?;
                let start = after.map_or(0, |after| ids.partition_point(|id| *id <= after));
                let files = ids[start..].iter().copied().filter(|id| !store.claims.holds(*id));
                let mut here: Vec<_> = files.take(limit - page.len()).collect();
                here.extend(store.volumes.list(shelf, after, limit - page.len())?);
                here.sort_unstable();
                here.dedup(); // a chunk may have been put again in another size class
                page.extend(here.into_iter().take(limit - page.len()));
                if page.len() == limit {
                    *store.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(Page { shelf, ids });
                    break;
                }
            }
            Ok(page)
        })
        .await
    }
}

impl Inner {
    /// Gives the ids on a shelf in their order, or those of the last page if the caller goes on from it.
    fn ids_on(&self, shelf: u8, goes_on: bool) -> Result<Arc<[ChunkId]>, Error> {
        let kept = self.page.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(page) = kept.filter(|page| goes_on && page.shelf == shelf) {
            return Ok(page.ids);
        }
        let entries = self.disk.list(&self.names.shelf(shelf));
        let entries = entries.map_err(|source| Error::Io { what: "list chunks", source })?;
        let id = |found| if let Found::Chunk(id) = found { Some(id) } else { None };
        // Names have a fixed width in hex, so the order of paths is that of ids.
        Ok(entries.iter().filter_map(|entry| id(recognise(shelf, &entry.path))).collect())
    }
}
