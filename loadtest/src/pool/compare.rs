//! Comparing what arrives with what a file of the pool must be, byte by byte, without making the file.

use super::{BLOCK_BYTES, File, STAMP_BYTES};

/// How content that arrived differs from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// A byte is another one.
    #[error("byte {offset} is wrong")]
    Byte {
        /// The first wrong one, from 0.
        offset: u64,
    },
    /// There is more than the file has.
    #[error("content is longer than {length} bytes")]
    Long {
        /// The file's length, in bytes.
        length: u64,
    },
    /// The content ended early and claimed to be whole.
    #[error("content ended after {at} of {length} bytes")]
    Short {
        /// Bytes that arrived.
        at: u64,
        /// The file's length, in bytes.
        length: u64,
    },
}

/// A comparison under way.
#[derive(Debug)]
pub(crate) struct Compare {
    file: File,
    offset: u64,
    end: u64,
}

impl Compare {
    /// Begins at the file's first byte.
    pub(crate) fn new(file: File) -> Self {
        let end = file.length();
        Self { file, offset: 0, end }
    }

    /// Begins at a byte, to end before another one, both within the file.
    pub(crate) fn part(file: File, from: u64, to: u64) -> Self {
        Self { file, offset: from, end: to }
    }

    /// Compares the next bytes, cut anywhere.
    ///
    /// # Errors
    /// The first difference; the comparison is over.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        if bytes.len() as u64 > self.end - self.offset {
            return Err(Wrong::Long { length: self.end });
        }
        while !bytes.is_empty() {
            let within = (self.offset % BLOCK_BYTES as u64) as usize;
            let (source, stamp) = self.file.block(self.offset / BLOCK_BYTES as u64);
            let end = BLOCK_BYTES.min(within + bytes.len());
            let (now, rest) = bytes.split_at(end - within);
            let stamped = end.min(STAMP_BYTES).saturating_sub(within);
            same(self.offset, &now[..stamped], &stamp[within.min(STAMP_BYTES)..][..stamped])?;
            same(self.offset + stamped as u64, &now[stamped..], &source[within + stamped..end])?;
            self.offset += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Ends the comparison.
    ///
    /// # Errors
    /// [`Wrong::Short`] if bytes are missing.
    pub(crate) fn finish(self) -> Result<(), Wrong> {
        if self.offset == self.end { Ok(()) } else { Err(Wrong::Short { at: self.offset, length: self.end }) }
    }
}

fn same(offset: u64, found: &[u8], expected: &[u8]) -> Result<(), Wrong> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    Err(Wrong::Byte { offset: offset + at as u64 })
}
