//! One chunk on its way to its replicas: the local writer and the rest of the chain, fed frame by frame (cut-through).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flotilla_api::{
    ChunkId, NodeId,
    peer::{ChunkAck, FailedCopy, StoredCopy},
};
use flotilla_chunk_store::{self as chunk_store, ChunkStore, Writer};
use flotilla_client::PeerClient;
use tokio::time::timeout;

use super::hop::{ACK_DEADLINE, FRAME_MAX, HOP_SLOW, Remote};

/// How long a chunk waits for the end of an earlier try to store it on the same node: less than [`HOP_SLOW`].
const BUSY_WAIT: Duration = Duration::from_secs(4);
/// Between two looks at it.
const BUSY_STEP: Duration = Duration::from_millis(100);

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
    node: NodeId,
    local: Option<Local>,
    remote: Option<Remote>,
    failed: Vec<FailedCopy>,
}

/// This node's own copy.
enum Local {
    /// It is being written.
    Writing(Writer),
    /// An earlier try left it here, synced; the sender did not hear of it.
    Kept(StoredCopy),
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
    ) -> Self {
        let mut fan = Self { head, node, local: None, remote: None, failed: Vec::new() };
        if let Some(store) = store {
            match Local::begin(head, node, store).await {
                Ok(local) => fan.local = Some(local),
                Err(error) => fan.fail_local(&error),
            }
        }
        if let Some((first, rest)) = hops.split_first() {
            fan.remote = Some(Remote::begin(head, peers.clone(), first, rest));
        }
        fan
    }

    /// Takes the next bytes of the chunk; a target that takes none of them for too long is given up.
    pub async fn write(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let frame = bytes.split_to(bytes.len().min(FRAME_MAX));
            if let Some(remote) = &mut self.remote
                && let Err(failed) = remote.send(frame.clone()).await
            {
                self.remote = None;
                self.failed.extend(failed);
            }
            if let Some(Local::Writing(writer)) = &mut self.local {
                match timeout(HOP_SLOW, writer.write(frame)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => self.fail_local(&error),
                    Err(_) => self.give_local_up(false, "the disk here takes nothing".to_owned()),
                }
            }
        }
    }

    /// Ends the chunk and waits for every copy to be synced.
    ///
    /// # Durability
    /// Every copy in the answer is synced on its node and has the length and checksum of `trailer`.
    pub async fn finish(mut self, length: u64, trailer: Trailer) -> ChunkAck {
        let mut ack = ChunkAck::default();
        let (local, remote) = (self.local.take(), self.remote.take());
        let own = async {
            match local? {
                Local::Kept(copy) => Some(Ok(copy)),
                Local::Writing(writer) => Some(sync(writer, self.node, trailer.cv).await),
            }
        };
        let behind = async { Some(remote?.finish(trailer).await) };
        let (own, behind) = tokio::join!(own, behind);
        match own {
            Some(Ok(copy)) => ack.copies.push(copy),
            Some(Err(failed)) => self.failed.push(failed),
            None => {}
        }
        match behind {
            Some(Ok(behind)) => {
                ack.copies.extend(behind.copies);
                self.failed.extend(behind.failed);
            }
            Some(Err(failed)) => self.failed.extend(failed),
            None => {}
        }
        ack.failed = std::mem::take(&mut self.failed);
        // A copy that differs from what was sent is no copy.
        let (good, bad): (Vec<_>, Vec<_>) =
            ack.copies.drain(..).partition(|copy| copy.length == length && copy.crc == trailer.crc);
        ack.copies = good;
        let other = |copy: StoredCopy| failed(copy.node, false, "stored other bytes than were sent".to_owned());
        ack.failed.extend(bad.into_iter().map(other));
        self.log(&ack.failed);
        ack
    }

    /// Gives the chunk up: what was begun is taken back, and who failed is told.
    #[must_use]
    pub fn give_up(self) -> ChunkAck {
        self.log(&self.failed);
        ChunkAck { copies: Vec::new(), failed: self.failed }
    }

    /// Whether this node's own copy is still coming.
    #[must_use]
    pub fn has_local(&self) -> bool {
        self.local.is_some()
    }

    /// Who failed so far.
    #[must_use]
    pub fn failed(&self) -> &[FailedCopy] {
        &self.failed
    }

    /// Whether no target is left.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.local.is_none() && self.remote.is_none()
    }

    fn fail_local(&mut self, error: &chunk_store::Error) {
        self.give_local_up(matches!(error, chunk_store::Error::Full), error.to_string());
    }

    fn give_local_up(&mut self, full: bool, why: String) {
        self.local = None;
        self.failed.push(failed(self.node, full, why));
    }

    fn log(&self, failed: &[FailedCopy]) {
        for FailedCopy { node, why, .. } in failed {
            tracing::warn!(chunk = %self.head.id, %node, %why, "replica failed");
        }
    }
}

pub(super) fn failed(node: NodeId, full: bool, why: String) -> FailedCopy {
    FailedCopy { node, full, why }
}

impl Local {
    /// Begins the copy. One that an earlier try is still writing or taking back is waited for: it ends by itself.
    async fn begin(head: ChunkHead, node: NodeId, store: &ChunkStore) -> Result<Self, chunk_store::Error> {
        let mut waited = Duration::ZERO;
        loop {
            match store.put(head.id, head.tree_offset, head.reserve).await {
                Ok(writer) => return Ok(Self::Writing(writer)),
                Err(chunk_store::Error::Exists(id)) => {
                    let info = store.stat(id).await?;
                    return Ok(Self::Kept(StoredCopy { node, length: info.length, crc: info.crc }));
                }
                Err(chunk_store::Error::Busy(_)) if waited < BUSY_WAIT => {
                    tokio::time::sleep(BUSY_STEP).await;
                    waited += BUSY_STEP;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Ends this node's copy.
async fn sync(writer: Writer, node: NodeId, cv: [u8; 32]) -> Result<StoredCopy, FailedCopy> {
    match timeout(ACK_DEADLINE, writer.finish(cv)).await {
        Ok(Ok(stored)) => Ok(StoredCopy { node, length: stored.length, crc: stored.crc }),
        Ok(Err(error)) => Err(failed(node, matches!(error, chunk_store::Error::Full), error.to_string())),
        Err(_) => Err(failed(node, false, format!("not synced within {ACK_DEADLINE:?}"))),
    }
}
