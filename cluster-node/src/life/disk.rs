//! A node's own disk: chunks that it was told to unlink, and copies that no metadata names.

use flotilla_api::ChunkId;
use flotilla_chunk_store::Error as StoreError;
use metrics::{counter, gauge};

use super::{Error, Keeper};
use crate::metadata::life::{
    Command, purge,
    queues::{self, Standing},
};

/// How many pages of ids one look at the disk takes: 32 Ki chunks, 256 GB of big ones.
const PAGES_MAX: usize = 8;
/// Ids per page.
const PAGE: usize = 4096;
/// How many chunks of the metadata are looked for in one round.
const NAMED_PAGE: usize = 16_384;
/// How many pages of chunks are unlinked in one round.
const UNLINK_PAGES: usize = 16;

/// How far the comparison of disk and metadata has come, and what it counted.
#[derive(Debug, Default)]
pub struct Inventory {
    after: Option<ChunkId>,
    looked_for: Option<ChunkId>,
    counts: Counts,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    ok: u32,
    surplus: u32,
    garbage: u32,
}

impl Keeper {
    /// Unlinks what this node was told to, and says so.
    pub(super) async fn unlink(&self) -> Result<(), Error> {
        let node = self.node;
        for _ in 0..UNLINK_PAGES {
            let page = {
                let _gate = self.repair.gate().unlink().await;
                let page = self.metadata.with_view(move |view| queues::told(view, node, purge::IDS_MAX)).await??;
                flotilla_env::failpoint!("purge.before_unlink", |_| Err(StoreError::Poisoned.into()));
                // A chunk that is still being written here is removed in the next round, with all others of this page.
                self.store.remove(page.iter().map(|(id, _)| *id).collect()).await?;
                page
            };
            if page.is_empty() {
                break;
            }
            let count = page.len();
            flotilla_env::failpoint!("purge.unlinked", |_| Err(crate::metadata::read::Error::from(
                flotilla_raft_store::Error::NoLeader
            )
            .into()));
            self.step(Command::Unlinked { node, ids: page }).await?;
            counter!("flotilla_purged_total").increment(count as u64);
            // The next look must not see the same again.
            self.metadata.barrier().await?;
        }
        Ok(())
    }

    /// Compares a part of the disk with the metadata and asks the log to mark what nothing can ever name.
    pub(super) async fn compare(&self, inventory: &mut Inventory) -> Result<(), Error> {
        for _ in 0..PAGES_MAX {
            let page = self.store.list(inventory.after, PAGE).await?;
            let Some(last) = page.last().copied() else {
                inventory.finish();
                return Ok(());
            };
            let node = self.node;
            let ids = page.clone();
            let standings = self.metadata.with_view(move |view| queues::standings(view, node, &ids)).await??;
            let (mut unnamed, mut surplus) = (Vec::new(), Vec::new());
            for (id, standing) in page.into_iter().zip(standings) {
                match standing {
                    Standing::Named(_) => inventory.counts.ok += 1,
                    Standing::Foreign => inventory.counts.surplus += 1,
                    Standing::Surplus => {
                        inventory.counts.surplus += 1;
                        surplus.push(id);
                    }
                    Standing::InFlight if !purge::is_rechecked() => unnamed.push(id),
                    // What was told goes soon, in a round of its own.
                    Standing::InFlight | Standing::Dropped => {}
                    Standing::Garbage { told } => {
                        inventory.counts.garbage += 1;
                        // A copy that its chunk's row does not know of: the node was passed by when it was written.
                        if !told {
                            unnamed.push(id);
                        }
                    }
                    Standing::Orphan | Standing::GivenUp => {
                        inventory.counts.garbage += 1;
                        unnamed.push(id);
                    }
                }
            }
            for ids in unnamed.chunks(purge::IDS_MAX) {
                let holder = Some(self.node);
                let marked = self.work_off(Command::Purge { ids: ids.to_vec(), holder }).await?;
                counter!("flotilla_purge_marked_total").increment(marked.into());
            }
            // Copies that were made and never noted, or that came back with their node: named ones are read before these go.
            Box::pin(self.repair.drop_own(surplus)).await?;
            inventory.after = Some(last);
        }
        Ok(())
    }

    /// Looks for a part of the copies that this node is named for.
    pub(super) async fn look_for_named(&self, inventory: &mut Inventory) -> Result<(), Error> {
        let (node, after) = (self.node, inventory.looked_for);
        let page = self.metadata.with_view(move |view| queues::named(view, after, NAMED_PAGE)).await??;
        inventory.looked_for = page.last().map(|(id, _)| *id).filter(|_| page.len() == NAMED_PAGE);
        let ids: Vec<ChunkId> =
            page.into_iter().filter(|(_, row)| row.replicas.contains(&node)).map(|(id, _)| id).collect();
        let mut missing = Vec::new();
        for id in &ids {
            // Found anew: a handle that was opened when all was well outlives its file.
            match self.store.locate(*id).await {
                Err(StoreError::NotFound(_)) => missing.push(*id),
                // Read whole, its damage is noted, so that the copy is made anew.
                Err(StoreError::Corrupt { .. }) => drop(self.store.verify(*id).await),
                _ => {}
            }
        }
        if !missing.is_empty() {
            // One may have been dropped and unlinked since the look at the metadata.
            let asked = missing.clone();
            let standings = self.metadata.with_view(move |view| queues::standings(view, node, &asked)).await??;
            let mut named = standings.iter().map(|standing| matches!(standing, Standing::Named(_)));
            missing.retain(|_| named.next().unwrap_or(false));
        }
        if !missing.is_empty() {
            tracing::error!(copies = missing.len(), first = %missing[0], "copies that this node is named for are not on its disk");
        }
        self.lost.looked(after, inventory.looked_for, &missing);
        Ok(())
    }
}

impl Inventory {
    /// Publishes what a whole walk over the disk counted, and begins the next one.
    fn finish(&mut self) {
        let Counts { ok, surplus, garbage } = std::mem::take(&mut self.counts);
        for (state, count) in [("ok", ok), ("surplus", surplus), ("garbage", garbage)] {
            gauge!("flotilla_chunks", "state" => state).set(f64::from(count));
        }
        self.after = None;
    }
}
