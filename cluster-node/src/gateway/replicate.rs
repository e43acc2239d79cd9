//! One chunk on its way to its replicas: the local writer and the rest of the chain, fed frame by frame (cut-through).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flotilla_api::{
    ChunkId, NodeId, codec, header,
    peer::{ChunkAck, StoredCopy},
    route,
};
use flotilla_chunk_store::{ChunkStore, Writer};
use flotilla_client::{Lane, PeerClient, body};
use futures::{SinkExt, channel::mpsc};
use http::{HeaderMap, HeaderValue, Method};
use tokio::{task::JoinHandle, time::timeout};

/// A hop that takes no frame for this long is a failed replica.
const HOP_STALL: Duration = Duration::from_secs(1);
/// How long a hop may take from the last frame to its ack: its syncs, and those of the hops behind it.
const ACK_DEADLINE: Duration = Duration::from_secs(10);
/// Frames between the body and a hop: enough to keep the socket busy, few enough to bound the memory.
const HOP_FRAMES: usize = 8;
/// The largest frame of a chunk: bigger ones are split, so that [`HOP_FRAMES`] bounds bytes.
pub const FRAME_MAX: usize = 256 << 10;
/// The most bytes of an ack's encoding.
const ACK_MAX: usize = 64 << 10;

/// What ends a chunk's stream between nodes, behind the data.
///
/// # Shape
/// `[cv 32][crc u32 LE]`: the chunk's chaining value, and the CRC32C of its block sums as the sender counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The chaining value.
    pub cv: [u8; 32],
    /// The CRC32C of the block sums.
    pub crc: u32,
}

impl Trailer {
    /// Length in bytes.
    pub const LEN: usize = 36;

    /// Encodes the trailer.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::LEN);
        out.extend_from_slice(&self.cv);
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.freeze()
    }

    /// Decodes a trailer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (cv, crc) = bytes.split_at_checked(32)?;
        Some(Self { cv: cv.try_into().ok()?, crc: u32::from_le_bytes(crc.try_into().ok()?) })
    }
}

/// What a chunk is before its bytes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHead {
    /// The chunk.
    pub id: ChunkId,
    /// Its offset in its tree, in bytes.
    pub tree_offset: u64,
    /// The most bytes that it can have.
    pub reserve: u64,
}

/// One hop of a replication chain: a node and its peer address.
pub type Hop = (NodeId, String);

/// A chunk being written to this node, to the hops behind it, or both.
pub struct Fan {
    head: ChunkHead,
    local: Option<Writer>,
    remote: Option<Remote>,
    failed: Vec<(NodeId, String)>,
}

struct Remote {
    hops: Vec<NodeId>,
    frames: mpsc::Sender<Result<Bytes, std::io::Error>>,
    ack: JoinHandle<Result<ChunkAck, String>>,
}

impl Fan {
    /// Begins a chunk on this node (if `store` is given) and on the chain `hops` (if not empty).
    ///
    /// A target that can't begin is noted as failed; the chunk goes on with the others.
    pub async fn begin(
        head: ChunkHead,
        node: NodeId,
        store: Option<&ChunkStore>,
        peers: &PeerClient,
        hops: &[Hop],
    ) -> (Self, Option<flotilla_chunk_store::Error>) {
        let mut fan = Self { head, local: None, remote: None, failed: Vec::new() };
        let mut refused = None;
        if let Some(store) = store {
            match store.put(head.id, head.tree_offset, head.reserve).await {
                Ok(writer) => fan.local = Some(writer),
                Err(error) => {
                    fan.failed.push((node, error.to_string()));
                    refused = Some(error);
                }
            }
        }
        if let Some((first, rest)) = hops.split_first() {
            fan.remote = Some(Remote::begin(head, peers.clone(), first, rest));
        }
        (fan, refused)
    }

