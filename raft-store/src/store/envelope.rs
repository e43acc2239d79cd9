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
    let bytes = codec::encode(&(Head { version, id }, command));
    // Thousands of them are kept in memory; what their making left unused behind them would be kept as well.
    Bytes::from(bytes.into_boxed_slice())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_command_keeps_no_more_memory_than_its_bytes() {
        let id = CommandId::from_header("put-1;seen=3").expect("an id");
        let sealed = seal(2, id.clone(), &(vec![7_u8; 2000], "key"));
        let bytes = sealed.to_vec();
        let kept = sealed.try_into_mut().expect("nobody else has it");
        assert_eq!(kept.capacity(), bytes.len());
        let (head, command) = split(&bytes).expect("whole");
        assert_eq!(head, Head { version: 2, id });
        assert_eq!(open::<(Vec<u8>, String)>(command).expect("whole"), (vec![7_u8; 2000], "key".to_owned()));
    }
}
