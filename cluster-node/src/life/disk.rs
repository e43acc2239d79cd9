//! A node's own disk: chunks that it was told to unlink, and copies that no metadata names.

use flotilla_api::ChunkId;
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
/// How many chunks are unlinked in one round.
const UNLINK_MAX: usize = 4096;

/// How far the comparison of disk and metadata has come, and what it counted.
#[derive(Debug, Default)]
pub struct Inventory {
    after: Option<ChunkId>,
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
        let ids = self.metadata.with_view(move |view| queues::told(view, node, UNLINK_MAX)).await??;
        for page in ids.chunks(purge::IDS_MAX) {
            // A chunk that is still being written here is removed in the next round, with all others of this page.
            self.store.remove(page.iter().map(|(id, _)| *id).collect()).await?;
            self.step(Command::Unlinked { node, ids: page.to_vec() }).await?;
            counter!("flotilla_purged_total").increment(page.len() as u64);
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
            let mut unnamed = Vec::new();
            for (id, standing) in page.into_iter().zip(standings) {
                match standing {
                    Standing::Named(_) => inventory.counts.ok += 1,
                    Standing::Surplus | Standing::Foreign => inventory.counts.surplus += 1,
                    Standing::InFlight => {}
                    Standing::Garbage { told } => {
                        inventory.counts.garbage += 1;
                        // A copy that its chunk's row does not know of: the node was passed by when it was written.
                        if !told {
                            unnamed.push(id);
                        }
                    }
                    Standing::Orphan => {
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
            inventory.after = Some(last);
        }
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
