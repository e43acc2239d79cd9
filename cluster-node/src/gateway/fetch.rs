//! One piece of a chunk from wherever a good copy is: this node's disk, the cache, or another node.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flotilla_api::{ChunkId, Code, NodeId, route};
use flotilla_chunk_store::{ChunkStore, Depth, Kind, Sums};
use flotilla_client::{Lane, PeerClient, body, peer};
use flotilla_env::{Clock, Entropy};
use http::Method;
use http_body_util::BodyExt;
use tokio::sync::Notify;

use super::{
    ask,
    cache::PieceCache,
    race::{HEDGE_AFTER, race},
    speeds::Speeds,
};
use crate::{
    metadata::{Metadata, read::ReadChunk},
    repair::pace::{Pace, Wait},
};

/// What is fetched and cached at once; a multiple of the 64 KiB that one checksum covers.
pub const PIECE: u64 = 1 << 20;
/// How long all copies together may take for one piece, counted anew when the list of copies was fetched again.
const PIECE_DEADLINE: Duration = Duration::from_secs(5);
/// How often the copies of a list are asked: as the manifest named them, and once more as they are now.
const LISTS_MAX: usize = 2;

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

/// Who knows where copies are now.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// Gives a node's peer address, if it is a member.
    fn address(&self, node: NodeId) -> Option<String>;
    /// Gives the nodes that have a copy now, linearizably; none for a chunk that is gone.
    async fn replicas(&self, chunk: ChunkId) -> Result<Vec<NodeId>, String>;
}

#[async_trait]
impl Replicas for Metadata {
    fn address(&self, node: NodeId) -> Option<String> {
        self.group().member(node).map(|member| member.peer)
    }

    async fn replicas(&self, chunk: ChunkId) -> Result<Vec<NodeId>, String> {
        self.barrier().await.map_err(|error| error.to_string())?;
        self.replicas_of(chunk).map_err(|error| error.to_string())
    }
}

/// What fetching needs.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// Its chunks.
    pub store: ChunkStore,
    /// The way to other nodes.
    pub peers: PeerClient,
    /// Where copies are.
    pub replicas: Arc<dyn Replicas>,
    /// The most that is cached of other nodes' copies, in bytes.
    pub cache_bytes: u64,
    /// Times nodes.
    pub clock: Arc<dyn Clock>,
    /// Spreads first questions over nodes.
    pub entropy: Arc<dyn Entropy>,
    /// Hears how long clients wait for this node's disk.
    pub pace: Pace,
}

/// Fetches pieces. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    parts: Arc<Parts>,
    cache: PieceCache<Error>,
    speeds: Speeds,
}

