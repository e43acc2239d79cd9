//! The store's handle: what callers hold, and the state behind it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use flotilla_api::ChunkId;
use flotilla_env::{
    blocking,
    disk::{Cause, Disk, Space},
};

use crate::{
    buffers::Buffers,
    cache::Cache,
    claims::Claims,
    counts::Counts,
    error::Error,
    format::{self, CHUNK_BYTES_MAX},
    health::Health,
    inventory::Page,
    names::Names,
    pace::Pace,
    put::Writer,
    read::OpenChunk,
    rounds::Lane,
    trust::Trust,
    volumes::{RECORD_BYTES_MAX, RecordWriter, VolumeUsage, Volumes, record_bytes},
    writer::{self, Body, Waiter},
};

/// How many chunks one call removes: what one metadata command may touch.
pub const REMOVE_MAX: usize = 1024;

/// The store counts as full when it could not take one more chunk of the default size.
const FULL_BELOW_BYTES: u64 = (8 << 20) + format::PAGE_BYTES;

/// The chunks of one disk. Clones share it.
#[derive(Debug, Clone)]
pub struct ChunkStore(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) names: Names,
    pub(crate) health: Arc<Health>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) lanes: Vec<Lane<Waiter>>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) volumes: Volumes,
    pub(crate) cache: Cache,
    pub(crate) trust: Trust,
    pub(crate) pace: Pace,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) page: Mutex<Option<Page>>,
    pub(crate) space: Mutex<Space>,
    pub(crate) reserve_free_bytes: u64,
}

/// What a chunk says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Length of the data in bytes.
    pub length: u64,
    /// Offset of the data in its tree, in bytes.
    pub tree_offset: u64,
    /// BLAKE3 chaining value of the data at that offset.
    pub cv: [u8; 32],
    /// CRC32C over the blocks' CRC32C values, as in [`crate::Stored`].
    pub crc: u32,
}

/// Where a chunk's data lies; for people and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file that holds it.
    pub path: PathBuf,
    /// Where in the file its data starts, in bytes.
    pub file_offset: u64,
    /// Length of the data in bytes.
    pub length: u64,
}

/// How full and how well the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many chunks are stored and synced; exact once [`ChunkStore::settled`].
    pub chunks: u64,
    /// What they take on disk, with padding and checksums.
    pub bytes: u64,
    /// The part of it that lies in volumes, and what else volumes take.
    pub volumes: VolumeUsage,
    /// Bytes of the file system that are free, as last measured.
    pub free_bytes: u64,
    /// Bytes of the file system in all.
    pub total_bytes: u64,
    /// Bytes promised to chunks that are being written.
    pub reserved_bytes: u64,
    /// Whether a chunk of the default size would be refused.
    pub full: bool,
    /// Whether a write or sync failed: reads go on, nothing is written any more.
    pub poisoned: bool,
    /// Smoothed time of a chunk's sync in microseconds; 0 before the first.
    pub sync_us: u64,
}

