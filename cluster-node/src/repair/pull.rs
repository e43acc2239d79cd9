//! Makes this node's copy of one chunk from another node's, and proves it on the way.

use std::time::Duration;

use flotilla_api::{ChunkId, NodeId};
use flotilla_chunk_store::{Depth, Error as StoreError, Facts, Writer};

use super::{Error, Parts, Repair};
use crate::{
    gateway::{ask, fetch::PIECE, tree::ChunkHasher},
    metadata::{
        keys,
        life::queues,
        rows::{ChunkRef, ChunkRow},
    },
};

/// How long a holder may take for one piece.
const PIECE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a copy of an earlier try may take to be taken back, and how often that is looked at.
const BUSY_WAIT: Duration = Duration::from_secs(2);
const BUSY_STEP: Duration = Duration::from_millis(10);
/// How long the end of a copy, its sync, may take.
const SYNC_DEADLINE: Duration = Duration::from_secs(10);

/// What became of a chunk that this node should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pulled {
    /// Its copy is here, synced and proven; made from this node's, or already there.
    Here(Option<NodeId>),
    /// Nothing names it any more.
    Gone,
    /// An earlier copy has to be unlinked first.
    Told,
    /// No holder gave a good copy, or it can't be stored.
    Failed(String),
}

/// Why a copy was not made from a holder.
enum Failure {
    /// It can't be stored here, wherever it comes from.
    Here(String),
    /// The holder did not give it, or not a good one.
    There(String),
}

/// How the metadata here stands to a chunk on this node.
enum Named {
    By(ChunkRow),
    Nothing,
    Told,
}

impl Repair {
    /// Makes this node's copy of a chunk.
    ///
    /// # Durability
    /// `Here`: the copy is synced, and its contents have the hash that the chunk is named with.
    ///
    /// # Cancel safety
    /// A dropped future leaves no copy, or a whole one that nothing names.
    pub(super) async fn pull(&self, chunk: ChunkRef) -> Result<Pulled, Error> {
        let row = match self.named(chunk.id).await? {
            Named::By(row) => row,
            Named::Nothing => return Ok(Pulled::Gone),
            Named::Told => return Ok(Pulled::Told),
        };
        if let Some(found) = self.found(chunk).await? {
            return Ok(found);
        }
        let mut holders: Vec<NodeId> = row.replicas.into_iter().filter(|node| *node != self.0.node).collect();
        let first = (self.0.entropy.u64() % holders.len().max(1) as u64) as usize;
        holders.rotate_left(first);
        self.1.order(&mut holders);
        let mut said = Vec::new();
        for holder in holders {
            let Some(address) = self.0.holders.address(holder) else { continue };
            match self.copy(chunk, holder, &address).await? {
                Ok(true) => {
                    self.0.transfers.over(holder, Some(chunk.length));
                    return Ok(Pulled::Here(Some(holder)));
                }
                Ok(false) => return Ok(Pulled::Told),
                Err(Failure::Here(why)) => {
                    tracing::warn!(chunk = %chunk.id, %why, "copy can't be stored");
                    return Ok(Pulled::Failed(why));
                }
                Err(Failure::There(why)) => {
                    self.0.transfers.over(holder, None);
                    tracing::warn!(chunk = %chunk.id, from = %holder, %why, "copy was not made");
                    said.push(format!("{holder}: {why}"));
                }
            }
        }
        Ok(Pulled::Failed(said.join("; ")))
    }

    /// Looks whether a copy is here already: of an earlier try, or from before the node was away.
    async fn found(&self, chunk: ChunkRef) -> Result<Option<Pulled>, Error> {
        let store = &self.0.store;
        let Ok(info) = store.stat(chunk.id).await else { return Ok(None) };
        self.0.pace.take(chunk.length.into()).await;
        if info.cv != chunk.cv || info.length != u64::from(chunk.length) || store.verify(chunk.id).await.is_err() {
            return Ok(Some(Pulled::Failed("a damaged copy of it is here".to_owned())));
        }
        let _gate = self.0.gate.copy().await;
        Ok(Some(match (self.named(chunk.id).await?, store.stat(chunk.id).await) {
            (Named::By(_), Ok(_)) => Pulled::Here(None),
            (Named::Nothing, _) => Pulled::Gone,
            (Named::By(_) | Named::Told, _) => Pulled::Told,
        }))
    }

