//! Carries out the tasks of this node, one after the other, and tells the log what came of them.

use flotilla_api::ChunkId;
use futures::{StreamExt, stream};
use metrics::counter;
use tokio_util::task::AbortOnDropHandle;

use super::{Error, LEASE, Parts, Repair, pull::Pulled};
use crate::metadata::{
    heal::{Answer, Command, Lease, TaskId, Work},
    rows::ChunkRef,
};

/// Chunks on their way at once: small ones wait for syncs and answers, which they share.
const AT_ONCE: usize = 8;
/// Copies after which the log is told, so that what was done counts soon.
const NOTED: usize = 16;

impl Repair {
    /// Takes this node's next task and carries it out; true if there was one.
    pub(super) async fn work(&self) -> Result<bool, Error> {
        let Parts { node, metadata, store, .. } = &*self.0;
        let (status, usage) = (metadata.group().status(), store.usage());
        // A node that can't store anything leaves its tasks to be planned for others.
        if status.catching_up || status.leader.is_none() || usage.full || usage.poisoned {
            return Ok(false);
        }
        let mine = self.tasks().await?.into_iter().find(|(_, row)| row.work.target() == *node);
        let Some((task, row)) = mine else { return Ok(false) };
        let Some(lease) = self.take(task).await? else { return Ok(false) };
        flotilla_env::failpoint!("repair.leased", |_| Err(crate::metadata::read::Error::from(
            flotilla_raft_store::Error::NoLeader
        )
        .into()));
        let Work::Copy { chunks, .. } = row.work;
        self.0.transfers.begin(task, &chunks);
        let left = self.carry_out(lease, chunks).await;
        self.0.transfers.end();
        if !left? {
            return Ok(true);
        }
        // What could not be copied is found by the next survey, and planned from other holders or for another node.
        flotilla_env::failpoint!("repair.before_end", |_| Err(crate::metadata::read::Error::from(
            flotilla_raft_store::Error::NoLeader
        )
        .into()));
        self.step(Command::End { lease }).await?;
        Ok(false)
    }

    /// Leases a task, and waits until all that was decided before is known here.
    async fn take(&self, task: TaskId) -> Result<Option<Lease>, Error> {
        let Answer::Leased(lease) =
            self.step(Command::Take { task, node: self.0.node, lasts_ms: LEASE.as_ms() }).await?
        else {
            return Ok(None);
        };
        self.0.metadata.barrier().await?;
        Ok(Some(lease))
    }

    /// Copies the chunks of a task; true if some are left.
    async fn carry_out(&self, lease: Lease, chunks: Vec<ChunkRef>) -> Result<bool, Error> {
        let mut pulls = stream::iter(chunks)
            .map(|chunk| {
                // Tasks of their own: they go on while the log is told.
                let this = self.clone();
                let pull = AbortOnDropHandle::new(tokio::spawn(async move {
                    this.0.transfers.copying(chunk.id);
                    this.pull(chunk).await
                }));
                async move { (chunk.id, pull.await.unwrap_or_else(|error| Ok(Pulled::Failed(error.to_string())))) }
            })
            .buffer_unordered(AT_ONCE);
        let (mut ready, mut left): (Vec<ChunkId>, bool) = (Vec::new(), false);
        let mut kept_at = self.0.clock.now();
        while let Some((id, pulled)) = pulls.next().await {
            let pulled = pulled?;
            self.0.transfers.pulled(id, &pulled);
            match pulled {
                // A chunk that is gone is struck off by the same command.
                Pulled::Here(_) | Pulled::Gone => ready.push(id),
                Pulled::Told | Pulled::Failed(_) => left = true,
            }
            if ready.len() >= NOTED && !self.note(lease, &mut ready).await? {
                return Ok(false);
            }
            let now = self.0.clock.now();
            if now.duration_since(kept_at) > LEASE.0 / 3 {
                kept_at = now;
                if self.step(Command::Keep { lease, lasts_ms: LEASE.as_ms() }).await? == Answer::Passed {
                    return Ok(false);
                }
            }
        }
        drop(pulls);
        Ok(self.note(lease, &mut ready).await? && left)
    }

    /// Tells the log of copies; false if the lease is over.
    async fn note(&self, lease: Lease, ready: &mut Vec<ChunkId>) -> Result<bool, Error> {
        if ready.is_empty() {
            return Ok(true);
        }
        flotilla_env::failpoint!("repair.before_add", |_| Err(crate::metadata::read::Error::from(
            flotilla_raft_store::Error::NoLeader
        )
        .into()));
        match self.step(Command::AddReplicas { lease, ids: std::mem::take(ready) }).await? {
            Answer::Done { count, .. } => {
                counter!("flotilla_replicas_added_total").increment(count.into());
                Ok(true)
            }
            Answer::Passed | Answer::Leased(_) => Ok(false),
        }
    }
}
