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

use crate::placement::{self, Candidate};

/// How often a node sends its statistics.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// A node that was silent for three heartbeats gets no new chunks.
pub const SILENT_AFTER: Duration = Duration::from_millis(1600);
/// The most chunks that one request places.
pub const PLACE_COUNT_MAX: u32 = 64;

struct Seen {
    heartbeat: Heartbeat,
    at: Instant,
    reserved_bytes: u64,
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
        let seen = Seen { at: self.clock.now(), reserved_bytes: 0, heartbeat };
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

    /// Chooses nodes for new chunks, `replicas` for each.
    #[must_use]
    pub fn place(&self, request: &PlaceRequest, replicas: usize) -> PlaceAnswer {
        let now = self.clock.now();
        let mut nodes = self.lock();
        let mut candidates: Vec<Candidate> = nodes
            .values()
            .filter(|seen| now.duration_since(seen.at) < SILENT_AFTER)
            .filter(|seen| !request.avoid.contains(&seen.heartbeat.node))
            .map(|seen| Candidate {
                node: seen.heartbeat.node,
                zone: seen.heartbeat.zone.clone(),
                stats: seen.heartbeat.stats.clone(),
                reserved_bytes: seen.reserved_bytes,
            })
            .collect();
        let eligible = candidates.iter().filter(|c| c.takes(request.chunk_bytes)).count();
        let spacious = candidates.iter().filter(|c| c.has_space(request.chunk_bytes)).count();
        let full = eligible < replicas && spacious < replicas && candidates.len() >= replicas;
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