impl ChunkStore {
    /// Starts a chunk of at most `reserve_bytes`, whose data lies at `tree_offset` of its tree, and sets its space aside. One of at
    /// most [`RECORD_BYTES_MAX`] becomes a record in a volume, a larger one a file.
    ///
    /// # Errors
    /// Full before any byte is taken; Exists if the chunk is here and synced; Busy while it is being written; Overloaded at
    /// [`crate::WRITERS_MAX`] chunks; Invalid for sizes and offsets that no chunk has; Poisoned.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn put(&self, id: ChunkId, tree_offset: u64, reserve_bytes: u64) -> Result<Writer, Error> {
        self.0.health.check()?;
        if reserve_bytes == 0 || reserve_bytes > CHUNK_BYTES_MAX {
            return Err(Error::Invalid("a chunk has 1 byte to 64 MiB"));
        }
        if !format::fits_tree(tree_offset, reserve_bytes) {
            return Err(Error::Invalid("no chunk of this length starts at this offset of a tree"));
        }
        if self.0.volumes.has(id)? {
            return Err(Error::Exists(id));
        }
        if reserve_bytes <= RECORD_BYTES_MAX {
            return self.put_record(id, tree_offset, reserve_bytes).await.map(Writer::from);
        }
        let claim = self.0.claims.take(id, format::file_length(reserve_bytes))?;
        let body = self.blocking(move |store| {
            match store.disk.open(&store.names.chunk(id)) {
                Ok(_) => return Err(Error::Exists(id)),
                Err(error) if Cause::of(&error) == Cause::Missing => {}
                Err(error) => return Err(store.health.judge("look for a chunk", error)),
            }
            // The claim's own bytes are among the unallocated ones, as are those of others that are at this very point.
            if store.room()? < store.claims.unallocated_bytes() {
                return Err(Error::Full);
            }
            let body = Body::create(store.clone(), claim, id, tree_offset, reserve_bytes);
            store.room()?;
            body
        });
        Ok(writer::Writer::new(body.await?).into())
    }

    /// Starts a chunk that becomes a record.
    async fn put_record(&self, id: ChunkId, tree_offset: u64, reserve_bytes: u64) -> Result<RecordWriter, Error> {
        let bytes = record_bytes(reserve_bytes);
        let mut claim = self.0.claims.take(id, bytes)?;
        if self.0.volumes.has(id)? {
            return Err(Error::Exists(id)); // the one who had the claim before has finished since
        }
        let promise = match self.0.volumes.promise(bytes) {
            Some(promise) => promise,
            None => {
                let room = self.blocking(|store| store.room()).await?;
                if room >= self.0.volumes.capacity() + self.0.claims.unallocated_bytes() {
                    self.0.volumes.promise_anew(bytes)
                } else {
                    // A volume that is made in advance since the first look has taken the room, and has it.
                    self.0.volumes.promise(bytes).ok_or(Error::Full)?
                }
            }
        };
        claim.allocated();
        Ok(RecordWriter::new(self.clone(), claim, promise, id, tree_offset, reserve_bytes))
    }

    /// Gives what a chunk says of itself.
    ///
    /// # Errors
    /// NotFound, Corrupt.
    pub async fn stat(&self, id: ChunkId) -> Result<ChunkInfo, Error> {
        if let Some(info) = self.stat_record(id).await? {
            return Ok(info);
        }
        let header = self.chunk(id).await?.header;
        Ok(ChunkInfo { length: header.length, tree_offset: header.tree_offset, cv: header.cv, crc: header.crc })
    }

    /// Tells where a chunk's data lies.
    ///
    /// # Errors
    /// As [`ChunkStore::stat`].
    pub async fn locate(&self, id: ChunkId) -> Result<Location, Error> {
        if let Some(location) = self.locate_record(id).await? {
            return Ok(location);
        }
        self.blocking(move |store| {
            let chunk = OpenChunk::open(store, id)?;
            Ok(Location { path: store.names.chunk(id), file_offset: 0, length: chunk.header.length })
        })
        .await
    }

    /// Removes chunks; those that are not here count as removed.
    ///
    /// # Errors
    /// Invalid for more than [`REMOVE_MAX`]; Busy for a chunk that is being written, after all others were removed; Poisoned.
    ///
    /// # Durability
    /// The removal of records is synced; their space is given back later, when it pays. A file's space is given back at once, and
    /// after a power cut it may be there again, whole, and is garbage.
    ///
    /// # Cancel safety
    /// A dropped future lets the removal go on.
    pub async fn remove(&self, ids: Vec<ChunkId>) -> Result<(), Error> {
        self.0.health.check()?;
        if ids.len() > REMOVE_MAX {
            return Err(Error::Invalid("too many chunks to remove in one call"));
        }
        let (busy, free): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| self.0.claims.holds(*id));
        self.0.volumes.remove(free.clone()).await?;
        let removed = self.blocking(move |store| {
            let mut result = Ok(());
            for id in free {
                match store.remove(id) {
                    Err(Error::Busy(id)) => result = Err(Error::Busy(id)),
                    other => other?,
                }
            }
            store.room()?;
            result
        });
        removed.await?;
        busy.first().map_or(Ok(()), |id| Err(Error::Busy(*id)))
    }

    /// Copies live records out of volumes that are mostly dead, and tells how many volumes were emptied. It happens by itself in the
    /// background; this is for those who want to wait for it.
    ///
    /// # Errors
    /// Full if there is no room for the copies; Poisoned; Closed.
    ///
    /// # Cancel safety
    /// A dropped future lets the compaction go on.
    pub async fn compact(&self) -> Result<u64, Error> {
        self.0.volumes.compact().await
    }

    /// Refuses new chunks from now on, or takes them again. Those that are being written end as they would.
    pub fn drain(&self, on: bool) {
        self.0.claims.drain(on);
    }

    /// Whether the store drains, and has no chunk: none that is synced, none that is being written, none to come.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        // In this order: a chunk that is no longer being written is counted. What was never counted may be there.
        self.0.claims.is_drained() && self.0.counts.is_settled() && self.usage().chunks == 0
    }

    /// Tells how full and how well the store is, with the free space as it was at the last write, removal or measurement.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let store = &*self.0;
        let space = *store.space.lock().unwrap_or_else(PoisonError::into_inner);
        let room = space.free_bytes.saturating_sub(store.reserve_free_bytes);
        let (files, volumes) = (store.counts.sums(), store.volumes.usage());
        Usage {
            chunks: files.0 + volumes.chunks,
            bytes: files.1 + volumes.live_bytes,
            volumes,
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
            reserved_bytes: store.claims.reserved_bytes(),
            full: room < FULL_BELOW_BYTES + store.claims.unallocated_bytes(),
            poisoned: store.health.poisoned(),
            sync_us: store.health.sync_us(),
        }
    }

    /// Measures the free space, then tells the usage: others fill and empty the file system too. Gives back memory that was not
    /// needed since the last call.
    ///
    /// # Errors
    /// Io if the file system does not answer.
    pub async fn measure(&self) -> Result<Usage, Error> {
        self.0.buffers.trim();
        self.blocking(|store| store.room()).await?;
        Ok(self.usage())
    }

    /// Does blocking work on a thread made for it.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.0.clone();
        blocking::spawn(move || work(&store)).await.unwrap_or(Err(Error::Closed))
    }
}

impl Inner {
    /// Measures the space that chunks may still take.
    pub(crate) fn room(&self) -> Result<u64, Error> {
        let measured = self.disk.space(self.names.root());
        let space = measured.map_err(|source| Error::Io { what: "measure the free space", source })?;
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = space;
        Ok(space.free_bytes.saturating_sub(self.reserve_free_bytes))
    }

    fn remove(&self, id: ChunkId) -> Result<(), Error> {
        if self.claims.holds(id) {
            return Err(Error::Busy(id));
        }
        flotilla_env::failpoint!("chunks.before_unlink", |arg| Err(self
            .health
            .judge("remove a chunk", flotilla_env::failpoint::io_error(arg))));
        let path = self.names.chunk(id);
        let removed = self.counts.remove(id, || {
            let file_bytes = self.disk.open(&path)?.length()?;
            self.disk.remove(&path)?;
            Ok(file_bytes)
        });
        self.cache.remove(id);
        self.trust.forget(id);
        match removed {
            Ok(()) => {}
            Err(error) if Cause::of(&error) == Cause::Missing => {}
            Err(error) => return Err(self.health.judge("remove a chunk", error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