    /// Takes the next bytes of the chunk.
    pub async fn write(&mut self, node: NodeId, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let frame = bytes.split_to(bytes.len().min(FRAME_MAX));
            if let Some(remote) = &mut self.remote
                && let Err(why) = remote.send(frame.clone()).await
            {
                self.drop_remote(&why);
            }
            if let Some(writer) = &mut self.local
                && let Err(error) = writer.write(frame).await
            {
                self.local = None;
                self.failed.push((node, error.to_string()));
            }
        }
    }

    /// Ends the chunk and waits for every copy to be synced.
    ///
    /// # Durability
    /// Every copy in the answer is synced on its node and has the length and checksum of `trailer`.
    pub async fn finish(mut self, node: NodeId, length: u64, trailer: Trailer) -> ChunkAck {
        let mut ack = ChunkAck::default();
        let local = async {
            match self.local.take() {
                Some(writer) => Some(writer.finish(trailer.cv).await),
                None => None,
            }
        };
        let remote = async {
            match self.remote.take() {
                Some(remote) => Some(remote.finish(trailer).await),
                None => None,
            }
        };
        let (local, remote) = tokio::join!(local, remote);
        ack.failed = self.failed;
        match local {
            Some(Ok(stored)) => ack.copies.push(StoredCopy { node, length: stored.length, crc: stored.crc }),
            Some(Err(error)) => ack.failed.push((node, error.to_string())),
            None => {}
        }
        if let Some((hops, result)) = remote {
            match result {
                Ok(behind) => {
                    ack.copies.extend(behind.copies);
                    ack.failed.extend(behind.failed);
                }
                Err(why) => ack.failed.extend(hops.into_iter().map(|id| (id, why.clone()))),
            }
        }
        // A copy that differs from what was sent is no copy.
        let (good, bad): (Vec<_>, Vec<_>) =
            ack.copies.drain(..).partition(|copy| copy.length == length && copy.crc == trailer.crc);
        ack.copies = good;
        ack.failed.extend(bad.into_iter().map(|copy| (copy.node, "stored other bytes than were sent".to_owned())));
        for (id, why) in &ack.failed {
            tracing::warn!(chunk = %self.head.id, node = %id, %why, "replica failed");
        }
        ack
    }

    /// Whether no target is left.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.local.is_none() && self.remote.is_none()
    }

    fn drop_remote(&mut self, why: &str) {
        if let Some(remote) = self.remote.take() {
            self.failed.extend(remote.hops.iter().map(|id| (*id, why.to_owned())));
        }
    }
}

impl Remote {
    fn begin(head: ChunkHead, peers: PeerClient, first: &Hop, rest: &[Hop]) -> Self {
        let (frames, body) = mpsc::channel(HOP_FRAMES);
        let hops = std::iter::once(first).chain(rest).map(|(id, _)| *id).collect();
        let (target, headers) = (first.1.clone(), chunk_headers(head, rest));
        let ack = tokio::spawn(async move { send_chunk(&peers, &target, headers, body).await });
        Self { hops, frames, ack }
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), String> {
        match timeout(HOP_STALL, self.frames.send(Ok(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) if self.ack.is_finished() => match (&mut self.ack).await {
                Ok(Err(why)) => Err(why),
                Ok(Ok(_)) => Err("answered before the end of the chunk".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Ok(Err(_)) => Err("connection closed".to_owned()),
            Err(_) => Err("no progress for 1 s".to_owned()),
        }
    }

    async fn finish(mut self, trailer: Trailer) -> (Vec<NodeId>, Result<ChunkAck, String>) {
        let result = async {
            self.send(trailer.to_bytes()).await?;
            self.frames.close_channel();
            match timeout(ACK_DEADLINE, &mut self.ack).await {
                Ok(Ok(result)) => result,
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no ack within 10 s".to_owned()),
            }
        }
        .await;
        (std::mem::take(&mut self.hops), result)
    }
}

impl Drop for Remote {
    /// Cuts the connection of a chunk that was given up: a clean end would look like a short chunk.
    fn drop(&mut self) {
        self.ack.abort();
    }
}

async fn send_chunk(
    peers: &PeerClient,
    target: &str,
    headers: HeaderMap,
    body: mpsc::Receiver<Result<Bytes, std::io::Error>>,
) -> Result<ChunkAck, String> {
    let body = body::stream(body);
    let answer = peers
        .stream(Lane::Data, Method::PUT, target, route::PEER_CHUNK, headers, body, None)
        .await
        .map_err(|error| error.to_string())?;
    let body = body::collect(answer.into_body(), ACK_MAX).await.map_err(|error| error.to_string())?;
    codec::decode(&body).map_err(|error| error.to_string())
}

fn chunk_headers(head: ChunkHead, rest: &[Hop]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, text: String| {
        headers.insert(name, HeaderValue::try_from(text).expect("ids, numbers and addresses are visible ASCII"));
    };
    set(header::CHUNK, head.id.to_string());
    set(header::CHUNK_OFFSET, head.tree_offset.to_string());
    set(header::CHUNK_RESERVE, head.reserve.to_string());
    if !rest.is_empty() {
        let hops: Vec<String> = rest.iter().map(|(id, address)| format!("{id}@{address}")).collect();
        set(header::CHUNK_NEXT, hops.join(","));
    }
    headers
}
