//! The end of copies that are too many: others are verified first, then the log is told which copy goes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use flotilla_api::{
    ChunkId, NodeId,
    peer::{Copy, Inspect, InspectRequest},
    route,
};
use flotilla_client::Lane;
use metrics::counter;
use tokio_util::task::AbortOnDropHandle;

use super::{Error, Repair, fleet::Fleet, survey::Found};
use crate::metadata::{
    heal::{Answer, Command, Surplus},
    rows::ChunkRef,
};

/// Chunks of one batch, and its bytes: every copy that stays is read.
const BATCH: usize = 64;
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// How long a node may take to read its part of a batch, at the pace that its clients leave it: with the least pace of a
/// `repair_rate` of 5 MiB a second it is done.
const VERIFY_DEADLINE: Duration = Duration::from_secs(120);

/// A chunk and the nodes whose copies of it are good.
type Verified = (ChunkId, Vec<NodeId>);

/// A copy that may go if the others are good.
struct Candidate {
    chunk: ChunkId,
    /// What the others must be; if that is not known, they must be the same.
    facts: Option<Facts>,
    from: NodeId,
    corrupt: bool,
    others: Vec<NodeId>,
    /// How many of them must be good.
    needed: usize,
}

/// Length and hash of a chunk.
type Facts = (u64, [u8; 32]);

impl Repair {
    /// Begins to drop one batch of copies that are too many. The task gives whether the log was told of any; dropped, it ends.
    pub(super) fn drop_copies(
        &self,
        fleet: &Fleet,
        surplus: &mut VecDeque<Found>,
    ) -> AbortOnDropHandle<Result<bool, Error>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH && bytes < BATCH_BYTES_MAX {
            let Some(Found { chunk, holders, .. }) = surplus.pop_front() else { break };
            bytes += u64::from(chunk.length);
            batch.extend(candidate(fleet, chunk, &holders, self.0.replicas));
        }
        let this = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move { this.tell_drops(batch).await }))
    }

    /// Drops copies on this node's disk that no metadata names, where another one is good: one batch of them.
    ///
    /// # Errors
    /// [`Error`]; what was not dropped is found again.
    pub async fn drop_own(&self, ids: Vec<ChunkId>) -> Result<(), Error> {
        flotilla_env::failpoint!("repair.drop_own", |_| Ok(()));
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for chunk in ids.into_iter().take(BATCH) {
            let Ok(place) = self.0.store.locate(chunk).await else { continue };
            bytes += place.length;
            let others = self.0.metadata.replicas_of(chunk)?;
            batch.push(Candidate { chunk, facts: None, from: self.0.node, corrupt: false, others, needed: 1 });
            if bytes >= BATCH_BYTES_MAX {
                break;
            }
        }
        self.tell_drops(batch).await?;
        Ok(())
    }

    /// Verifies the copies that stay and tells the log which ones go; true if there were any.
    async fn tell_drops(&self, batch: Vec<Candidate>) -> Result<bool, Error> {
        let mut found = self.verify(&batch).await;
        let mut drops: BTreeMap<(NodeId, bool), Vec<Verified>> = BTreeMap::new();
        for candidate in batch {
            let good = candidate.good(found.remove(&candidate.chunk).unwrap_or_default());
            if good.len() >= candidate.needed {
                drops.entry((candidate.from, candidate.corrupt)).or_default().push((candidate.chunk, good));
            }
        }
        let mut told = false;
        for ((node, corrupt), ids) in drops {
            let keep = u8::try_from(self.0.replicas).unwrap_or(u8::MAX);
            let why = if corrupt { Surplus::Corrupt } else { Surplus::Many { keep } };
            flotilla_env::failpoint!("repair.before_drop", |_| Err(crate::metadata::read::Error::from(
                flotilla_raft_store::Error::NoLeader
            )
            .into()));
            if let Answer::Done { count, .. } = self.step(Command::DropReplicas { node, why, ids }).await? {
                counter!("flotilla_replicas_dropped_total").increment(count.into());
                told |= count > 0;
            }
        }
        Ok(told)
    }

    /// Asks the other holders to read their copies, and gives what those that are whole say of themselves.
    async fn verify(&self, batch: &[Candidate]) -> BTreeMap<ChunkId, Vec<(NodeId, Facts)>> {
        let mut by_node: BTreeMap<NodeId, Vec<ChunkId>> = BTreeMap::new();
        for candidate in batch {
            candidate.others.iter().for_each(|node| by_node.entry(*node).or_default().push(candidate.chunk));
        }
        let asked = by_node.iter().map(|(node, ids)| self.inspect(*node, ids.clone()));
        let mut whole: BTreeMap<ChunkId, Vec<(NodeId, Facts)>> = BTreeMap::new();
        for ((node, ids), copies) in by_node.iter().zip(futures::future::join_all(asked).await) {
            for (id, copy) in ids.iter().zip(copies.unwrap_or_default()) {
                if let Copy::Whole { length, cv, .. } = copy {
                    whole.entry(*id).or_default().push((*node, (length, cv)));
                }
            }
        }
        whole
    }

    /// Gives how copies look to a node that reads them whole; nothing if it does not answer.
    async fn inspect(&self, node: NodeId, ids: Vec<ChunkId>) -> Option<Vec<Copy>> {
        let peer = self.0.holders.address(node)?;
        let (count, request) = (ids.len(), InspectRequest { ids, depth: Inspect::Paced });
        let asked = self.0.peers.post(Lane::Control, &peer, route::PEER_INSPECT, &request, VERIFY_DEADLINE).await;
        let answer: Option<Vec<Copy>> =
            asked.inspect_err(|error| tracing::warn!(%node, %error, "node does not say how its copies look")).ok();
        answer.filter(|copies| copies.len() == count)
    }
}

