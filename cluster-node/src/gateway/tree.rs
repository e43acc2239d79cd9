//! The BLAKE3 tree of a file, built chunk by chunk: chaining values of the chunks, then the root.

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

/// Hashes one chunk while it streams by.
#[derive(Debug)]
pub struct ChunkHasher {
    hasher: blake3::Hasher,
    offset: u64,
    length: u64,
}

/// A chunk's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHash {
    /// The non-root chaining value of the chunk's bytes at its offset.
    pub cv: [u8; 32],
    /// The root, if this chunk is the whole tree.
    root: Option<[u8; 32]>,
}

impl ChunkHash {
    /// The hash of a chunk that is stored already, and is not the whole tree.
    #[must_use]
    pub fn stored(cv: [u8; 32]) -> Self {
        Self { cv, root: None }
    }
}

impl ChunkHasher {
    /// Begins a chunk at `offset` in its tree; a multiple of the chunk size, which is a power of two from 1,024 on.
    #[must_use]
    pub fn new(offset: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        Self { hasher, offset, length: 0 }
    }

    /// Takes more of the chunk's bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Ends the chunk; it holds at least one byte.
    #[must_use]
    pub fn finish(self) -> ChunkHash {
        debug_assert!(self.length > 0, "an empty tree has no chunk");
        let root = (self.offset == 0).then(|| *self.hasher.finalize().as_bytes());
        ChunkHash { cv: self.hasher.finalize_non_root(), root }
    }
}

/// The right edge of a BLAKE3 tree: one chaining value per complete subtree.
///
/// # Bounds
/// One entry per bit of the chunk count: 54 at most.
///
/// # Source
/// The BLAKE3 paper, section 5.1.2 ("chaining value stack"): subtrees are merged only when a later chunk shows that they are not
/// the root.
#[derive(Debug, Default)]
pub struct TreeHasher {
    stack: Vec<ChainingValue>,
    chunks: u64,
    last: Option<ChunkHash>,
}

impl TreeHasher {
    /// Takes the hash of the next chunk, in order.
    pub fn push(&mut self, chunk: ChunkHash) {
        if let Some(before) = self.last.replace(chunk) {
            let mut cv = before.cv;
            self.chunks += 1;
            let mut complete = self.chunks;
            while complete & 1 == 0 {
                let left = self.stack.pop().expect("a set bit of the chunk count has its subtree on the stack");
                cv = hazmat::merge_subtrees_non_root(&left, &cv, Mode::Hash);
                complete >>= 1;
            }
            self.stack.push(cv);
        }
    }

    /// Gives the root of all chunks; of an empty tree, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let Some(last) = self.last else { return *blake3::hash(&[]).as_bytes() };
        let mut cv = last.cv;
        for (depth, left) in self.stack.iter().enumerate().rev() {
            if depth == 0 {
                return *hazmat::merge_subtrees_root(left, &cv, Mode::Hash).as_bytes();
            }
            cv = hazmat::merge_subtrees_non_root(left, &cv, Mode::Hash);
        }
        last.root.expect("a tree of one chunk begins at offset 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_by_chunks(bytes: &[u8], chunk_size: usize) -> [u8; 32] {
        let mut tree = TreeHasher::default();
        for (n, part) in bytes.chunks(chunk_size).enumerate() {
            let mut chunk = ChunkHasher::new((n * chunk_size) as u64);
            for piece in part.chunks(700) {
                chunk.update(piece);
            }
            tree.push(chunk.finish());
        }
        tree.root()
    }

    #[test]
    fn root_of_chunks_is_the_hash_of_the_whole() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        for chunk_size in [1024, 4096, 65_536] {
            for chunks in [0, 1, 2, 3, 4, 5, 7, 8, 9] {
                for delta in [-1i64, 0, 1] {
                    let length = (chunks * chunk_size) as i64 + delta;
                    let Some(part) = usize::try_from(length).ok().and_then(|n| bytes.get(..n)) else { continue };
                    assert_eq!(
                        root_by_chunks(part, chunk_size),
                        *blake3::hash(part).as_bytes(),
                        "{length} by {chunk_size}"
                    );
                }
            }
        }
    }
}
