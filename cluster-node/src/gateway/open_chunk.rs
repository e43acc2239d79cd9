//! One chunk of an upload: takes bytes, hashes them, and ends with its copies synced on enough nodes.
//!
//! Copies that fail on the way are made good here, within the same request.

use bytes::Bytes;
use flotilla_api::{
    NodeId,
    peer::{ChunkAck, FailedCopy},
};
use flotilla_chunk_store::Sums;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::{
    replicate::{ChunkHead, Fan, Hop, Trailer},
    source::Source,
    trace::Trace,
    tree::{ChunkHash, ChunkHasher},
    upload::{Error, Parts, Uploads},
};
use crate::metadata::{rows::ChunkRef, segments::PlacedChunk};

/// How often a chunk that lacks copies is sent to another node.
const COPY_TRIES_MAX: usize = 3;
/// Memory of a chunk on its way: frames between the sockets and the writers, here and in the chunk's sync.
const CHUNK_BYTES: u32 = 4 << 20;

/// The task that ends a chunk; dropped, it gives up, and what it holds is given back.
pub(super) type Ending = AbortOnDropHandle<Result<PlacedChunk, Error>>;

/// A chunk that takes bytes.
pub(super) struct OpenChunk {
    uploads: Uploads,
    head: ChunkHead,
    hops: Vec<Hop>,
    fan: Fan,
    /// All bytes so far, where this node has no copy to read them back from.
    kept: Option<Vec<Bytes>>,
    hasher: ChunkHasher,
    sums: Sums,
    length: u64,
    held: OwnedSemaphorePermit,
}

impl OpenChunk {
    /// Begins a chunk at `offset` of its tree, of at most `reserve` bytes, on the nodes that the leader chose.
    pub(super) async fn begin(uploads: &Uploads, trace: &Trace, offset: u64, reserve: u64) -> Result<Self, Error> {
        let parts = uploads.parts();
        let head = ChunkHead { id: uploads.next_id(), tree_offset: offset, reserve };
        trace.begun(head.id);
        let mut place = parts.places.take(&[]).await?;
        if has(&place, parts.node) {
            let held = uploads.reserve(memory(reserve, false)).await?;
            let hops = others(&place, parts.node);
            let fan = Fan::begin(head, parts.node, Some(&parts.store), &parts.peers, &hops).await;
            if fan.has_local() {
                return Ok(Self::new(uploads, head, hops, fan, held));
            }
            tell(parts, fan.failed());
            place = match parts.places.take(&[parts.node]).await {
                Ok(place) => place,
                Err(_) if fan.failed().iter().any(|failed| failed.full) => return Err(lacking(parts, 0, true)),
                Err(error) => return Err(error.into()),
            };
        }
        // Nothing can be read back here, so the chunk stays in memory until it is acked.
        let held = uploads.reserve(memory(reserve, true)).await?;
        let hops = others(&place, parts.node);
        let fan = Fan::begin(head, parts.node, None, &parts.peers, &hops).await;
        Ok(Self { kept: Some(Vec::new()), ..Self::new(uploads, head, hops, fan, held) })
    }

    fn new(uploads: &Uploads, head: ChunkHead, hops: Vec<Hop>, fan: Fan, held: OwnedSemaphorePermit) -> Self {
        let (hasher, sums) = (ChunkHasher::new(head.tree_offset), Sums::default());
        Self { uploads: uploads.clone(), head, hops, fan, kept: None, hasher, sums, length: 0, held }
    }

