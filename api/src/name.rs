//! File names: a bucket and a key, checked once at the first hop and trusted from there on.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// What stays as it is when a key travels in a header; everything else is percent-encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Which rule a bucket or key breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key has no bytes.
    #[error("a key is at least 1 byte")]
    KeyEmpty,
    /// The key is over [`Key::LEN_MAX`].
    #[error("a key is at most {max} bytes, this one is {0}", max = Key::LEN_MAX)]
    KeyLong(usize),
    /// The key is not UTF-8 after percent-decoding.
    #[error("a key is UTF-8; percent-decode it once and check the bytes")]
    KeyNotUtf8,
    /// The key has a control character.
    #[error("a key has no control characters (U+{0:04X} found)")]
    KeyControl(u32),
    /// A segment of the key is `.` or `..`.
    #[error("no segment of a key is '.' or '..'")]
    KeyDots,
    /// The bucket's name breaks its rule.
    #[error("a bucket is 3 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit, without '..'")]
    Bucket,
    /// A header that should carry `bucket/key` has no slash.
    #[error("a file name is BUCKET/KEY")]
    NoSlash,
}

/// A bucket's name: 3 to 63 of `a-z`, `0-9`, `-` and `.`, beginning and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// Gives the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BucketName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        let good = (3..=63).contains(&bytes.len())
            && edge(bytes.first())
            && edge(bytes.last())
            && !text.contains("..")
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
        if good { Ok(Self(text)) } else { Err(Error::Bucket) }
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0
    }
}

impl FromStr for BucketName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key within a bucket: 1 to 1,024 bytes of UTF-8, no control characters, no segment `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// The longest key, in bytes.
    pub const LEN_MAX: usize = 1024;

    /// Gives the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Decodes a key from the path of a URL, once.
    ///
    /// # Errors
    /// The rule that the key breaks; the client must send another key.
    pub fn from_path(path: &str) -> Result<Self, Error> {
        let text = percent_decode_str(path).decode_utf8().map_err(|_| Error::KeyNotUtf8)?;
        text.into_owned().try_into()
    }
}

impl TryFrom<String> for Key {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::KeyEmpty);
        }
        if text.len() > Self::LEN_MAX {
            return Err(Error::KeyLong(text.len()));
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(Error::KeyControl(c.into()));
        }
        if text.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(Error::KeyDots);
        }
        Ok(Self(text))
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl FromStr for Key {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file's name: bucket and key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileName {
    /// The bucket.
    pub bucket: BucketName,
    /// The key within the bucket.
    pub key: Key,
}

impl FileName {
    /// Encodes the name for a header between our processes, where it is never part of a URL path.
    ///
    /// # Shape
    /// `bucket/key`, percent-encoded except for letters, digits and `-_.~/`.
    #[must_use]
    pub fn to_header(&self) -> String {
        format!("{}/{}", self.bucket, utf8_percent_encode(self.key.as_str(), PLAIN))
    }

    /// Reads a name back from [`FileName::to_header`].
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn from_header(text: &str) -> Result<Self, Error> {
        let (bucket, key) = text.split_once('/').ok_or(Error::NoSlash)?;
        Ok(Self { bucket: bucket.parse()?, key: Key::from_path(key)? })
    }

    /// Gives the name as a database key; names of one bucket stand together, in the order of their keys.
    ///
    /// # Shape
    /// `[bucket][0x00][key]`; neither part holds a zero byte.
    #[must_use]
    pub fn to_row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.bucket.0.len() + 1 + self.key.0.len());
        row.extend_from_slice(self.bucket.0.as_bytes());
        row.push(0);
        row.extend_from_slice(self.key.0.as_bytes());
        row
    }

    /// Reads what [`FileName::to_row`] gives.
    #[must_use]
    pub fn from_row(row: &[u8]) -> Option<Self> {
        let (bucket, key) = str::from_utf8(row).ok()?.split_once('\0')?;
        Some(Self { bucket: bucket.parse().ok()?, key: key.parse().ok()? })
    }

    /// Gives the path of the file's public address, encoded: `/v1/files/bucket/key`.
    #[must_use]
    pub fn to_path(&self) -> String {
        format!("{}/{}", crate::route::FILES, self.to_header())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}
