//! How messages are framed: every request says which node of which group it is meant for.
//!
//! An address can come to belong to another node (a folder was moved, an id was given anew); a vote or an ack from the wrong node
//! would count for the right one (openraft docs: "ensure connection to the correct node").

use bytes::Bytes;
use flotilla_api::codec;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    group: &'a str,
    to: u64,
}

/// Why a request is not handled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no request.
    #[error("message does not decode: {0}")]
    Malformed(String),
    /// The request is for another node.
    #[error("message is for node {to} of group '{group}'; check the addresses of the members")]
    Misdirected {
        /// The group it is for.
        group: String,
        /// The node it is for.
        to: u64,
    },
}

/// Encodes a request.
///
/// # Shape
/// `[version u8 = 1][postcard of group and node id][postcard of the request]`
pub(crate) fn request<T: Serialize>(group: &str, to: u64, body: &T) -> Bytes {
    Bytes::from(codec::encode(&(Envelope { group, to }, body)))
}

/// Decodes a request that is meant for node `to` of `group`.
pub(crate) fn decode_request<T: DeserializeOwned>(group: &str, to: u64, bytes: &[u8]) -> Result<T, Refusal> {
    let malformed = |why: String| Refusal::Malformed(why);
    let rest = match bytes.split_first() {
        Some((&codec::VERSION, rest)) => rest,
        Some((other, _)) => return Err(malformed(codec::Error::Version(*other).to_string())),
        None => return Err(malformed(codec::Error::Empty.to_string())),
    };
    let (envelope, body): (Envelope<'_>, _) =
        postcard::take_from_bytes(rest).map_err(|error| malformed(error.to_string()))?;
    if envelope.group != group || envelope.to != to {
        return Err(Refusal::Misdirected { group: envelope.group.chars().take(64).collect(), to: envelope.to });
    }
    postcard::from_bytes(body).map_err(|error| malformed(error.to_string()))
}

/// Encodes an answer.
pub(crate) fn answer<T: Serialize>(body: &T) -> Bytes {
    Bytes::from(codec::encode(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_for_another_node_or_group_is_refused() {
        let bytes = request("a", 3, &(7u64, "x".to_owned()));
        assert_eq!(decode_request::<(u64, String)>("a", 3, &bytes), Ok((7, "x".to_owned())));
        let misdirected = |group: &str, to| Err(Refusal::Misdirected { group: group.into(), to });
        assert_eq!(decode_request::<(u64, String)>("a", 2, &bytes), misdirected("a", 3));
        assert_eq!(decode_request::<(u64, String)>("b", 3, &bytes), misdirected("a", 3));
    }

    #[test]
    fn request_frame_is_pinned() {
        assert_eq!(&request("ab", 300, &5u64)[..], &[1, 2, b'a', b'b', 0xac, 0x02, 5]);
    }

    #[test]
    fn damaged_request_is_refused_without_a_panic() {
        let bytes = request("a", 3, &(7u64, "x".to_owned()));
        for end in 0..bytes.len() {
            assert!(matches!(decode_request::<(u64, String)>("a", 3, &bytes[..end]), Err(Refusal::Malformed(_))));
        }
        assert!(matches!(decode_request::<u64>("a", 3, &[2, 1, b'a', 3, 5]), Err(Refusal::Malformed(_))));
    }
}
