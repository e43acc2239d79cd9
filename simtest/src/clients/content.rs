//! Contents of files: no two are alike, and each is found again by its hash.

use bytes::Bytes;

/// What identifies a content: its hash, as ETags have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

impl Value {
    /// Reads the value of a content.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hash(&blake3::hash(bytes))
    }

    /// Reads the value of an ETag of one tree.
    #[must_use]
    pub fn of_etag(etag: &str) -> Option<Self> {
        blake3::Hash::from_hex(etag.trim_matches('"')).ok().map(|hash| Self::of_hash(&hash))
    }

    fn of_hash(hash: &blake3::Hash) -> Self {
        Self(u64::from_be_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes")))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0 >> 32)
    }
}

/// A content.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub bytes: Bytes,
    /// What they are known by.
    pub value: Value,
}

impl Content {
    /// Makes the content of a number; numbers below 2^64 and lengths from 8 on give different ones.
    #[must_use]
    pub fn new(number: u64, length: usize) -> Self {
        let words = (0..length.div_ceil(8) as u64).flat_map(|at| (number ^ at.wrapping_mul(0x9e37_79b9)).to_le_bytes());
        let bytes: Bytes = words.take(length).collect();
        Self { value: Value::of(&bytes), bytes }
    }
}
