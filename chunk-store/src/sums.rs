//! Checksums of a chunk's bytes, block by block; pure, so that a gateway computes the same over what it sent.

use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

/// What one checksum covers: small enough that a range read checks little more than it needs, large enough that the
/// checksums of 8 MiB take 512 bytes.
pub const BLOCK_BYTES: usize = 64 << 10;

/// CRC32C (CRC-32/ISCSI) of every [`BLOCK_BYTES`] block of a run of bytes.
#[derive(Debug, Clone)]
pub struct Sums {
    whole: Vec<u32>,
    partial: Digest,
    partial_bytes: usize,
    length: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Self { whole: Vec::new(), partial: Digest::new(CrcAlgorithm::Crc32Iscsi), partial_bytes: 0, length: 0 }
    }
}

impl Sums {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, in pieces of any size.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.partial_bytes));
            if head.len() == BLOCK_BYTES {
                self.whole.push(crc32_iscsi(head));
            } else {
                self.partial.update(head);
                self.partial_bytes += head.len();
                if self.partial_bytes == BLOCK_BYTES {
                    self.end_block();
                }
            }
            bytes = rest;
        }
    }

    /// Gives the length and the checksum that [`crate::Stored`] carries.
    ///
    /// # Shape
    /// The checksum is the CRC32C over the blocks' checksums, `[u32 LE]` each, one after the other.
    #[must_use]
    pub fn finish(self) -> (u64, u32) {
        let length = self.length;
        (length, of_list(&self.into_list()))
    }

    /// Gives how many bytes were taken.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Gives the checksums of all blocks; the last block may be short.
    pub(crate) fn into_list(mut self) -> Vec<u32> {
        if self.partial_bytes > 0 {
            self.end_block();
        }
        self.whole
    }

    #[allow(clippy::cast_possible_truncation)] // a CRC of 32 bits in a u64
    fn end_block(&mut self) {
        self.whole.push(self.partial.finalize_reset() as u32);
        self.partial_bytes = 0;
    }
}

/// Gives the CRC32C of one block.
pub(crate) fn of_block(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// Gives the CRC32C over a list of checksums.
pub(crate) fn of_list(list: &[u32]) -> u32 {
    crc32_iscsi(&list.iter().flat_map(|sum| sum.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(of_block(b"123456789"), 0xe306_9283, "the check value of CRC-32/ISCSI");
        let mut sums = Sums::new();
        sums.update(b"12345");
        sums.update(b"6789");
        assert_eq!(sums.clone().into_list(), [0xe306_9283]);
        assert_eq!(sums.finish(), (9, of_block(&0xe306_9283_u32.to_le_bytes())));
    }

    #[test]
    fn how_bytes_are_cut_into_pieces_changes_nothing() {
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 77).map(|n| (n * n / 251) as u8).collect();
        let expected: Vec<u32> = bytes.chunks(BLOCK_BYTES).map(of_block).collect();
        for piece in [1, 63, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, bytes.len()] {
            let mut sums = Sums::new();
            bytes.chunks(piece).for_each(|part| sums.update(part));
            assert_eq!(sums.length(), bytes.len() as u64);
            assert_eq!(sums.into_list(), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn no_bytes_have_no_blocks() {
        assert_eq!(Sums::new().finish(), (0, of_list(&[])));
    }
}
