//! Where the bytes of a chunk come from when it needs one more copy: the copy here, memory, or another node's copy.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use flotilla_api::{NodeId, header, route};
use flotilla_chunk_store::{Depth, Facts, Sums};
use flotilla_client::{Lane, PeerClient};
use http::{HeaderMap, HeaderValue, Method, header::RANGE};

use super::{
    claim,
    fetch::PIECE,
    replicate::{ChunkHead, Hop, Trailer},
    upload::Parts,
};

/// How much of a chunk is read back at once: a sum's worth, so that little is in memory and nothing is read twice.
const STEP: u64 = 256 << 10;

/// How long another node may take for one part.
const PART_DEADLINE: Duration = Duration::from_secs(5);

/// Where the bytes are.
pub(super) enum Source<'a> {
    /// In this node's own copy.
    Own(&'a Parts, ChunkHead),
    /// In memory, in pieces.
    Memory(&'a [Bytes]),
    /// In the copy of the node at this peer address.
    Peer(&'a Parts, ChunkHead, Trailer, String),
}

impl<'a> Source<'a> {
    /// Chooses the source of a chunk that `replicas` have, whose addresses are in `known`; none if there is none.
    pub(super) fn of(
        parts: &'a Parts,
        chunk: ChunkHead,
        trailer: Trailer,
        kept: Option<&'a [Bytes]>,
        replicas: &[NodeId],
        known: &[Hop],
    ) -> Option<Self> {
        if replicas.contains(&parts.node) {
            return Some(Self::Own(parts, chunk));
        }
        if let Some(kept) = kept {
            return Some(Self::Memory(kept));
        }
        let (_, peer) = known.iter().find(|(id, _)| replicas.contains(id))?;
        Some(Self::Peer(parts, chunk, trailer, peer.clone()))
    }

    /// Gives bytes from `at` on, at least one of them; `length` is the chunk's.
    pub(super) async fn read(&self, at: u64, length: u64) -> Result<Bytes, String> {
        match self {
            Self::Own(parts, chunk) => {
                let read = parts.store.read(chunk.id, at..length.min(at + STEP)).await;
                read.map_err(|error| error.to_string())
            }
            Self::Memory(pieces) => {
                let mut skip = usize::try_from(at).unwrap_or(usize::MAX);
                for piece in *pieces {
                    match skip < piece.len() {
                        true => return Ok(piece.slice(skip..)),
                        false => skip -= piece.len(),
                    }
                }
                Err(format!("nothing is kept at byte {at}"))
            }
            Self::Peer(parts, chunk, trailer, target) => {
                let facts = Facts { length, tree_offset: chunk.tree_offset, cv: trailer.cv };
                ask(&parts.peers, target, *chunk, &facts, at..length.min(at + PIECE)).await
            }
        }
    }
}

/// Asks a node for a range of its copy, and checks that exactly those bytes came.
async fn ask(
    peers: &PeerClient,
    target: &str,
    chunk: ChunkHead,
    facts: &Facts,
    range: Range<u64>,
) -> Result<Bytes, String> {
    let mut headers = HeaderMap::new();
    let value = |text: String| HeaderValue::try_from(text).expect("ids and numbers are visible ASCII");
    headers.insert(header::CHUNK, value(chunk.id.to_string()));
    headers.insert(header::CHUNK_FACTS, value(claim::to_header(facts, Depth::Blocks)));
    headers.insert(RANGE, value(format!("bytes={}-{}", range.start, range.end - 1)));
    let call = peers.call(Lane::Data, Method::GET, target, route::PEER_CHUNK, headers, Bytes::new(), PART_DEADLINE);
    let (headers, bytes) = call.await.map_err(|error| error.to_string())?;
    let mut sums = Sums::default();
    sums.update(&bytes);
    let (length, crc) = sums.finish();
    let told = headers.get(header::CHUNK_CRC).and_then(|value| value.to_str().ok()?.parse().ok());
    match length == range.end - range.start && told == Some(crc) {
        true => Ok(bytes),
        false => Err("the bytes changed on their way".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn kept_pieces_are_given_in_order_from_any_byte() {
        let pieces: Vec<Bytes> = ["ab", "c", "defg"].into_iter().map(Bytes::from).collect();
        let source = Source::Memory(&pieces);
        for (at, expect) in [(0, "ab"), (1, "b"), (2, "c"), (3, "defg"), (6, "g")] {
            assert_eq!(source.read(at, 7).await.expect("kept"), expect, "at {at}");
        }
        assert!(source.read(7, 8).await.is_err());
    }
}
