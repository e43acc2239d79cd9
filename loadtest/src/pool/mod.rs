//! Big content that costs next to nothing to make and to compare: one seeded pool, each 4 KiB block stamped.
//!
//! A file's bytes are the pool's bytes from a block of its own on, round and round; the first bytes of every block are
//! replaced by the file's id and the block's number, so no two blocks are ever equal and none can be deduplicated.
//! Knows no network beyond the shape of a body.

mod body;
mod compare;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::BytesMut;

pub(crate) use body::Body;
pub(crate) use compare::{Compare, Wrong};

use crate::content::Sequence;

/// The unit that is stamped: stores align and deduplicate at 4 KiB or more.
const BLOCK_BYTES: usize = 4096;
/// Size of the pool: twice the default chunk, so that no compressor sees a repetition within one chunk.
const POOL_BYTES: usize = 16 << 20;
/// Number of blocks of the pool.
const POOL_BLOCKS: u64 = (POOL_BYTES / BLOCK_BYTES) as u64;
/// `[file id u64 LE][block number u64 LE]`
const STAMP_BYTES: usize = 16;
/// What is handed to the connection at once: big enough that frames cost nothing, small enough to stay in the cache.
pub(super) const FRAME_BYTES: usize = 256 * 1024;

/// The random bytes that all files of a run are cut from.
#[derive(Debug)]
pub(crate) struct Pool(Box<[u8]>);

impl Pool {
    /// Fills a pool from a seed.
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let mut bytes = vec![0; POOL_BYTES].into_boxed_slice();
        Sequence::new(seed, "pool").fill(&mut bytes);
        Arc::new(Self(bytes))
    }
}

/// One file of a run, as a description: nothing is held until it is sent or compared.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pool: Arc<Pool>,
    id: u64,
    length: u64,
}

impl File {
    /// Describes the file with an id and a length in bytes.
    pub(crate) fn new(pool: Arc<Pool>, id: u64, length: u64) -> Self {
        Self { pool, id, length }
    }

    /// Gives the file's id.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Gives the length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Gives the bytes of the pool and the stamp that make up one block.
    fn block(&self, block: u64) -> (&[u8; BLOCK_BYTES], [u8; STAMP_BYTES]) {
        // An odd factor spreads the first blocks of files over the pool.
        let at = (self.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20).wrapping_add(block) % POOL_BLOCKS;
        let start = at as usize * BLOCK_BYTES;
        let source = self.pool.0[start..start + BLOCK_BYTES].try_into().expect("the range is one block long");
        let mut stamp = [0; STAMP_BYTES];
        stamp[..8].copy_from_slice(&self.id.to_le_bytes());
        stamp[8..].copy_from_slice(&block.to_le_bytes());
        (source, stamp)
    }

    /// Appends at most `max` bytes of the file from `offset`, which begins a block; gives how many.
    fn write(&self, offset: u64, max: usize, out: &mut BytesMut) -> usize {
        debug_assert_eq!(offset % BLOCK_BYTES as u64, 0, "frames begin with a block");
        let total = (self.length - offset).min(max as u64) as usize;
        let mut left = total;
        let mut block = offset / BLOCK_BYTES as u64;
        while left > 0 {
            let (source, stamp) = self.block(block);
            let length = left.min(BLOCK_BYTES);
            let stamped = length.min(STAMP_BYTES);
            out.extend_from_slice(&stamp[..stamped]);
            out.extend_from_slice(&source[stamped..length]);
            left -= length;
            block += 1;
        }
        total
    }

    /// Hashes the whole file; takes a tenth of a second per GB, so call it where nothing is measured.
    pub(crate) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let mut frame = BytesMut::with_capacity(FRAME_BYTES);
        let mut offset = 0;
        while offset < self.length {
            frame.clear();
            offset += self.write(offset, FRAME_BYTES, &mut frame) as u64;
            hasher.update(&frame);
        }
        hasher.finalize()
    }
}
