//! Asks another node for a range of its copy of a chunk, and tells whether exactly those bytes came.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use flotilla_api::{ChunkId, header, route};
use flotilla_chunk_store::{Depth, Facts, Sums};
use flotilla_client::{Lane, PeerClient, peer};
use http::{HeaderMap, HeaderValue, Method, header::RANGE};

use super::claim;

/// Why a node gave no part of its copy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not answer, or said why not.
    #[error(transparent)]
    Peer(#[from] peer::Error),
    /// What came is not what was asked for.
    #[error("the bytes changed on their way")]
    Changed,
}

/// A part of a copy.
#[derive(Debug)]
pub struct Part {
    /// Its bytes.
    pub bytes: Bytes,
    /// Where the copy says that the chunk begins in its tree, in bytes.
    pub tree_offset: Option<u64>,
}

/// Makes the head of a question for a range of a copy.
///
/// Without a claim the holder answers for its blocks alone, and the reader has to find out whether it is the chunk.
pub fn headers(id: ChunkId, claim: Option<(&Facts, Depth)>, range: &Range<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = |text: String| HeaderValue::try_from(text).expect("ids and numbers are visible ASCII");
    headers.insert(header::CHUNK, value(id.to_string()));
    if let Some((facts, depth)) = claim {
        headers.insert(header::CHUNK_FACTS, value(claim::to_header(facts, depth)));
    }
    headers.insert(RANGE, value(format!("bytes={}-{}", range.start, range.end - 1)));
    headers
}

/// Reads the checksum that an answer names.
pub fn told_crc(headers: &HeaderMap) -> Option<u32> {
    number(headers, header::CHUNK_CRC)
}

/// Asks for a part that is small enough to be answered whole.
///
/// # Errors
/// [`Error`]; another holder may give it.
pub async fn part(
    peers: &PeerClient,
    target: &str,
    id: ChunkId,
    claim: Option<(&Facts, Depth)>,
    range: Range<u64>,
    deadline: Duration,
) -> Result<Part, Error> {
    let headers = headers(id, claim, &range);
    let call = peers.call(Lane::Data, Method::GET, target, route::PEER_CHUNK, headers, Bytes::new(), deadline);
    let (headers, bytes) = call.await?;
    let mut sums = Sums::default();
    sums.update(&bytes);
    let (length, crc) = sums.finish();
    match length == range.end - range.start && told_crc(&headers) == Some(crc) {
        true => Ok(Part { bytes, tree_offset: number(&headers, header::CHUNK_OFFSET) }),
        false => Err(Error::Changed),
    }
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
