//! The bytes of a volume and of the records in it; pure. Must not know where volumes lie or who wrote them.
//!
//! # Shape
//! ```text
//! [volume header: 64 bytes, zeros up to 4 KiB] then records, each on a page of 4 KiB:
//! [record header: 256 bytes][data: length bytes][zeros up to 4 KiB]
//!
//! volume header                                 record header
//!   0  magic            8  "FLOTVOLM"             0  magic                  8  "FLOTRECD"
//!   8  version          4  u32 LE, 1              8  version                4  u32 LE, 1
//!  12  number           4  u32 LE                12  kind                   4  u32 LE: 1 a chunk, 2 a removal
//!  16  epoch's order    8  u64 LE                16  volume's epoch        16  order and salt, u64 LE each
//!  24  epoch's salt     8  u64 LE                32  chunk id              16  ChunkId::to_bytes; zeros in a removal
//!  32  capacity         8  u64 LE                48  offset in tree         8  u64 LE
//!  40  zeros           20                        56  length of the data     8  u64 LE, at most 1 MiB
//!  60  checksum         4  CRC32C of 0 to 59     64  cv                    32  BLAKE3 chaining value of the data
//!                                                96  checksum of checksums  4  CRC32C over their bytes, u32 LE
//!                                               100  zeros                 28
//!                                               128  checksums             64  u32 LE per 64 KiB block of data
//!                                               192  zeros                 60
//!                                               252  header checksum        4  CRC32C of 0 to 251
//! ```
//! The data of a removal is a list of chunk ids. A volume header fits a sector, so it is torn by nothing. An epoch's order counts
//! the uses of volumes on this disk; its salt is random, so that no user's bytes can pass for a record.

use flotilla_api::ChunkId;
use serde::{Deserialize, Serialize};

use crate::{
    error::Flaw,
    format,
    sums::{self, BLOCK_BYTES},
};

/// The largest chunk that becomes a record; a longer one is a file of its own, whose fixed cost is then small beside its bytes.
pub const RECORD_BYTES_MAX: u64 = 1 << 20;

/// Records start on pages, so that they can be read past the page cache and punched out.
pub(crate) const PAGE_BYTES: u64 = format::PAGE_BYTES;

/// Length of a record's header.
pub(crate) const HEADER_BYTES: usize = 256;

/// Length of what stands in front of the first record.
pub(crate) const VOLUME_HEADER_BYTES: u64 = PAGE_BYTES;

const VOLUME_MAGIC: [u8; 8] = *b"FLOTVOLM";
const RECORD_MAGIC: [u8; 8] = *b"FLOTRECD";
const VERSION: u32 = 1;
const SUMS_AT: usize = 128;
const BLOCKS_MAX: usize = 16;

/// One use of a volume, from its first record to the last before it is recycled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Epoch {
    /// Grows with every use of any volume of the disk.
    pub(crate) order: u64,
    /// Random.
    pub(crate) salt: u64,
}

/// What a volume says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VolumeHeader {
    pub(crate) number: u32,
    pub(crate) epoch: Epoch,
    pub(crate) capacity: u64,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The data is a chunk.
    Chunk { id: ChunkId, tree_offset: u64, cv: [u8; 32] },
    /// The data is a list of chunks that are removed.
    Removal,
}

/// What a record says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) epoch: Epoch,
    pub(crate) kind: Kind,
    /// Length of the data.
    pub(crate) length: u64,
    /// CRC32C of each block of data.
    pub(crate) sums: Vec<u32>,
}

/// Gives how much of a volume a record takes whose data has this length.
pub(crate) fn record_bytes(length: u64) -> u64 {
    (HEADER_BYTES as u64 + length).next_multiple_of(PAGE_BYTES)
}

