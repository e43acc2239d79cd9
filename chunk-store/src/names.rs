//! Where chunks lie: names of folders and files; pure.
//!
//! # Shape
//! ```text
//! DIR/chunks/XX/ID        a chunk; XX is its shelf, 00 to 3f; ID as ChunkId prints itself
//! DIR/chunks/XX/ID.tmp    a chunk that is being written, never trusted after a start
//! DIR/volumes/N.vol       a volume of small chunks; N is its number, 8 hex digits
//! DIR/chunks.poisoned     a write or sync failed on this disk
//! ```

use std::path::{Path, PathBuf};

use flotilla_api::ChunkId;

/// How many folders the chunks lie in: 16,000 files in each for a million chunks, and few enough to sync all at a start.
pub(crate) const SHELVES: u8 = 64;

/// Ids in a row that share a shelf: what one gateway writes at the same time then shares directory syncs too.
const NEIGHBOURS_LOG2: u32 = 5;

/// Names under the store's folder.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    root: PathBuf,
}

/// What a file on a shelf is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Chunk(ChunkId),
    Temporary(ChunkId),
    Foreign,
}

impl Names {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn shelves(&self) -> PathBuf {
        self.root.join("chunks")
    }

    pub(crate) fn shelf(&self, shelf: u8) -> PathBuf {
        self.shelves().join(format!("{shelf:02x}"))
    }

    pub(crate) fn chunk(&self, id: ChunkId) -> PathBuf {
        self.shelf(shelf_of(id)).join(id.to_string())
    }

    pub(crate) fn temporary(&self, id: ChunkId) -> PathBuf {
        self.shelf(shelf_of(id)).join(format!("{id}.tmp"))
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.root.join("chunks.poisoned")
    }
}

/// Gives the shelf of a chunk. It is a part of the format: a chunk on another shelf is not found.
pub(crate) fn shelf_of(id: ChunkId) -> u8 {
    // Finalizer of splitmix64 (Steele, Lea, Flood 2014), whose top bits depend on all input bits.
    let mut mix = id.writer.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (id.seq >> NEIGHBOURS_LOG2);
    mix = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mix ^= mix >> 31;
    u8::try_from(mix >> 58).expect("six bits") // 64 shelves
}

/// Tells what a file on a shelf is.
pub(crate) fn recognise(shelf: u8, path: &Path) -> Found {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Found::Foreign };
    if let Some(stem) = name.strip_suffix(".tmp") {
        return stem.parse().map_or(Found::Foreign, Found::Temporary);
    }
    match name.parse() {
        Ok(id) if shelf_of(id) == shelf => Found::Chunk(id),
        _ => Found::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;

    use super::*;

    fn id(writer: u64, seq: u64) -> ChunkId {
        ChunkId { writer: WriterId(writer), seq }
    }

    #[test]
    fn shelves_are_pinned() {
        let check = |writer, seq, shelf| assert_eq!(shelf_of(id(writer, seq)), shelf, "{writer} {seq}");
        check(1, 0, 0x38);
        check(1, 31, 0x38);
        check(1, 32, 0x39);
        check(2, 0, 0x1b);
        check(u64::MAX, u64::MAX, 0x3d);
    }

    #[test]
    fn shelves_fill_evenly() {
        let mut counts = [0u32; SHELVES as usize];
        for writer in 1..=40 {
            for seq in (0..32_000).step_by(32) {
                counts[shelf_of(id(writer, seq)) as usize] += 1;
            }
        }
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(least > Some(&500) && most < Some(&750), "625 expected on each: {counts:?}");
    }

    #[test]
    fn files_are_recognised_by_their_names() {
        let chunk = id(7, 8);
        let shelf = shelf_of(chunk);
        let names = Names::new("/data".into());
        let check = |shelf, path: &Path, found| assert_eq!(recognise(shelf, path), found, "{}", path.display());
        check(shelf, &names.chunk(chunk), Found::Chunk(chunk));
        check(shelf ^ 1, &names.chunk(chunk), Found::Foreign);
        check(shelf, &names.temporary(chunk), Found::Temporary(chunk));
        check(shelf, Path::new("/data/lost+found"), Found::Foreign);
        check(shelf, Path::new("/data/x.tmp"), Found::Foreign);
        assert_eq!(
            names.chunk(chunk),
            Path::new(&format!("/data/chunks/{shelf:02x}/0000000000000007-0000000000000008"))
        );
    }
}
