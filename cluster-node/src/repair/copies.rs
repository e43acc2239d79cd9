//! The end of copies that are too many: others are verified first, then the log is told which copy goes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use flotilla_api::{
    ChunkId, NodeId,
    peer::{Copy, InspectRequest},
    route,
};
use flotilla_client::Lane;
use metrics::counter;

use super::{Error, Repair, fleet::Fleet, survey::Found};
use crate::metadata::heal::{Answer, Command, Surplus};

/// Chunks of one batch, and its bytes: every copy that stays is read.
const BATCH: usize = 64;
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// How long a node may take to read its part of a batch.
const VERIFY_DEADLINE: Duration = Duration::from_secs(30);

/// A chunk and the nodes whose copies of it are good.
type Verified = (ChunkId, Vec<NodeId>);

/// A copy that may go if the others are good.
struct Candidate {
    chunk: ChunkId,
    from: NodeId,
    corrupt: bool,
    others: Vec<NodeId>,
}

impl Repair {
    /// Drops one batch of copies that are too many; true if the log was told of any.
    pub(super) async fn drop_copies(&self, fleet: &Fleet, surplus: &mut VecDeque<Found>) -> Result<bool, Error> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH && bytes < BATCH_BYTES_MAX {
            let Some(Found { chunk, holders }) = surplus.pop_front() else { break };
            bytes += u64::from(chunk.length);
            batch.extend(candidate(fleet, chunk.id, &holders, self.0.replicas));
        }
        self.0.pace.take(bytes).await;
        self.tell_drops(batch).await
    }

    /// Verifies the copies that stay and tells the log which ones go; true if there were any.
    async fn tell_drops(&self, batch: Vec<Candidate>) -> Result<bool, Error> {
        let verified = self.verify(&batch).await;
        let mut drops: BTreeMap<(NodeId, bool), Vec<Verified>> = BTreeMap::new();
        for candidate in batch {
            let good = verified.get(&candidate.chunk).cloned().unwrap_or_default();
            drops.entry((candidate.from, candidate.corrupt)).or_default().push((candidate.chunk, good));
        }
        let mut told = false;
        for ((node, corrupt), ids) in drops {
            let why = if corrupt { Surplus::Corrupt } else { self.many() };
            if let Answer::Done { count, .. } = self.step(Command::DropReplicas { node, why, ids }).await? {
                counter!("flotilla_replicas_dropped_total").increment(count.into());
                told |= count > 0;
            }
        }
        Ok(told)
    }

    /// Drops copies on this node's disk that no metadata names, where enough others are good.
    ///
    /// # Errors
    /// [`Error`]; what was not dropped is found again.
    pub async fn drop_own(&self, ids: Vec<ChunkId>) -> Result<(), Error> {
        for page in ids.chunks(BATCH) {
            let mut batch = Vec::new();
            for id in page {
                let others = self.0.metadata.replicas_of(*id)?.into_iter().take(self.0.replicas).collect();
                batch.push(Candidate { chunk: *id, from: self.0.node, corrupt: false, others });
            }
            self.tell_drops(batch).await?;
        }
        Ok(())
    }

    /// What has to be left where a copy is only too many.
    pub(super) fn many(&self) -> Surplus {
        Surplus::Many { keep: u8::try_from(self.0.replicas).unwrap_or(u8::MAX) }
    }

    /// Asks the other holders to read their copies, and gives those that are good.
    async fn verify(&self, batch: &[Candidate]) -> BTreeMap<ChunkId, Vec<NodeId>> {
        let mut by_node: BTreeMap<NodeId, Vec<ChunkId>> = BTreeMap::new();
        for candidate in batch {
            candidate.others.iter().for_each(|node| by_node.entry(*node).or_default().push(candidate.chunk));
        }
        let asked = by_node.iter().map(|(node, ids)| self.inspect(*node, ids.clone()));
        let mut good: BTreeMap<ChunkId, Vec<NodeId>> = BTreeMap::new();
        for ((node, ids), copies) in by_node.iter().zip(futures::future::join_all(asked).await) {
            for (id, copy) in ids.iter().zip(copies.unwrap_or_default()) {
                if matches!(copy, Copy::Whole { .. }) {
                    good.entry(*id).or_default().push(*node);
                }
            }
        }
        good
    }

    /// Gives how copies look to a node that reads them whole; nothing if it does not answer.
    pub(super) async fn inspect(&self, node: NodeId, ids: Vec<ChunkId>) -> Option<Vec<Copy>> {
        let peer = self.0.holders.address(node)?;
        let (count, request) = (ids.len(), InspectRequest { ids, verify: true });
        let asked = self.0.peers.post(Lane::Control, &peer, route::PEER_INSPECT, &request, VERIFY_DEADLINE).await;
        let answer: Option<Vec<Copy>> =
            asked.inspect_err(|error| tracing::warn!(%node, %error, "node does not say how its copies look")).ok();
        answer.filter(|copies| copies.len() == count)
    }
}

/// Chooses the copy that may go, and those that have to be good for it.
fn candidate(fleet: &Fleet, chunk: ChunkId, holders: &[NodeId], wanted: usize) -> Option<Candidate> {
    let from = fleet.least_needed(chunk, holders, wanted)?;
    let corrupt = fleet.is_corrupt(chunk, from);
    let gives = |node: &&NodeId| **node != from && fleet.gives(chunk, **node) && fleet.counts(chunk, **node);
    let others: Vec<NodeId> = holders.iter().filter(gives).take(if corrupt { 1 } else { wanted }).copied().collect();
    // The rule counts as well; this only spares the reading.
    let enough = others.len() >= if corrupt { 1 } else { wanted };
    enough.then_some(Candidate { chunk, from, corrupt, others })
}
