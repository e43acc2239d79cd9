//! What a machine would have after a power cut now, opened beside the machine itself.

use std::{path::Path, sync::Arc};

use flotilla_chunk_store::{ChunkStore, Error, FAMILIES, Options};
use flotilla_env::{Disk, disk::MemDisk, entropy};
use flotilla_kv::{Family, Kv, MemKv};

use crate::{
    host::{DATA_DIR, Host},
    plan::Plant,
    world::World,
};

/// A machine's chunks as only what is synced makes them.
pub struct Image {
    /// The chunks.
    pub chunks: ChunkStore,
    disk: MemDisk,
    volume_bytes: u64,
    /// Planted: a volume has lost its beginning.
    torn: bool,
}

impl Image {
    /// Takes the image of a machine; none if it never had a database. The machine does not notice.
    ///
    /// # Errors
    /// As [`ChunkStore::open`].
    pub async fn take(world: &World, host: &Host) -> Result<Option<Self>, Error> {
        let volume_bytes = world.volume_bytes();
        let Some(kv) = host.kv() else { return Ok(None) };
        let disk = host.disk.synced();
        let chunks = open(&disk, Arc::new(kv.crash()), volume_bytes).await?;
        Ok(Some(Self { chunks, disk, volume_bytes, torn: world.plant() == Some(Plant::TornVolume) }))
    }

    /// Opens the same disk with an empty index.
    ///
    /// # Errors
    /// As [`ChunkStore::open`].
    pub async fn without_index(&self) -> Result<ChunkStore, Error> {
        let families: Vec<Family> = FAMILIES.iter().map(|family| family.name).collect();
        let disk = self.disk.synced();
        if self.torn {
            tear(&disk).expect("a disk in memory takes it");
        }
        open(&disk, Arc::new(MemKv::inline(&families)), self.volume_bytes).await
    }
}

/// Writes zeros over the first records of every volume.
fn tear(disk: &MemDisk) -> std::io::Result<()> {
    for entry in disk.list(&Path::new(DATA_DIR).join("chunks/volumes"))? {
        disk.open_rw(&entry.path)?.write_at(4096, &[std::io::IoSlice::new(&[0; 64 << 10])])?;
    }
    Ok(())
}

async fn open(disk: &MemDisk, kv: Arc<dyn Kv>, volume_bytes: u64) -> Result<ChunkStore, Error> {
    let dir = Path::new(DATA_DIR).join("chunks");
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    ChunkStore::accept(dir.clone(), disk.clone()).await?;
    let options = Options { entropy: entropy::seeded(0), volume_bytes, ..Options::new(dir, disk, kv, 0) };
    Ok(ChunkStore::open(options).await?.0)
}
