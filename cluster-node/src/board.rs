//! What the leader knows of its nodes from heartbeats: soft state, gone with the leader.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flotilla_api::{
    ChunkId, NodeId,
    peer::{Heartbeat, NodeReport, PlaceAnswer, PlaceRequest},
};
use flotilla_env::{Clock, Entropy};
use metrics::Gauge;
use tokio::time::Instant;

/// A node that was silent for three heartbeats gets no new chunks.
pub use flotilla_member::membership::SILENT_AFTER;

use crate::placement::{self, Candidate};

/// How often a node sends its statistics.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// A process that told nothing for so long was asleep, or cut off.
const ASLEEP: Duration = Duration::from_secs(5);
/// The most chunks that one request places.
pub const PLACE_COUNT_MAX: u32 = 64;

/// How long a node that failed a gateway is passed by for all of them, as long as there are others.
const SUSPECT_FOR: Duration = Duration::from_secs(2);

struct Seen {
    heartbeat: Heartbeat,
    at: Instant,
    /// Since when it was never silent for [`ASLEEP`].
    steady_since: Instant,
    reserved_bytes: u64,
    suspect_until: Option<Instant>,
}

impl Seen {
    fn candidate(&self) -> Candidate {
        Candidate {
            node: self.heartbeat.node,
            zone: self.heartbeat.zone.clone(),
            stats: self.heartbeat.stats.clone(),
            reserved_bytes: self.reserved_bytes,
        }
    }
}

/// A node as its leader knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// What placement goes by.
    pub candidate: Candidate,
    /// How long ago it was heard of.
    pub silent_for: Duration,
}

/// The nodes as their leader sees them. Cheap to clone.
#[derive(Clone)]
pub struct Board {
    nodes: Arc<Mutex<BTreeMap<NodeId, Seen>>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    corrupt_copies: Gauge,
}