impl Candidate {
    /// Gives the nodes whose copies are the chunk. A copy that is whole may still be another chunk's.
    fn good(&self, found: Vec<(NodeId, Facts)>) -> Vec<NodeId> {
        let Some(wanted) = self.facts.or_else(|| found.first().map(|(_, facts)| *facts)) else { return Vec::new() };
        if self.facts.is_none() && found.iter().any(|(_, facts)| *facts != wanted) {
            return Vec::new();
        }
        found.into_iter().filter(|(_, facts)| *facts == wanted).map(|(node, _)| node).collect()
    }
}

/// Chooses the copy that may go, and those that have to be good for it.
fn candidate(fleet: &Fleet, chunk: ChunkRef, holders: &[NodeId], wanted: usize) -> Option<Candidate> {
    let from = fleet.least_needed(chunk.id, holders, wanted)?;
    let corrupt = fleet.is_corrupt(chunk.id, from);
    let needed = if corrupt { 1 } else { wanted };
    let gives = |node: &&NodeId| **node != from && fleet.gives(chunk.id, **node) && fleet.counts(chunk.id, **node);
    let others: Vec<NodeId> = holders.iter().filter(gives).take(needed).copied().collect();
    let facts = Some((u64::from(chunk.length), chunk.cv));
    (others.len() >= needed).then_some(Candidate { chunk: chunk.id, facts, from, corrupt, others, needed })
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;

    use super::*;

    #[test]
    fn only_copies_that_are_the_chunk_are_good() {
        let (right, wrong) = ((3, [1; 32]), (3, [2; 32]));
        let id = ChunkId { writer: WriterId(1), seq: 1 };
        let with =
            |facts| Candidate { chunk: id, facts, from: NodeId(9), corrupt: false, others: Vec::new(), needed: 2 };
        let found = |of: &[(u64, Facts)]| of.iter().map(|(node, facts)| (NodeId(*node), *facts)).collect::<Vec<_>>();
        let good = |facts, of: &[(u64, Facts)]| with(facts).good(found(of)).iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(good(Some(right), &[(1, right), (2, wrong), (3, right)]), [1, 3]);
        assert_eq!(good(Some(right), &[(1, (4, [1; 32]))]), [0; 0], "another length");
        assert_eq!(good(None, &[(1, right), (2, right)]), [1, 2]);
        assert_eq!(good(None, &[(1, right), (2, wrong)]), [0; 0], "who is right is not known here");
        assert_eq!(good(None, &[]), [0; 0]);
    }
}
