//! One piece of a chunk from wherever a good copy is: this node's disk, the cache, or another node.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use flotilla_api::{ChunkId, NodeId, header, route};
use flotilla_chunk_store::{ChunkStore, Sums};
use flotilla_client::{Lane, PeerClient};
use flotilla_env::Entropy;
use http::{HeaderMap, HeaderValue, Method, header::RANGE};

use super::cache::PieceCache;
use crate::metadata::{Metadata, read::ReadChunk};

/// What is fetched and cached at once; a multiple of the 64 KiB that one checksum covers.
pub const PIECE: u64 = 1 << 20;
/// How long another node may take for one piece.
const PIECE_DEADLINE: Duration = Duration::from_secs(5);

/// Why a piece could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No replica answered; another try may find one.
    #[error("no replica of chunk {chunk} answers: {why}")]
    Unavailable {
        /// The chunk.
        chunk: ChunkId,
        /// What each replica said.
        why: String,
    },
    /// Every replica answered, and none has a good copy.
    #[error("no good copy of chunk {chunk} is left: {why}")]
    Corrupt {
        /// The chunk.
        chunk: ChunkId,
        /// What each replica said.
        why: String,
    },
}

/// What fetching needs. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    node: NodeId,
    store: ChunkStore,
    peers: PeerClient,
    metadata: Metadata,
    cache: PieceCache<Error>,
    entropy: Arc<dyn Entropy>,
}

impl Fetcher {
    /// Puts the parts together; the cache holds at most `cache_bytes`.
    #[must_use]
    pub fn new(
        node: NodeId,
        store: ChunkStore,
        peers: PeerClient,
        metadata: Metadata,
        cache_bytes: u64,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { node, store, peers, metadata, cache: PieceCache::new(cache_bytes), entropy }
    }

    /// Gives `range` of a chunk; the range lies within one piece.
    ///
    /// # Errors
    /// [`Error`]; wrong bytes are never given.
    pub async fn piece(&self, chunk: Arc<ReadChunk>, range: Range<u64>) -> Result<Bytes, Arc<Error>> {
        let mut why = String::new();
        if chunk.replicas.contains(&self.node) {
            match self.store.read(chunk.id, range.clone()).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    tracing::warn!(chunk = %chunk.id, node = %self.node, %error, "own copy is passed by");
                    why = format!("{}: {error}", self.node);
                }
            }
        }
        let number = range.start / PIECE;
        let start = number * PIECE;
        let whole = start..chunk.length.min(start + PIECE);
        let id = (chunk.id, u32::try_from(number).expect("a chunk of at most 64 MiB has few pieces"));
        let (this, wanted) = (self.clone(), whole.clone());
        let bytes = self.cache.get(id, || async move { this.ask_others(&chunk, wanted, why).await }).await?;
        let (from, to) = ((range.start - start) as usize, (range.end - start) as usize);
        Ok(bytes.slice(from..to))
    }

    async fn ask_others(&self, chunk: &ReadChunk, range: Range<u64>, mut why: String) -> Result<Bytes, Error> {
        let mut replicas: Vec<NodeId> = chunk.replicas.iter().copied().filter(|id| *id != self.node).collect();
        if replicas.len() > 1 {
            let first = (self.entropy.u64() % replicas.len() as u64) as usize;
            replicas.rotate_left(first);
        }
        let members = self.metadata.group().status().members;
        let mut silent = false;
        for id in replicas {
            let Some(member) = members.get(&id) else {
                why = format!("{why}; {id}: not a member");
                continue;
            };
            match self.ask_node(&member.peer, chunk.id, range.clone()).await {
                Ok(bytes) => return Ok(bytes),
                Err(Copy::Silent(error)) => {
                    silent = true;
                    why = format!("{why}; {id}: {error}");
                }
                Err(Copy::Bad(error)) => {
                    tracing::warn!(chunk = %chunk.id, node = %id, %error, "replica is passed by");
                    why = format!("{why}; {id}: {error}");
                }
            }
        }
        let why = why.trim_start_matches("; ").to_owned();
        Err(match silent {
            true => Error::Unavailable { chunk: chunk.id, why },
            false => Error::Corrupt { chunk: chunk.id, why },
        })
    }

    async fn ask_node(&self, target: &str, chunk: ChunkId, range: Range<u64>) -> Result<Bytes, Copy> {
        let mut headers = HeaderMap::new();
        let value = |text: String| HeaderValue::try_from(text).expect("ids and numbers are visible ASCII");
        headers.insert(header::CHUNK, value(chunk.to_string()));
        headers.insert(RANGE, value(format!("bytes={}-{}", range.start, range.end - 1)));
        let call =
            self.peers.call(Lane::Data, Method::GET, target, route::PEER_CHUNK, headers, Bytes::new(), PIECE_DEADLINE);
        let (headers, bytes) = call.await.map_err(|error| match error.problem() {
            Some(problem) if !problem.retryable => Copy::Bad(error.to_string()),
            Some(_) | None => Copy::Silent(error.to_string()),
        })?;
        let mut sums = Sums::default();
        sums.update(&bytes);
        let (length, crc) = sums.finish();
        let told = headers.get(header::CHUNK_CRC).and_then(|v| v.to_str().ok()).and_then(|text| text.parse().ok());
        match length == range.end - range.start && told == Some(crc) {
            true => Ok(bytes),
            false => Err(Copy::Silent("the bytes changed on their way".to_owned())),
        }
    }
}

/// What a replica said.
enum Copy {
    /// Nothing that can be relied on.
    Silent(String),
    /// That it has no good copy.
    Bad(String),
}
