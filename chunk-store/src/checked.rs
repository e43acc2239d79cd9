//! Reads that trust a copy only as far as the metadata vouches for it: its identity always, its whole content where asked.
//!
//! Must not know where the metadata comes from, or what a reader does about a damaged copy.

use std::ops::Range;

use blake3::hazmat::HasherExt;
use bytes::Bytes;
use flotilla_api::ChunkId;

use crate::{
    error::{Error, Flaw},
    read::READ_BYTES_MAX,
    store::ChunkStore,
};

/// What the metadata says of a chunk: a copy that says otherwise is another chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Length of the data in bytes.
    pub length: u64,
    /// Offset of the data in its tree, in bytes.
    pub tree_offset: u64,
    /// BLAKE3 chaining value of the data at that offset.
    pub cv: [u8; 32],
}

/// How much has to be right before a byte of a copy is given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// The blocks that hold the bytes match their checksums.
    Blocks,
    /// As `Blocks`, and this process has compared the whole chunk with its BLAKE3 value.
    Whole,
}

impl ChunkStore {
    /// Reads a range of a copy that has to be the chunk that `facts` describe.
    ///
    /// The first deep read of a copy compares all of it with its BLAKE3 value. That proof ties the list of block checksums to the
    /// value, so later reads need the checksums alone. What this process wrote is proven as well: its checksums and its value
    /// were made from the same bytes in memory.
    ///
    /// A copy that is found damaged is looked up once more, past all caches. Damaged still, it is never given again until it is
    /// written anew, removed, or the process restarts.
    ///
    /// # Errors
    /// NotFound; Corrupt, then read another copy; Invalid as [`ChunkStore::read`].
    ///
    /// # Cancel safety
    /// Nothing happens but reading.
    pub async fn read_as(&self, id: ChunkId, facts: &Facts, range: Range<u64>, depth: Depth) -> Result<Bytes, Error> {
        if let Some(flaw) = self.0.trust.flaw(id) {
            return Err(Error::Corrupt { id, flaw });
        }
        match self.read_once(id, facts, range.clone(), depth).await {
            Err(Error::Corrupt { .. }) => self.forget_cached(id).await,
            other => return other,
        }
        let again = self.read_once(id, facts, range, depth).await;
        match &again {
            Err(Error::Corrupt { flaw, .. }) => {
                if self.0.trust.distrust(id, *flaw) {
                    tracing::error!(chunk = %id, %flaw, "copy is corrupt, it is not offered any more");
                }
            }
            Ok(_) => tracing::warn!(chunk = %id, "copy was damaged in a cache only"),
            Err(_) => {}
        }
        again
    }

    /// Lists copies that were found damaged.
    ///
    /// # Bounds
    /// At most `limit`, and at most [`crate::CORRUPT_MAX`].
    #[must_use]
    pub fn corrupt(&self, limit: usize) -> Vec<ChunkId> {
        self.0.trust.corrupt(limit)
    }

    async fn read_once(&self, id: ChunkId, facts: &Facts, range: Range<u64>, depth: Depth) -> Result<Bytes, Error> {
        let info = self.stat(id).await?;
        if *facts != (Facts { length: info.length, tree_offset: info.tree_offset, cv: info.cv }) {
            return Err(Error::Corrupt { id, flaw: Flaw::Facts });
        }
        if depth == Depth::Blocks || self.0.trust.is_proven(id, info.crc) {
            return self.read(id, range).await;
        }
        let one_read = range == (0..facts.length) && facts.length <= READ_BYTES_MAX;
        if !one_read {
            self.prove(id, info.crc).await?;
            return self.read(id, range).await;
        }
        let bytes = self.read(id, range).await?;
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(facts.tree_offset).update(&bytes);
        if hasher.finalize_non_root() != facts.cv {
            return Err(Error::Corrupt { id, flaw: Flaw::Contents });
        }
        self.0.trust.prove(id, info.crc);
        Ok(bytes)
    }

    /// Compares a whole copy with its BLAKE3 value, once however many readers ask at the same time.
    async fn prove(&self, id: ChunkId, crc: u32) -> Result<(), Error> {
        let _one_at_a_time = self.0.trust.prover(id).await;
        if self.0.trust.is_proven(id, crc) {
            return Ok(());
        }
        if self.verify_record(id).await?.is_some() {
            self.0.trust.prove(id, crc);
            return Ok(());
        }
        let chunk = self.chunk(id).await?;
        let proof = self.blocking(move |store| {
            chunk.contents(store)?;
            store.trust.prove(id, chunk.header.crc);
            Ok(())
        });
        proof.await.inspect_err(|_| self.0.cache.remove(id))
    }

    /// Drops the open handle and asks the system to forget what it holds of the file, so that the next read sees the disk.
    async fn forget_cached(&self, id: ChunkId) {
        self.0.cache.remove(id);
        let forget = self.blocking(move |store| {
            store.volumes.forget_cached(id);
            let opened = store.disk.open(&store.names.chunk(id));
            let _ = opened.and_then(|file| file.forget_cached(0, file.length()?)); // what is wrong shows in the next read
            Ok(())
        });
        drop(forget.await);
    }
}
