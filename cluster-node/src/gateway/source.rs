//! Where the bytes of a chunk come from when it needs one more copy: the copy here, memory, or another node's copy.

use std::time::Duration;

use bytes::Bytes;
use flotilla_api::NodeId;
use flotilla_chunk_store::{Depth, Facts};

use super::{
    ask,
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
                let (range, claim) = (at..length.min(at + PIECE), Some((&facts, Depth::Blocks)));
                let part = ask::part(&parts.peers, target, chunk.id, claim, range, PART_DEADLINE).await;
                part.map(|part| part.bytes).map_err(|error| error.to_string())
            }
        }
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
