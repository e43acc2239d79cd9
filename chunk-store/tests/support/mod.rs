//! What the tests of the store share: ids, bytes, hashes, and short ways to put and get.
#![allow(dead_code)] // each test binary uses its part of it

use std::sync::Arc;

use blake3::hazmat::HasherExt;
use bytes::Bytes;
use flotilla_api::{ChunkId, WriterId};
use flotilla_chunk_store::{ChunkStore, Error, FAMILIES, Options, READ_BYTES_MAX, RECORD_BYTES_MAX, Recovery, Stored};
use flotilla_env::disk::Disk;
use flotilla_kv::{Kv, MemKv};

pub const DIR: &str = "/data";

pub fn id(seq: u64) -> ChunkId {
    ChunkId { writer: WriterId(7), seq }
}

/// Bytes that repeat nowhere near, so that a torn or swapped sector shows.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub fn cv_at(tree_offset: u64, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(tree_offset);
    hasher.update(bytes).finalize_non_root()
}

/// The smallest volumes that hold every record: what they cost in memory is paid for each power cut.
pub const VOLUME: u64 = RECORD_BYTES_MAX + (256 << 10);

/// What makes a chunk a file, however long it is.
pub const FILE: u64 = RECORD_BYTES_MAX + 1;

pub fn kv() -> Arc<dyn Kv> {
    Arc::new(MemKv::new(&FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>()))
}

/// Options with an empty database: good for disks without volumes.
pub fn options(disk: &Arc<dyn Disk>) -> Options {
    options_with(disk, kv())
}

pub fn options_with(disk: &Arc<dyn Disk>, kv: Arc<dyn Kv>) -> Options {
    Options { volume_bytes: VOLUME, ..Options::new(DIR, disk.clone(), kv, 0) }
}

pub async fn open(disk: &Arc<dyn Disk>) -> (ChunkStore, Recovery) {
    open_with(options(disk)).await
}

/// Opens a store and waits for its counts.
pub async fn open_with(options: Options) -> (ChunkStore, Recovery) {
    let opened = ChunkStore::open(options).await.expect("opened");
    assert!(opened.0.settled().await, "the files can be counted");
    opened
}

/// The two sizes: what is asked for when a chunk of a length is to become a record, or a file.
pub const CLASSES: [fn(usize) -> u64; 2] = [|length| length as u64, |length| FILE.max(length as u64)];

/// Puts a chunk as a file in pieces of `piece` bytes.
pub async fn put_in_pieces(store: &ChunkStore, id: ChunkId, data: &[u8], piece: usize) -> Result<Stored, Error> {
    put_reserved(store, id, data, piece, FILE.max(data.len() as u64)).await
}

/// Puts a chunk as a record.
pub async fn put_record(store: &ChunkStore, id: ChunkId, data: &[u8]) -> Result<Stored, Error> {
    put_reserved(store, id, data, 100_000, data.len() as u64).await
}

/// Puts a chunk for which `reserve` bytes are asked.
pub async fn put_reserved(
    store: &ChunkStore,
    id: ChunkId,
    data: &[u8],
    piece: usize,
    reserve: u64,
) -> Result<Stored, Error> {
    let mut writer = store.put(id, 0, reserve).await?;
    for part in data.chunks(piece) {
        writer.write(Bytes::copy_from_slice(part)).await?;
    }
    writer.finish(cv_at(0, data)).await
}

pub async fn put(store: &ChunkStore, id: ChunkId, data: &[u8]) -> Result<Stored, Error> {
    put_in_pieces(store, id, data, 100_000).await
}

/// Reads a whole chunk, part by part.
pub async fn get(store: &ChunkStore, id: ChunkId) -> Result<Vec<u8>, Error> {
    let length = store.stat(id).await?.length;
    let mut out = Vec::new();
    while (out.len() as u64) < length {
        let start = out.len() as u64;
        out.extend_from_slice(&store.read(id, start..length.min(start + READ_BYTES_MAX)).await?);
    }
    Ok(out)
}

/// Lists all chunks, in pages of `limit`.
pub async fn list_all(store: &ChunkStore, limit: usize) -> Vec<ChunkId> {
    let mut all = Vec::new();
    loop {
        let page = store.list(all.last().copied(), limit).await.expect("listed");
        if page.is_empty() {
            return all;
        }
        assert!(page.len() <= limit);
        all.extend(page);
    }
}

/// Names every file under the store that is not a chunk.
pub fn leftovers(disk: &dyn Disk) -> Vec<std::path::PathBuf> {
    let shelves = disk.list(&std::path::Path::new(DIR).join("chunks")).expect("listed");
    let files = shelves.iter().flat_map(|shelf| disk.list(&shelf.path).expect("listed"));
    files.map(|entry| entry.path).filter(|path| path.extension().is_some()).collect()
}
