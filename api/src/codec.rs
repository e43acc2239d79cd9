//! The one encoding of stored and internal values: postcard behind a leading version byte.

use serde::{Serialize, de::DeserializeOwned};

/// The version byte that stands first in every encoded value.
pub const VERSION: u8 = 1;

/// Why bytes could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The value was empty.
    #[error("value is empty")]
    Empty,
    /// The version byte is not one that this build reads.
    #[error("value has format version {0}, this build reads version {VERSION}")]
    Version(u8),
    /// The bytes behind the version byte do not decode.
    #[error("value does not decode")]
    Decode(#[source] postcard::Error),
}

/// Encodes a value.
///
/// # Shape
/// `[version u8 = 1][postcard]`
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("our wire types hold nothing that postcard refuses")
}

/// Decodes a value that [`encode`] made.
///
/// # Errors
/// Any [`Error`] means that the bytes are corrupt or from another version; trying again does not help.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(Error::Decode),
        Some((&other, _)) => Err(Error::Version(other)),
    }
}