pub(crate) fn encode_volume_header(header: &VolumeHeader) -> [u8; 64] {
    let mut out = [0; 64];
    out[..8].copy_from_slice(&VOLUME_MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&header.number.to_le_bytes());
    out[16..24].copy_from_slice(&header.epoch.order.to_le_bytes());
    out[24..32].copy_from_slice(&header.epoch.salt.to_le_bytes());
    out[32..40].copy_from_slice(&header.capacity.to_le_bytes());
    let checksum = sums::of_block(&out[..60]);
    out[60..].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads a volume's header; None if there is no whole one.
pub(crate) fn decode_volume_header(bytes: &[u8]) -> Option<VolumeHeader> {
    let bytes: &[u8; 64] = bytes.first_chunk()?;
    let whole = bytes[..8] == VOLUME_MAGIC && sums::of_block(&bytes[..60]) == u32_at(bytes, 60);
    (whole && u32_at(bytes, 8) == VERSION).then(|| VolumeHeader {
        number: u32_at(bytes, 12),
        epoch: Epoch { order: u64_at(bytes, 16), salt: u64_at(bytes, 24) },
        capacity: u64_at(bytes, 32),
    })
}

pub(crate) fn encode(header: &Header) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&RECORD_MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&header.epoch.order.to_le_bytes());
    out[24..32].copy_from_slice(&header.epoch.salt.to_le_bytes());
    match &header.kind {
        Kind::Chunk { id, tree_offset, cv } => {
            out[12] = 1;
            out[32..48].copy_from_slice(&id.to_bytes());
            out[48..56].copy_from_slice(&tree_offset.to_le_bytes());
            out[64..96].copy_from_slice(cv);
        }
        Kind::Removal => out[12] = 2,
    }
    out[56..64].copy_from_slice(&header.length.to_le_bytes());
    for (at, sum) in out[SUMS_AT..].chunks_exact_mut(4).zip(&header.sums) {
        at.copy_from_slice(&sum.to_le_bytes());
    }
    let of_sums = sums::of_block(&out[SUMS_AT..SUMS_AT + 4 * header.sums.len()]);
    out[96..100].copy_from_slice(&of_sums.to_le_bytes());
    let checksum = sums::of_block(&out[..252]);
    out[252..].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads a record's header and checks that it is whole and of this use of its volume.
pub(crate) fn decode(bytes: &[u8], epoch: Epoch) -> Result<Header, Flaw> {
    let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Flaw::Length)?;
    if bytes[..8] != RECORD_MAGIC || sums::of_block(&bytes[..252]) != u32_at(bytes, 252) {
        return Err(Flaw::Header);
    }
    if u32_at(bytes, 8) != VERSION {
        return Err(Flaw::Version(u32_at(bytes, 8)));
    }
    let length = u64_at(bytes, 56);
    let kind = match u32_at(bytes, 12) {
        1 => Kind::Chunk {
            id: ChunkId::from_bytes(field(bytes, 32)),
            tree_offset: u64_at(bytes, 48),
            cv: field(bytes, 64),
        },
        2 => Kind::Removal,
        _ => return Err(Flaw::Header),
    };
    let fits = (1..=RECORD_BYTES_MAX).contains(&length);
    if !fits || epoch != (Epoch { order: u64_at(bytes, 16), salt: u64_at(bytes, 24) }) {
        return Err(Flaw::Header);
    }
    let blocks = usize::try_from(length.div_ceil(BLOCK_BYTES as u64)).expect("at most 16").min(BLOCKS_MAX);
    let list = &bytes[SUMS_AT..SUMS_AT + 4 * blocks];
    if sums::of_block(list) != u32_at(bytes, 96) {
        return Err(Flaw::Sums);
    }
    let sums = list.chunks_exact(4).map(|sum| u32_at(sum, 0)).collect();
    Ok(Header { epoch, kind, length, sums })
}

/// Reads the header of chunk `id`.
pub(crate) fn decode_chunk(bytes: &[u8], epoch: Epoch, id: ChunkId) -> Result<Header, Flaw> {
    let header = decode(bytes, epoch)?;
    match header.kind {
        Kind::Chunk { id: found, .. } if found == id => Ok(header),
        Kind::Chunk { id: found, .. } => Err(Flaw::OtherChunk(found)),
        Kind::Removal => Err(Flaw::Header),
    }
}

/// Checks whole blocks of data, the first of which is number `first`.
pub(crate) fn check(header: &Header, first: u64, data: &[u8]) -> Result<(), Flaw> {
    for (block, bytes) in (first..).zip(data.chunks(BLOCK_BYTES)) {
        let expected = usize::try_from(block).ok().and_then(|block| header.sums.get(block));
        if expected != Some(&sums::of_block(bytes)) {
            return Err(Flaw::Block(block));
        }
    }
    Ok(())
}

/// Gives the data of a removal.
pub(crate) fn encode_removal(ids: impl Iterator<Item = ChunkId>) -> Vec<u8> {
    ids.flat_map(ChunkId::to_bytes).collect()
}

/// Reads the data of a removal.
pub(crate) fn decode_removal(data: &[u8]) -> impl Iterator<Item = ChunkId> + '_ {
    data.as_chunks::<{ ChunkId::LEN }>().0.iter().map(|id| ChunkId::from_bytes(*id))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the field lies in the header")
}

#[cfg(test)]
mod tests;
