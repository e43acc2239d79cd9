//! What stands around a command in the log: its version and its id.

use bytes::Bytes;
use flotilla_api::{CommandId, codec};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// The longest encoded command with its envelope, in bytes: replication sends at least one entry per message, and a message has
/// to get through within its deadline. A manifest segment of 256 chunks has about 16 KiB.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;

/// The part of an envelope that every build must be able to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The machine's version of the command that follows.
    pub(crate) version: u8,
    /// The command's key.
    pub(crate) id: CommandId,
}

/// Encodes a command with its envelope.
///
/// # Shape
/// `[version u8 = 1][postcard of Head][postcard of the command]`
pub(crate) fn seal<T: Serialize>(version: u8, id: CommandId, command: &T) -> Bytes {
    // A tuple has no framing of its own, so this is the head and the command one behind the other.
    Bytes::from(codec::encode(&(Head { version, id }, command)))
}

/// Splits an envelope into its head and the command's bytes, which [`open`] reads.
pub(crate) fn split(bytes: &[u8]) -> Result<(Head, &[u8]), StoreError> {
    let corrupt = |why: String| StoreError::corrupt("command", why);
    match bytes.split_first() {
        Some((&codec::VERSION, rest)) => postcard::take_from_bytes(rest).map_err(|error| corrupt(error.to_string())),
        Some((other, _)) => Err(corrupt(codec::Error::Version(*other).to_string())),
        None => Err(corrupt(codec::Error::Empty.to_string())),
    }
}

/// Reads the command that follows a head.
pub(crate) fn open<T: serde::de::DeserializeOwned>(command: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(command).map_err(|error| StoreError::corrupt("command", error))
}