impl Fetcher {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let (cache, speeds) = (PieceCache::new(parts.cache_bytes), Speeds::new(Arc::clone(&parts.clock)));
        Self { parts: Arc::new(parts), cache, speeds }
    }

    /// Gives `range` of a chunk, proven to `depth`; the range lies within one piece.
    ///
    /// # Errors
    /// [`Error`]; wrong bytes are never given.
    pub async fn piece(&self, chunk: Arc<ReadChunk>, range: Range<u64>, depth: Depth) -> Result<Bytes, Arc<Error>> {
        let own = self.parts.node;
        let mut said = Vec::new();
        if chunk.replicas.contains(&own) && !self.speeds.is_slow(own) {
            match tokio::time::timeout(HEDGE_AFTER, self.read_own(&chunk, range.clone(), depth)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(error)) => said.push((own, error)),
                Err(_) => self.speeds.stalled(own), // asked again below, after the others
            }
        }
        let number = range.start / PIECE;
        let start = number * PIECE;
        let whole = start..chunk.length.min(start + PIECE);
        let number = u32::try_from(number).expect("a chunk of at most 64 MiB has few pieces");
        let proven = (depth == Depth::Blocks).then(|| self.cache.kept((chunk.id, number, Depth::Whole))).flatten();
        let bytes = match proven {
            Some(bytes) => bytes,
            None => {
                let (this, id) = (self.clone(), (chunk.id, number, depth));
                let fetch = || async move { this.ask_copies(&chunk, whole, depth, said).await };
                self.cache.get(id, fetch).await?
            }
        };
        Ok(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
    }

    /// Asks the copies of a chunk; once more those of its list as it is now, if a copy has left its node.
    async fn ask_copies(
        &self,
        chunk: &ReadChunk,
        range: Range<u64>,
        depth: Depth,
        mut said: Vec<(NodeId, Said)>,
    ) -> Result<Bytes, Error> {
        let mut nodes = chunk.replicas.clone();
        for _ in 0..LISTS_MAX {
            nodes.retain(|node| said.iter().all(|(asked, _)| asked != node));
            let first = (self.parts.entropy.u64() % nodes.len().max(1) as u64) as usize;
            nodes.rotate_left(first);
            self.speeds.order(&mut nodes);
            let ask = |node, progress| self.ask(node, chunk, range.clone(), depth, progress);
            match race(nodes, PIECE_DEADLINE, ask, |node| self.speeds.stalled(node)).await {
                Ok(bytes) => return Ok(bytes),
                Err(failed) => {
                    said.extend(failed.said);
                    said.extend(failed.silent.into_iter().map(|node| (node, Said::nothing("no answer in time"))));
                }
            }
            if !said.iter().any(|(_, said)| matches!(said, Said::Missing)) {
                break;
            }
            match self.parts.replicas.replicas(chunk.id).await {
                // A version that was replaced long ago: nothing is damaged, and the file can be asked for again.
                Ok(now) if now.is_empty() => {
                    said.push((self.parts.node, Said::nothing("no version has the chunk any more")));
                    break;
                }
                Ok(now) => nodes = now,
                Err(why) => {
                    said.push((self.parts.node, Said::Nothing(why)));
                    break;
                }
            }
        }
        Err(summary(chunk.id, &said))
    }

    async fn ask(
        &self,
        node: NodeId,
        chunk: &ReadChunk,
        range: Range<u64>,
        depth: Depth,
        progress: Arc<Notify>,
    ) -> Result<Bytes, Said> {
        let asked = self.speeds.ask(node);
        let answer = if node == self.parts.node {
            self.read_own(chunk, range, depth).await
        } else {
            self.ask_node(node, chunk, range, depth, &progress).await
        };
        match &answer {
            Ok(_) => asked.gave(),
            Err(said) => tracing::warn!(chunk = %chunk.id, %node, %said, "copy is passed by"),
        }
        answer
    }

    async fn read_own(&self, chunk: &ReadChunk, range: Range<u64>, depth: Depth) -> Result<Bytes, Said> {
        let (facts, begun) = (chunk.facts(), self.parts.clock.now());
        let read = self.parts.store.read_as(chunk.id, &facts, range, depth).await;
        self.parts.pace.client_waited(Wait::Read, self.parts.clock.now().duration_since(begun));
        read.map_err(|error| match error.kind() {
            Kind::NotFound => Said::Missing,
            Kind::Corrupt => Said::Bad(error.to_string()),
            Kind::Conflict | Kind::Invalid | Kind::Full | Kind::Unavailable | Kind::Internal => {
                Said::Nothing(error.to_string())
            }
        })
    }

    async fn ask_node(
        &self,
        node: NodeId,
        chunk: &ReadChunk,
        range: Range<u64>,
        depth: Depth,
        progress: &Notify,
    ) -> Result<Bytes, Said> {
        let target = self.parts.replicas.address(node).ok_or_else(|| Said::nothing("it is not a member"))?;
        let headers = ask::headers(chunk.id, Some((&chunk.facts(), depth)), &range);
        let (get, route, deadline) = (Method::GET, route::PEER_CHUNK, Some(PIECE_DEADLINE));
        let answer = self.parts.peers.stream(Lane::Data, get, &target, route, headers, body::empty(), deadline).await;
        let (head, mut body) = answer.map_err(|error| Said::of(&error))?.into_parts();
        let length = usize::try_from(range.end - range.start).expect("a piece is small");
        let mut bytes = BytesMut::with_capacity(length);
        let mut sums = Sums::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Said::Nothing(error.to_string()))?;
            progress.notify_one();
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > length {
                return Err(Said::nothing("it sent more than it was asked for"));
            }
            sums.update(&data);
            bytes.extend_from_slice(&data);
        }
        match bytes.len() == length && ask::told_crc(&head.headers) == Some(sums.finish().1) {
            true => Ok(bytes.freeze()),
            false => Err(Said::nothing("the bytes changed on their way")),
        }
    }
}

/// What the holder of a copy said instead of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Said {
    /// That it has no such chunk.
    #[error("it has no copy")]
    Missing,
    /// That its copy is damaged.
    #[error("{0}")]
    Bad(String),
    /// Nothing that can be relied on.
    #[error("{0}")]
    Nothing(String),
}

impl Said {
    fn nothing(why: &str) -> Self {
        Self::Nothing(why.to_owned())
    }

    fn of(error: &peer::Error) -> Self {
        match error.code() {
            Some(Code::ChunkGone) => Self::Missing,
            Some(Code::DataCorrupt) => Self::Bad(error.to_string()),
            Some(_) | None => Self::Nothing(error.to_string()),
        }
    }
}

fn summary(chunk: ChunkId, said: &[(NodeId, Said)]) -> Error {
    let why: Vec<String> = said.iter().map(|(node, said)| format!("{node}: {said}")).collect();
    let why = why.join("; ");
    // Only what every holder said of itself proves that nothing is left.
    match said.iter().any(|(_, said)| matches!(said, Said::Nothing(_))) {
        true => Error::Unavailable { chunk, why },
        false => Error::Corrupt { chunk, why },
    }
}

#[cfg(test)]
mod tests;
