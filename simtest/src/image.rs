//! What a machine would have after a power cut now, opened beside the machine itself.

use std::{path::Path, sync::Arc};

use flotilla_chunk_store::{ChunkStore, Error, FAMILIES, Options};
use flotilla_env::{Disk, disk::MemDisk, entropy};
use flotilla_kv::{Family, Kv, MemKv};

use crate::host::{DATA_DIR, Host};

/// A machine's chunks as only what is synced makes them.
pub struct Image {
    /// The chunks.
    pub chunks: ChunkStore,
    disk: MemDisk,
    volume_bytes: u64,
}

impl Image {
    /// Takes the image of a machine; none if it never had a database. The machine does not notice.
    ///
    /// # Errors
    /// As [`ChunkStore::open`].
    pub async fn take(host: &Host, volume_bytes: u64) -> Result<Option<Self>, Error> {
        let Some(kv) = host.kv() else { return Ok(None) };
        let disk = host.disk.synced();
        let chunks = open(&disk, Arc::new(kv.crash()), volume_bytes).await?;
        Ok(Some(Self { chunks, disk, volume_bytes }))
    }

    /// Opens the same disk with an empty index.
    ///
    /// # Errors
    /// As [`ChunkStore::open`].
    pub async fn without_index(&self) -> Result<ChunkStore, Error> {
        let families: Vec<Family> = FAMILIES.iter().map(|family| family.name).collect();
        open(&self.disk.synced(), Arc::new(MemKv::inline(&families)), self.volume_bytes).await
    }
}

async fn open(disk: &MemDisk, kv: Arc<dyn Kv>, volume_bytes: u64) -> Result<ChunkStore, Error> {
    let dir = Path::new(DATA_DIR).join("chunks");
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    ChunkStore::accept(dir.clone(), disk.clone()).await?;
    let options = Options { entropy: entropy::seeded(0), volume_bytes, ..Options::new(dir, disk, kv, 0) };
    Ok(ChunkStore::open(options).await?.0)
}