    /// Copies from one holder; false if this node was told to unlink the chunk meanwhile.
    async fn copy(&self, chunk: ChunkRef, from: NodeId, address: &str) -> Result<Result<bool, Failure>, Error> {
        let Parts { peers, pace, gate, .. } = &*self.0;
        let length = u64::from(chunk.length);
        let mut open: Option<(Writer, ChunkHasher, u64)> = None;
        let mut at = 0;
        while at < length {
            let range = at..length.min(at + PIECE);
            pace.take(range.end - range.start).await;
            let part = match ask::part(peers, address, chunk.id, None, range.clone(), PIECE_DEADLINE).await {
                Ok(part) => part,
                Err(error) => {
                    let silent = matches!(&error, ask::Error::Peer(error) if error.code().is_none());
                    if silent && !self.1.is_slow(from) {
                        self.1.stalled(from);
                    }
                    return Ok(Err(Failure::There(error.to_string())));
                }
            };
            if open.is_none() {
                let Some(tree_offset) = part.tree_offset else {
                    return Ok(Err(Failure::There("it does not say where it begins".to_owned())));
                };
                match self.begin(chunk.id, tree_offset, length).await {
                    Ok(writer) => open = Some((writer, ChunkHasher::new(tree_offset), tree_offset)),
                    Err(error) => return Ok(Err(own(&error))),
                }
            }
            if let Some((writer, hasher, _)) = &mut open {
                hasher.update(&part.bytes);
                if let Err(error) = writer.write(part.bytes).await {
                    return Ok(Err(own(&error)));
                }
            }
            at = range.end;
        }
        let Some((writer, hasher, tree_offset)) = open else {
            return Ok(Err(Failure::There("it has no bytes".to_owned())));
        };
        // The holder vouches for its blocks only: that they are this chunk is proven here, before the copy can be seen.
        if hasher.finish().cv != chunk.cv && !trusts_holders() {
            drop(writer);
            self.tell_damaged(chunk, from, address, tree_offset).await;
            return Ok(Err(Failure::There("its copy is of another content".to_owned())));
        }
        flotilla_env::failpoint!("repair.pulled", |_| Ok(Err(Failure::There("a failpoint".to_owned()))));
        let _gate = gate.copy().await;
        if !matches!(self.named(chunk.id).await?, Named::By(_)) {
            return Ok(Ok(false));
        }
        Ok(match tokio::time::timeout(SYNC_DEADLINE, writer.finish(chunk.cv)).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => Err(own(&error)),
            Err(_) => Err(Failure::Here(format!("not synced here within {SYNC_DEADLINE:?}"))),
        })
    }

    /// Has a holder compare its copy with what the chunk should be: found damaged, it is not offered again, and made anew.
    async fn tell_damaged(&self, chunk: ChunkRef, holder: NodeId, address: &str, tree_offset: u64) {
        let facts = Facts { length: chunk.length.into(), tree_offset, cv: chunk.cv };
        let asked =
            ask::part(&self.0.peers, address, chunk.id, Some((&facts, Depth::Whole)), 0..1, PIECE_DEADLINE).await;
        if asked.is_ok() {
            tracing::warn!(chunk = %chunk.id, from = %holder, "its copy is fine by itself: it was damaged on its way");
        }
    }

    /// Begins the copy. One of an earlier try, from another holder, is waited for while it is taken back.
    async fn begin(&self, id: ChunkId, tree_offset: u64, length: u64) -> Result<Writer, StoreError> {
        let mut waited = Duration::ZERO;
        loop {
            match self.0.store.put(id, tree_offset, length).await {
                Err(StoreError::Busy(_)) if waited < BUSY_WAIT => {
                    tokio::time::sleep(BUSY_STEP).await;
                    waited += BUSY_STEP;
                }
                begun => return begun,
            }
        }
    }

    /// Looks up a chunk as it is applied here.
    async fn named(&self, id: ChunkId) -> Result<Named, Error> {
        let unlink = keys::unlink(self.0.node, id);
        let read = self.0.metadata.with_view(move |view| {
            let told = view.get(keys::UNLINKS, &unlink)?;
            Ok::<_, flotilla_kv::Error>((told, view.get(keys::CHUNKS, &id.to_bytes())?))
        });
        let (told, row) = read.await?.map_err(crate::metadata::read::Error::from)?;
        Ok(match (told, row) {
            (Some(_), _) => Named::Told,
            (None, None) => Named::Nothing,
            (None, Some(row)) => Named::By(flotilla_api::codec::decode(&row).map_err(queues::Error::from)?),
        })
    }
}

/// A planted fault: the proof is left out.
fn trusts_holders() -> bool {
    flotilla_env::failpoint!("repair.trust_holders", |_| true);
    false
}

fn own(error: &StoreError) -> Failure {
    Failure::Here(format!("it can't be stored here: {error}"))
}
