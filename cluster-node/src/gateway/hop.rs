//! The way of a chunk to the next node of its chain: streamed as it comes, or gathered and sent at once if it is small.
//!
//! Must not know of copies on this node.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flotilla_api::{
    NodeId, codec, header,
    peer::{ChunkAck, FailedCopy},
    route,
};
use flotilla_client::{
    Lane, PeerClient,
    alive::{Watch, until_silent},
    body::{self, Body},
};
use futures::{SinkExt, channel::mpsc};
use http::{HeaderMap, HeaderValue, Method};
use tokio::{task::JoinHandle, time::timeout};

use super::replicate::{ChunkHead, Hop, Trailer, failed};

/// A hop that takes no frame and gives no sign of life for a second in all is a failed replica.
const HOP_WATCH: Watch = Watch { every: Duration::from_millis(400), answer: Duration::from_millis(600) };
/// A hop, or the disk here, that lives but takes no frame for this long is one too. Under load every disk rests for a second now
/// and then; to send the chunk to another one at once would only add to the load.
pub(super) const HOP_SLOW: Duration = Duration::from_secs(5);
/// How long a node may take from the last frame to its ack, which is one sync of at most a chunk.
pub(super) const ACK_DEADLINE: Duration = Duration::from_secs(5);
/// Frames between the body and a hop: enough to keep the socket busy, few enough to bound the memory.
const HOP_FRAMES: usize = 8;
/// The largest frame of a chunk: bigger ones are split, so that [`HOP_FRAMES`] bounds bytes.
pub(super) const FRAME_MAX: usize = 256 << 10;
/// A chunk of at most this length goes as one message behind its last byte: what cut-through would save is less than what
/// three messages cost in place of one.
const GATHERED_MAX: u64 = 64 << 10;
/// Such a chunk and its trailer.
const GATHERED_ROOM: usize = GATHERED_MAX as usize + Trailer::LEN;
/// The most bytes of an ack's encoding.
const ACK_MAX: usize = 64 << 10;

/// A chunk on its way to the first node of a chain.
pub(super) struct Remote {
    first: NodeId,
    hops: u32,
    target: String,
    peers: PeerClient,
    way: Way,
}

enum Way {
    Streamed {
        frames: mpsc::Sender<Result<Bytes, std::io::Error>>,
        ack: Ack,
    },
    /// At most [`GATHERED_MAX`] bytes.
    Gathered {
        headers: HeaderMap,
        bytes: BytesMut,
    },
}

/// The request of a streamed chunk.
///
/// Dropped, it cuts the connection of a chunk that was given up: a clean end would look like a short chunk.
struct Ack(JoinHandle<Result<ChunkAck, String>>);

impl Drop for Ack {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Remote {
    pub(super) fn begin(head: ChunkHead, peers: PeerClient, first: &Hop, rest: &[Hop]) -> Self {
        let (target, headers) = (first.1.clone(), chunk_headers(head, rest));
        let way = if head.reserve <= GATHERED_MAX {
            let room = usize::try_from(head.reserve).expect("kilobytes") + Trailer::LEN;
            Way::Gathered { headers, bytes: BytesMut::with_capacity(room) }
        } else {
            let (frames, body) = mpsc::channel(HOP_FRAMES);
            let (peers, target) = (peers.clone(), target.clone());
            let ack = async move { send_chunk(&peers, &target, headers, body::stream(body)).await };
            Way::Streamed { frames, ack: Ack(tokio::spawn(ack)) }
        };
        let hops = 1 + u32::try_from(rest.len()).unwrap_or(u32::MAX - 1);
        Self { first: first.0, hops, target, peers, way }
    }

    /// Hands a frame over. A slow client is no fault of the hop: time counts only while a frame waits for it.
    ///
    /// # Errors
    /// Who failed, as far as is known: the first hop, or what it said itself.
    pub(super) async fn send(&mut self, frame: Bytes) -> Result<(), Vec<FailedCopy>> {
        let (frames, ack) = match &mut self.way {
            Way::Gathered { bytes, .. } => {
                if bytes.len() + frame.len() > GATHERED_ROOM {
                    return Err(vec![failed(self.first, false, "more bytes than were announced".to_owned())]);
                }
                bytes.extend_from_slice(&frame);
                return Ok(());
            }
            Way::Streamed { frames, ack } => (frames, &mut ack.0),
        };
        let why = tokio::select! {
            biased;
            sent = frames.send(Ok(frame)) => match sent {
                Ok(()) => return Ok(()),
                Err(_) if ack.is_finished() => match ack.await {
                    Ok(Ok(ack)) if !ack.failed.is_empty() => return Err(ack.failed),
                    Ok(Ok(_)) => "answered before the end of the chunk".to_owned(),
                    Ok(Err(why)) => why,
                    Err(error) => error.to_string(),
                },
                Err(_) => "connection closed".to_owned(),
            },
            () = until_silent(&self.peers, &self.target, HOP_WATCH) => silent(),
            () = tokio::time::sleep(HOP_SLOW) => format!("took nothing for {HOP_SLOW:?}"),
        };
        Err(vec![failed(self.first, false, why)])
    }

    /// Ends the chunk and gives what the chain says of its copies.
    ///
    /// # Errors
    /// As [`Remote::send`].
    pub(super) async fn finish(mut self, trailer: Trailer) -> Result<ChunkAck, Vec<FailedCopy>> {
        self.send(trailer.to_bytes()).await?;
        let Self { first, hops, target, peers, way } = self;
        let answer = async {
            match way {
                Way::Gathered { headers, bytes } => {
                    send_chunk(&peers, &target, headers, body::full(bytes.freeze())).await
                }
                Way::Streamed { mut frames, mut ack } => {
                    frames.close_channel();
                    (&mut ack.0).await.unwrap_or_else(|error| Err(error.to_string()))
                }
            }
        };
        // One more share of time for every node behind, so that each hop hears from the next one before it is given up itself.
        let deadline = ACK_DEADLINE * hops;
        let why = tokio::select! {
            biased;
            result = timeout(deadline, answer) => match result {
                Ok(Ok(ack)) => return Ok(ack),
                Ok(Err(why)) => why,
                Err(_) => format!("no ack within {deadline:?}"),
            },
            () = until_silent(&peers, &target, HOP_WATCH) => silent(),
        };
        Err(vec![failed(first, false, why)])
    }
}

fn silent() -> String {
    format!("no sign of life for {:?}", HOP_WATCH.every + HOP_WATCH.answer)
}

async fn send_chunk(peers: &PeerClient, target: &str, headers: HeaderMap, body: Body) -> Result<ChunkAck, String> {
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
