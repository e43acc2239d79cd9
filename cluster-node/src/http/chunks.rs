//! Chunks between nodes: a hop of a replication chain, ranges for readers, and where copies lie.

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use flotilla_api::{
    ChunkId, Code, header,
    peer::{ChunkAck, LocateAnswer},
    route,
};
use flotilla_chunk_store::{ChunkStore, Sums};
use flotilla_http_server::{ApiError, BodyFault, Coded, Late};
use futures::StreamExt;
use http::{HeaderMap, header::RANGE};

use super::{
    answer::set,
    range::{self, Wanted},
    routes::{Member, own_header},
};
use crate::{
    gateway::{
        claim,
        fetch::PIECE,
        replicate::{ChunkHead, Fan, Hop, Trailer},
    },
    repair::pace::Wait,
};

/// The most nodes behind this one in a chain.
const HOPS_MAX: usize = 8;
/// The most chunks that one question may name.
const LOCATE_MAX: usize = 1024;

/// Makes the routes of chunks.
pub(crate) fn routes(member: Late<Member>) -> Router {
    Router::new()
        .route(route::PEER_CHUNK, axum::routing::put(put).get(get))
        .route(route::PEER_LOCATE, post(locate))
        .route(route::PEER_ALIVE, post(super::cluster::alive))
        .layer(DefaultBodyLimit::disable())
        .with_state(member)
}

/// Takes a chunk: writes it here, sends it on at the same time, and answers when all copies are synced.
async fn put(State(member): State<Late<Member>>, headers: HeaderMap, body: Body) -> Result<Coded<ChunkAck>, ApiError> {
    let member = member.ready()?;
    let head = ChunkHead {
        id: own_header(&headers, header::CHUNK)?,
        tree_offset: own_header(&headers, header::CHUNK_OFFSET)?,
        reserve: own_header(&headers, header::CHUNK_RESERVE)?,
    };
    let hops = hops(&headers)?;
    flotilla_env::failpoint!("replica.before_write", |_| Err(ApiError::new(Code::Internal, "a failpoint")));
    let mut fan = Fan::begin(head, member.node, Some(&member.store), &member.peers, &hops).await;
    let mut incoming = Incoming::default();
    let mut body = body.into_data_stream();
    while !fan.is_dead()
        && let Some(frame) = body.next().await
    {
        let frame = frame.map_err(|error| BodyFault::of(&error).problem())?;
        for data in incoming.push(frame).into_iter().filter(|data| !data.is_empty()) {
            fan.write(data).await;
        }
    }
    if fan.is_dead() {
        return Ok(Coded(fan.give_up()));
    }
    // A sender that gave up must not leave a short chunk behind: the trailer is the proof that this is the end.
    let broken = || ApiError::new(Code::BodyInvalid, "the chunk's trailer does not match its bytes");
    let (trailer, length) = incoming.finish().ok_or_else(broken)?;
    let begun = member.clock.now();
    let ack = fan.finish(length, trailer).await;
    flotilla_env::failpoint!("replica.before_ack", |_| Err(ApiError::new(Code::Internal, "a failpoint")));
    member.pace.client_waited(Wait::Sync, member.clock.now().duration_since(begun));
    Ok(Coded(ack))
}

/// Gives a range of a chunk with the checksum of exactly those bytes.
async fn get(State(member): State<Late<Member>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let member = member.ready()?;
    let begun = member.clock.now();
    let answer = give(&member.store, &headers).await;
    // A reader that claims nothing makes a copy; the others read for clients.
    if headers.contains_key(header::CHUNK_FACTS) {
        member.pace.client_waited(Wait::Read, member.clock.now().duration_since(begun));
    }
    answer
}

/// Gives a range of a copy that is what the reader claims of it, or of any if it claims nothing and finds out itself.
pub async fn give(store: &ChunkStore, headers: &HeaderMap) -> Result<Response, ApiError> {
    let id: ChunkId = own_header(headers, header::CHUNK)?;
    let wanted: String = own_header(headers, RANGE.as_str())?;
    let Wanted::Part(part) = range::resolve(Some(&wanted), u64::MAX) else {
        return Err(ApiError::new(Code::HeaderInvalid, "a chunk is read by one range with both ends"));
    };
    if part.end - part.start > PIECE {
        return Err(ApiError::new(Code::HeaderInvalid, format!("a range of a chunk has at most {PIECE} bytes")));
    }
    let (bytes, tree_offset) = match headers.contains_key(header::CHUNK_FACTS) {
        true => {
            let claimed: String = own_header(headers, header::CHUNK_FACTS)?;
            let malformed = || ApiError::new(Code::HeaderInvalid, "the claim about the chunk is malformed");
            let (facts, depth) = claim::from_header(&claimed).ok_or_else(malformed)?;
            let bytes = store.read_as(id, &facts, part, depth).await.map_err(|error| of_store(&error))?;
            (bytes, facts.tree_offset)
        }
        false => {
            let read = async { Ok((store.stat(id).await?.tree_offset, store.read(id, part).await?)) }.await;
            if matches!(read, Err(flotilla_chunk_store::Error::Corrupt { .. })) {
                // Looked at past all caches: what is damaged is told, and made anew from another copy.
                store.verify(id).await.map_err(|error| of_store(&error))?;
            }
            let (tree_offset, bytes) = read.map_err(|error| of_store(&error))?;
            (bytes, tree_offset)
        }
    };
    let mut sums = Sums::default();
    sums.update(&bytes);
    let mut response = Body::from(bytes).into_response();
    set(response.headers_mut(), header::CHUNK_CRC, sums.finish().1.to_string());
    set(response.headers_mut(), header::CHUNK_OFFSET, tree_offset.to_string());
    Ok(response)
}

