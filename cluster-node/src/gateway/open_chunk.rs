//! One chunk of an upload: takes bytes, hashes them, and ends with its copies synced on enough nodes.

use bytes::Bytes;
use flotilla_api::{NodeId, peer::ChunkAck};
use flotilla_chunk_store::Sums;
use tokio::task::JoinHandle;

use super::{
    replicate::{ChunkHead, Fan, Hop, Trailer},
    trace::Trace,
    tree::{ChunkHash, ChunkHasher},
    upload::{Error, Uploads},
};
use crate::metadata::{rows::ChunkRef, segments::PlacedChunk};

/// How often a chunk that lacks copies is sent to another node.
const COPY_TRIES_MAX: usize = 3;
/// How much of a chunk is read back at once for another copy.
const COPY_STEP: u64 = 256 << 10;

/// A chunk that takes bytes.
pub(super) struct OpenChunk {
    uploads: Uploads,
    head: ChunkHead,
    fan: Fan,
    hasher: ChunkHasher,
    sums: Sums,
    length: u64,
    full: bool,
}

impl OpenChunk {
    /// Begins a chunk at `offset` of its tree, of at most `reserve` bytes, on the nodes that the leader chose.
    pub(super) async fn begin(uploads: &Uploads, trace: &Trace, offset: u64, reserve: u64) -> Result<Self, Error> {
        let parts = uploads.parts();
        let place = parts.places.take(&[]).await?;
        let head = ChunkHead { id: uploads.next_id(), tree_offset: offset, reserve };
        trace.begun(head.id);
        let own = place.iter().any(|(id, _)| *id == parts.node);
        let hops: Vec<Hop> = place.into_iter().filter(|(id, _)| *id != parts.node).collect();
        let (fan, refused) = Fan::begin(head, parts.node, own.then_some(&parts.store), &parts.peers, &hops).await;
        let full = matches!(refused, Some(flotilla_chunk_store::Error::Full));
        let (hasher, sums) = (ChunkHasher::new(offset), Sums::default());
        Ok(Self { uploads: uploads.clone(), head, fan, hasher, sums, length: 0, full })
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
        self.fan.write(self.uploads.parts().node, bytes).await;
        if self.fan.is_dead() {
            let needed = self.uploads.parts().replicas as usize;
            return Err(Error::Copies { copies: 0, needed, full: self.full });
        }
        Ok(())
    }

    /// Ends the chunk; the task goes on with its syncs while the next chunk streams.
    pub(super) fn finish(self) -> (ChunkHash, JoinHandle<Result<PlacedChunk, Error>>) {
        let hash = self.hasher.finish();
        let (_, crc) = self.sums.finish();
        let trailer = Trailer { cv: hash.cv, crc };
        let task = tokio::spawn(async move {
            let parts = self.uploads.parts();
            let needed = parts.replicas as usize;
            let mut ack = self.fan.finish(parts.node, self.length, trailer).await;
            if ack.copies.len() < needed {
                ack = complete(&self.uploads, self.head, self.length, trailer, ack).await?;
            }
            let mut replicas: Vec<NodeId> = ack.copies.iter().map(|copy| copy.node).collect();
            replicas.sort_unstable();
            replicas.dedup();
            if replicas.len() < needed {
                return Err(Error::Copies { copies: replicas.len(), needed, full: self.full });
            }
            let length = u32::try_from(self.length).expect("chunks are at most 64 MiB");
            Ok(PlacedChunk { chunk: ChunkRef { id: self.head.id, length, cv: hash.cv }, replicas })
        });
        (hash, task)
    }
}

/// Brings a chunk that lacks copies to its number, from this node's own copy.
async fn complete(
    uploads: &Uploads,
    head: ChunkHead,
    length: u64,
    trailer: Trailer,
    mut ack: ChunkAck,
) -> Result<ChunkAck, Error> {
    let parts = uploads.parts();
    let needed = parts.replicas as usize;
    for _ in 0..COPY_TRIES_MAX {
        for (node, _) in &ack.failed {
            if *node != parts.node {
                parts.places.failed(*node);
            }
        }
        let own = ack.copies.iter().any(|copy| copy.node == parts.node);
        if ack.copies.len() >= needed || !own {
            break;
        }
        let mut avoid: Vec<NodeId> = ack.failed.iter().map(|(node, _)| *node).collect();
        avoid.extend(ack.copies.iter().map(|c| c.node).filter(|id| *id != parts.node));
        let place = parts.places.take(&avoid).await?;
        let missing = needed - ack.copies.len();
        let hops: Vec<Hop> = place.into_iter().filter(|(id, _)| *id != parts.node).take(missing).collect();
        let (mut fan, _) = Fan::begin(head, parts.node, None, &parts.peers, &hops).await;
        let mut at = 0;
        while at < length && !fan.is_dead() {
            let end = length.min(at + COPY_STEP);
            let bytes = parts.store.read(head.id, at..end).await.map_err(|e| Error::Internal(e.to_string()))?;
            fan.write(parts.node, bytes).await;
            at = end;
        }
        let more = fan.finish(parts.node, length, trailer).await;
        ack.copies.extend(more.copies);
        ack.failed.extend(more.failed);
    }
    Ok(ack)
}
