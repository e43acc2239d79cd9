//! What the tests of the store share: ids, bytes, hashes, and short ways to put and get.
#![allow(dead_code)] // each test binary uses its part of it

use std::sync::Arc;

use blake3::hazmat::HasherExt;
use bytes::Bytes;
use flotilla_api::{ChunkId, WriterId};
use flotilla_chunk_store::{ChunkStore, Error, Options, READ_BYTES_MAX, Recovery, Stored};
use flotilla_env::disk::Disk;

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

pub fn options(disk: &Arc<dyn Disk>) -> Options {
    Options::new(DIR, disk.clone(), 0)
}

pub async fn open(disk: &Arc<dyn Disk>) -> (ChunkStore, Recovery) {
    ChunkStore::open(options(disk)).await.expect("opened")
}

/// Puts a chunk in pieces of `piece` bytes.
pub async fn put_in_pieces(store: &ChunkStore, id: ChunkId, data: &[u8], piece: usize) -> Result<Stored, Error> {
    let mut writer = store.put(id, 0, data.len() as u64).await?;
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