    /// Gives the number of bytes taken.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Takes the next bytes.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.hasher.update(&bytes);
        self.sums.update(&bytes);
        self.length += bytes.len() as u64;
        if let Some(kept) = &mut self.kept {
            kept.push(bytes.clone());
        }
        let known = self.fan.failed().len();
        self.fan.write(bytes).await;
        tell(self.uploads.parts(), &self.fan.failed()[known..]);
        if self.fan.is_dead() && self.kept.is_none() {
            return Err(lacking(self.uploads.parts(), 0, all_full(self.fan.failed())));
        }
        Ok(())
    }

    /// Ends the chunk; the task goes on with its syncs while the next chunk streams.
    pub(super) fn finish(self) -> (ChunkHash, Ending) {
        let Self { uploads, head, hops, fan, kept, hasher, sums, length, held } = self;
        let hash = hasher.finish();
        let (_, crc) = sums.finish();
        let trailer = Trailer { cv: hash.cv, crc };
        let head = ChunkHead { reserve: length, ..head };
        let task = tokio::spawn(async move {
            let _held_to_the_end = held;
            let parts = uploads.parts();
            let known = fan.failed().len();
            let ack = fan.finish(length, trailer).await;
            tell(parts, &ack.failed[known.min(ack.failed.len())..]);
            let replicas = complete(parts, head, trailer, ack, kept.as_deref(), hops).await?;
            let length = u32::try_from(length).expect("chunks are at most 64 MiB");
            Ok(PlacedChunk { chunk: ChunkRef { id: head.id, length, cv: hash.cv }, replicas })
        });
        (hash, AbortOnDropHandle::new(task))
    }
}

/// Brings a chunk that lacks copies to its number, and gives the nodes that have one.
async fn complete(
    parts: &Parts,
    head: ChunkHead,
    trailer: Trailer,
    mut ack: ChunkAck,
    kept: Option<&[Bytes]>,
    mut known: Vec<Hop>,
) -> Result<Vec<NodeId>, Error> {
    let needed = parts.replicas as usize;
    for _ in 0..COPY_TRIES_MAX {
        let mut replicas: Vec<NodeId> = ack.copies.iter().map(|copy| copy.node).collect();
        replicas.sort_unstable();
        replicas.dedup();
        if replicas.len() >= needed {
            return Ok(replicas);
        }
        let full = all_full(&ack.failed);
        let Some(source) = Source::of(parts, head, trailer, kept, &replicas, &known) else {
            return Err(lacking(parts, 0, full));
        };
        let missing = needed - replicas.len();
        // Nodes that failed are suspects for a while; after that they are as good as any.
        let avoid: Vec<NodeId> = replicas.iter().copied().chain([parts.node]).collect();
        let hops = match parts.places.take_more(missing as u32, &avoid).await {
            Ok(hops) => hops,
            Err(_) if full => return Err(lacking(parts, replicas.len(), true)),
            Err(error) => return Err(error.into()),
        };
        let mut fan = Fan::begin(head, parts.node, None, &parts.peers, &hops).await;
        let mut at = 0;
        let more = loop {
            if at >= head.reserve || fan.is_dead() {
                break fan.finish(head.reserve, trailer).await;
            }
            match source.read(at, head.reserve).await {
                Ok(bytes) => {
                    at += bytes.len() as u64;
                    fan.write(bytes).await;
                }
                Err(why) => {
                    tracing::warn!(chunk = %head.id, %why, "a copy can't be read back");
                    break fan.give_up();
                }
            }
        };
        tell(parts, &more.failed);
        ack.copies.extend(more.copies);
        ack.failed.extend(more.failed);
        known.extend(hops);
    }
    let full = all_full(&ack.failed);
    match ack.copies.len() {
        copies if copies >= needed => Ok(ack.copies.into_iter().map(|copy| copy.node).collect()),
        copies => Err(lacking(parts, copies, full)),
    }
}

/// The memory that a chunk needs: frames on their way, and all of it where it has to be kept.
fn memory(reserve: u64, kept: bool) -> u32 {
    let all = u32::try_from(reserve).unwrap_or(u32::MAX);
    if kept { all.saturating_add(CHUNK_BYTES / 2) } else { all.min(CHUNK_BYTES) }
}

fn lacking(parts: &Parts, copies: usize, full: bool) -> Error {
    Error::Copies { copies, needed: parts.replicas as usize, full }
}

fn has(place: &[Hop], node: NodeId) -> bool {
    place.iter().any(|(id, _)| *id == node)
}

fn others(place: &[Hop], node: NodeId) -> Vec<Hop> {
    place.iter().filter(|(id, _)| *id != node).cloned().collect()
}

fn all_full(failed: &[FailedCopy]) -> bool {
    !failed.is_empty() && failed.iter().all(|failed| failed.full)
}

/// Makes those who failed suspects, this node too: placement hears of it at once.
fn tell(parts: &Parts, failed: &[FailedCopy]) {
    failed.iter().for_each(|failed| parts.places.failed(failed.node));
}