/// Says where copies lie on this node's disk.
async fn locate(
    State(member): State<Late<Member>>,
    Coded(ids): Coded<Vec<ChunkId>>,
) -> Result<Coded<LocateAnswer>, ApiError> {
    let member = member.ready()?;
    let mut answer = LocateAnswer { found: Vec::new() };
    for id in ids.into_iter().take(LOCATE_MAX) {
        if let Ok(place) = member.store.locate(id).await {
            answer.found.push((id, place.path.display().to_string(), place.file_offset, place.length));
        }
    }
    Ok(Coded(answer))
}

fn of_store(error: &flotilla_chunk_store::Error) -> ApiError {
    match error {
        flotilla_chunk_store::Error::NotFound(_) => ApiError::new(Code::ChunkGone, "the chunk is not here"),
        flotilla_chunk_store::Error::Corrupt { .. } => ApiError::new(Code::DataCorrupt, "the copy here is corrupt"),
        other => {
            tracing::error!(error = %other, "chunk can't be read");
            ApiError::new(Code::Internal, "the chunk can't be read here")
        }
    }
}

fn hops(headers: &HeaderMap) -> Result<Vec<Hop>, ApiError> {
    if !headers.contains_key(header::CHUNK_NEXT) {
        return Ok(Vec::new());
    }
    let text: String = own_header(headers, header::CHUNK_NEXT)?;
    let hop = |part: &str| {
        let (id, address) = part.split_once('@')?;
        Some((id.parse().ok()?, address.to_owned()))
    };
    let hops: Option<Vec<Hop>> = text.split(',').map(hop).collect();
    let malformed = || ApiError::new(Code::HeaderInvalid, "the replication chain is malformed or too long");
    hops.filter(|hops| hops.len() <= HOPS_MAX).ok_or_else(malformed)
}

/// Splits a chunk's stream into data and trailer, which only the end of the stream tells apart.
#[derive(Default)]
struct Incoming {
    held: BytesMut,
    sums: Sums,
}

impl Incoming {
    /// Takes a frame and gives the bytes that are now known to be data.
    fn push(&mut self, mut frame: Bytes) -> [Bytes; 2] {
        let data = if frame.len() >= Trailer::LEN {
            let held = self.held.split().freeze();
            let tail = frame.split_off(frame.len() - Trailer::LEN);
            self.held.extend_from_slice(&tail);
            [held, frame]
        } else {
            self.held.extend_from_slice(&frame);
            let surplus = self.held.len().saturating_sub(Trailer::LEN);
            [self.held.split_to(surplus).freeze(), Bytes::new()]
        };
        for part in &data {
            self.sums.update(part);
        }
        data
    }

    /// Gives the trailer and the data's length, if the trailer is whole and matches the data.
    fn finish(self) -> Option<(Trailer, u64)> {
        let trailer = Trailer::from_bytes(&self.held)?;
        let (length, crc) = self.sums.finish();
        (trailer.crc == crc).then_some((trailer, length))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node that lives and takes no byte of any chunk.
    pub(crate) fn stuck_routes() -> Router {
        let stuck = |body: Body| async move {
            let _never_read = body;
            std::future::pending::<()>().await;
        };
        Router::new()
            .route(route::PEER_CHUNK, axum::routing::put(stuck))
            .route(route::PEER_ALIVE, post(crate::http::cluster::alive))
    }

    #[test]
    fn data_and_trailer_part_wherever_the_frames_are_cut() {
        let data: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        let mut sums = Sums::default();
        sums.update(&data);
        let trailer = Trailer { cv: [7; 32], crc: sums.finish().1 };
        let stream: Vec<u8> = [&data[..], &trailer.to_bytes()].concat();
        for frame in [1, 7, 35, 36, 37, 100, 1035, 1036] {
            let mut incoming = Incoming::default();
            let mut out = Vec::new();
            for part in stream.chunks(frame) {
                incoming.push(Bytes::copy_from_slice(part)).iter().for_each(|data| out.extend_from_slice(data));
            }
            assert_eq!((out, incoming.finish()), (data.clone(), Some((trailer, 1000))), "frames of {frame}");
        }
    }

    #[test]
    fn a_stream_that_was_cut_short_has_no_trailer() {
        for cut in [0, 10, 36, 500] {
            let mut incoming = Incoming::default();
            incoming.push(Bytes::from(vec![3; cut]));
            assert_eq!(incoming.finish(), None, "{cut} bytes");
        }
    }
}
