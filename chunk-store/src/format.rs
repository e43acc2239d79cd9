//! The bytes of a chunk's file; pure. Must not know where files lie or how they are read.
//!
//! # Shape
//! ```text
//! [data: length bytes][zeros up to 4 KiB][checksums: u32 LE per 64 KiB block of data][zeros][header: 128 bytes]
//! ```
//! Checksums, zeros and header fill whole 4 KiB pages: one page for a chunk of up to 62 MiB, two for one of 64 MiB. The header is
//! the file's last 128 bytes, so it is found from the file's length alone:
//! ```text
//!   0  magic            8  "FLOTCHNK"            40  length of the data     8  u64 LE
//!   8  version          4  u32 LE, 1             48  cv                    32  BLAKE3 chaining value of the data
//!  12  zeros            4                        80  checksum of checksums  4  CRC32C over their bytes, u32 LE
//!  16  chunk id        16  ChunkId::to_bytes     84  zeros                 40
//!  32  offset in tree   8  u64 LE               124  header checksum        4  CRC32C over bytes 0 to 123, u32 LE
//! ```

use flotilla_api::ChunkId;

use crate::{
    error::Flaw,
    sums::{self, BLOCK_BYTES},
};

/// The largest chunk: the largest chunk size that a bucket can choose; keeps the checksums of a chunk within 4 KiB.
pub const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// Data and trailer start on pages, so that they can be read past the page cache later.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// The length of the header at the end of the file.
pub(crate) const HEADER_BYTES: usize = 128;

const MAGIC: [u8; 8] = *b"FLOTCHNK";
const VERSION: u32 = 1;

/// What a chunk says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: ChunkId,
    pub(crate) tree_offset: u64,
    pub(crate) length: u64,
    pub(crate) cv: [u8; 32],
    /// CRC32C over the blocks' checksums.
    pub(crate) crc: u32,
}

/// Gives how many blocks some data has.
pub(crate) fn blocks(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES as u64)
}

/// Gives where the checksums start.
pub(crate) fn sums_start(length: u64) -> u64 {
    length.next_multiple_of(PAGE_BYTES)
}

/// Gives the length of the whole file.
pub(crate) fn file_length(length: u64) -> u64 {
    sums_start(length) + (4 * blocks(length) + HEADER_BYTES as u64).next_multiple_of(PAGE_BYTES)
}

/// Tells whether a BLAKE3 subtree may start at an offset and have a length.
pub(crate) fn fits_tree(tree_offset: u64, length: u64) -> bool {
    tree_offset.is_multiple_of(blake3::CHUNK_LEN as u64)
        && blake3::hazmat::max_subtree_len(tree_offset).is_none_or(|longest| length <= longest)
}

/// Gives all that follows the data: padding, checksums and header.
pub(crate) fn encode_tail(header: &Header, sums: &[u32]) -> Vec<u8> {
    let length = usize::try_from(file_length(header.length) - header.length).expect("a tail is three pages at most");
    let padding = usize::try_from(sums_start(header.length) - header.length).expect("padding is less than a page");
    let mut tail = Vec::with_capacity(length);
    tail.resize(padding, 0);
    tail.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
    tail.resize(length - HEADER_BYTES, 0);
    tail.extend_from_slice(&encode_header(header));
    tail
}

fn encode_header(header: &Header) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..32].copy_from_slice(&header.id.to_bytes());
    out[32..40].copy_from_slice(&header.tree_offset.to_le_bytes());
    out[40..48].copy_from_slice(&header.length.to_le_bytes());
    out[48..80].copy_from_slice(&header.cv);
    out[80..84].copy_from_slice(&header.crc.to_le_bytes());
    let checksum = sums::of_block(&out[..124]);
    out[124..].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads the header of a chunk's file of `file_bytes`, and checks that it is whole and that of chunk `id`.
pub(crate) fn decode_header(bytes: &[u8; HEADER_BYTES], id: ChunkId, file_bytes: u64) -> Result<Header, Flaw> {
    let u32_at = |at: usize| u32::from_le_bytes(field(bytes, at));
    let u64_at = |at: usize| u64::from_le_bytes(field(bytes, at));
    if bytes[..8] != MAGIC || sums::of_block(&bytes[..124]) != u32_at(124) {
        return Err(Flaw::Header);
    }
    if u32_at(8) != VERSION {
        return Err(Flaw::Version(u32_at(8)));
    }
    let header = Header {
        id: ChunkId::from_bytes(field(bytes, 16)),
        tree_offset: u64_at(32),
        length: u64_at(40),
        cv: field(bytes, 48),
        crc: u32_at(80),
    };
    if header.id != id {
        return Err(Flaw::OtherChunk(header.id));
    }
    if header.length == 0 || header.length > CHUNK_BYTES_MAX || !fits_tree(header.tree_offset, header.length) {
        return Err(Flaw::Header);
    }
    if file_length(header.length) != file_bytes {
        return Err(Flaw::Length);
    }
    Ok(header)
}

/// Reads the blocks' checksums from the bytes that start at [`sums_start`].
pub(crate) fn decode_sums(bytes: &[u8], header: &Header) -> Result<Vec<u32>, Flaw> {
    let count = usize::try_from(blocks(header.length)).expect("a chunk has some thousand blocks");
    let (words, _) = bytes.as_chunks::<4>();
    let list: Vec<u32> = words.iter().take(count).map(|word| u32::from_le_bytes(*word)).collect();
    if list.len() == count && sums::of_list(&list) == header.crc { Ok(list) } else { Err(Flaw::Sums) }
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the field lies in the header")
}

#[cfg(test)]
mod tests;