impl Board {
    /// Makes an empty board.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { nodes: Arc::default(), clock, entropy, corrupt_copies: metrics::gauge!("flotilla_corrupt_copies_told") }
    }

    /// Takes a node's heartbeat.
    pub fn heard(&self, heartbeat: Heartbeat) {
        // A heartbeat says that the node lives, not that a gateway can reach it.
        let now = self.clock.now();
        let (suspect_until, steady_since) = match self.lock().get(&heartbeat.node) {
            Some(seen) if now.duration_since(seen.at) < ASLEEP => (seen.suspect_until, seen.steady_since),
            Some(seen) => (seen.suspect_until, now),
            None => (None, now),
        };
        let seen = Seen { at: now, steady_since, reserved_bytes: 0, suspect_until, heartbeat };
        let (node, told) = (seen.heartbeat.node, seen.heartbeat.corrupt.len());
        let before = self.lock().insert(node, seen).map_or(0, |before| before.heartbeat.corrupt.len());
        if told > before {
            tracing::warn!(%node, copies = told, "node has damaged copies");
        }
        self.corrupt_copies.set(self.corrupt().len() as f64);
    }

    /// Gives the damaged copies that nodes have told of.
    ///
    /// # Bounds
    /// [`flotilla_api::peer::CORRUPT_TOLD_MAX`] per node.
    #[must_use]
    pub fn corrupt(&self) -> Vec<(ChunkId, NodeId)> {
        let nodes = self.lock();
        let told = nodes.values().map(|seen| &seen.heartbeat);
        told.flat_map(|heartbeat| heartbeat.corrupt.iter().map(|chunk| (*chunk, heartbeat.node))).collect()
    }

    /// Forgets nodes that are no longer members.
    pub fn keep(&self, members: impl Fn(NodeId) -> bool) {
        self.lock().retain(|id, _| members(*id));
    }

    /// Notes a gateway's suspects and chooses nodes for its new chunks.
    ///
    /// What one gateway suspects is passed by for all, but never so that too few are left: it may be the gateway that is ill.
    #[must_use]
    pub fn place(&self, request: &PlaceRequest) -> PlaceAnswer {
        let now = self.clock.now();
        let replicas = request.replicas as usize;
        let mut nodes = self.lock();
        for id in &request.suspects {
            if let Some(seen) = nodes.get_mut(id) {
                seen.suspect_until = Some(now + SUSPECT_FOR);
            }
        }
        let heard: Vec<&Seen> = nodes.values().filter(|seen| now.duration_since(seen.at) < SILENT_AFTER).collect();
        let takes = |seen: &&&Seen| seen.candidate().takes(request.chunk_bytes);
        let may = |seen: &&&Seen| !request.avoid.contains(&seen.heartbeat.node);
        let trusted = |seen: &&&Seen| seen.suspect_until.is_none_or(|until| until <= now);
        let eligible = heard.iter().filter(may).filter(takes).count();
        let enough = heard.iter().filter(may).filter(takes).filter(trusted).count() >= replicas;
        let mut candidates: Vec<Candidate> =
            heard.iter().filter(may).filter(|seen| !enough || trusted(seen)).map(|seen| seen.candidate()).collect();
        // Space is the reason when every node that has some would do, and there are too few of those.
        let spacious = heard.iter().filter(|seen| seen.candidate().has_space(request.chunk_bytes)).count();
        let taking = heard.iter().filter(takes).count();
        let full = eligible < replicas && spacious == taking && spacious < heard.len();
        let mut answer = PlaceAnswer { chunks: Vec::new(), eligible: eligible as u32, full };
        for _ in 0..request.count.min(PLACE_COUNT_MAX) {
            let chance = || self.entropy.u64() as f64 / u64::MAX as f64;
            let chosen = placement::choose(&candidates, request.gateway, request.chunk_bytes, replicas, chance);
            if chosen.len() < replicas {
                break;
            }
            for candidate in candidates.iter_mut().filter(|c| chosen.contains(&c.node)) {
                candidate.reserved_bytes += request.chunk_bytes;
            }
            let with_address = |id: &NodeId| nodes.get(id).map(|seen| (*id, seen.heartbeat.peer.clone()));
            answer.chunks.push(chosen.iter().filter_map(with_address).collect());
        }
        for candidate in candidates {
            if let Some(seen) = nodes.get_mut(&candidate.node) {
                seen.reserved_bytes = candidate.reserved_bytes;
            }
        }
        answer
    }

    /// For how long a node was heard of without a pause; asked of the leader itself, for how long it knows what it knows: one that
    /// slept has heard nobody.
    #[must_use]
    pub fn steady_for(&self, node: NodeId) -> Duration {
        let now = self.clock.now();
        match self.lock().get(&node) {
            Some(seen) if now.duration_since(seen.at) < ASLEEP => now.duration_since(seen.steady_since),
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Gives what is known of every node heard of.
    #[must_use]
    pub fn roll(&self) -> Vec<Known> {
        let now = self.clock.now();
        let known = |seen: &Seen| Known { candidate: seen.candidate(), silent_for: now.duration_since(seen.at) };
        self.lock().values().map(known).collect()
    }

    /// Gives every node heard of, for the cluster's report.
    #[must_use]
    pub fn reports(&self) -> Vec<NodeReport> {
        let now = self.clock.now();
        let report = |seen: &Seen| NodeReport {
            id: seen.heartbeat.node,
            peer: seen.heartbeat.peer.clone(),
            public: seen.heartbeat.public.clone(),
            zone: seen.heartbeat.zone.clone(),
            alive: now.duration_since(seen.at) < SILENT_AFTER,
            stats: seen.heartbeat.stats.clone(),
        };
        self.lock().values().map(report).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Seen>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_env::{clock, entropy};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_slept_knows_nothing_from_before() {
        let board = Board::new(clock::system(), entropy::seeded(1));
        let own = NodeId(1);
        let beat = || Heartbeat {
            uuid: uuid::Uuid::nil(),
            node: own,
            peer: String::new(),
            public: String::new(),
            zone: None,
            stats: Default::default(),
            corrupt: Vec::new(),
        };
        assert_eq!(board.steady_for(own), Duration::ZERO, "never heard");
        for _ in 0..20 {
            board.heard(beat());
            tokio::time::advance(HEARTBEAT_EVERY).await;
        }
        assert_eq!(board.steady_for(own), 20 * HEARTBEAT_EVERY);
        tokio::time::advance(ASLEEP).await;
        assert_eq!(board.steady_for(own), Duration::ZERO, "it has not even told itself that it is awake");
        board.heard(beat());
        tokio::time::advance(HEARTBEAT_EVERY).await;
        assert_eq!(board.steady_for(own), HEARTBEAT_EVERY);
    }
}
