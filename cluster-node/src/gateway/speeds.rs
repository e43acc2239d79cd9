//! How fast the nodes gave pieces lately, and so who is asked first; the soft state of one gateway.
//!
//! Must not know what a piece is or how it is asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_api::NodeId;
use flotilla_env::Clock;
use tokio::time::Instant;

/// How long a node that stalled is asked last: long enough that a big download does not meet it at every piece.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// An estimate older than this counts no more, so that a node that was slow once is tried again.
const ESTIMATE_FOR: Duration = Duration::from_secs(10);
/// What a node is thought to need for a piece before it gave one: a megabyte over a fast network.
const UNKNOWN_US: f64 = 1000.0;
/// How much a new sample weighs: some ten pieces show a change.
const SMOOTHING: f64 = 0.2;
/// How many nodes are remembered; a cluster has fewer, and more would only mean that ids were made up.
const NODES_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Speed {
    piece_us: f64,
    sampled: Option<Instant>,
    in_flight: u32,
    slow_until: Option<Instant>,
}

/// The speeds of nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Speeds {
    nodes: Arc<Mutex<HashMap<NodeId, Speed>>>,
    clock: Arc<dyn Clock>,
}

/// A node that is being asked; counts as its load until dropped.
#[derive(Debug)]
pub struct Asked {
    speeds: Speeds,
    node: NodeId,
    began: Instant,
}

impl Speeds {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { nodes: Arc::default(), clock }
    }

    /// Sorts nodes: those that did not stall lately first, then by the time that they need for what they have to do.
    pub fn order(&self, nodes: &mut [NodeId]) {
        let now = self.clock.now();
        let known = self.lock();
        let cost = |node: &NodeId| known.get(node).map_or((false, UNKNOWN_US), |speed| speed.cost(now));
        nodes.sort_by(|a, b| {
            let ((a_slow, a_us), (b_slow, b_us)) = (cost(a), cost(b));
            a_slow.cmp(&b_slow).then(a_us.total_cmp(&b_us))
        });
    }

    /// Whether a node stalled lately.
    #[must_use]
    pub fn is_slow(&self, node: NodeId) -> bool {
        let known = self.lock();
        known.get(&node).is_some_and(|speed| speed.slow_until.is_some_and(|until| self.clock.now() < until))
    }

    /// Notes that a node is asked for a piece.
    #[must_use]
    pub fn ask(&self, node: NodeId) -> Asked {
        self.with(node, |speed| speed.in_flight += 1);
        Asked { speeds: self.clone(), node, began: self.clock.now() }
    }

    /// Notes that a node made no progress for too long.
    pub fn stalled(&self, node: NodeId) {
        let until = self.clock.now() + SLOW_FOR;
        tracing::warn!(%node, slow_for_s = SLOW_FOR.as_secs(), "node is slow, others are asked first");
        self.with(node, |speed| speed.slow_until = Some(until));
    }

    fn with(&self, node: NodeId, change: impl FnOnce(&mut Speed)) {
        let mut known = self.lock();
        if known.len() < NODES_MAX || known.contains_key(&node) {
            change(known.entry(node).or_default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Speed>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Speed {
    fn cost(&self, now: Instant) -> (bool, f64) {
        let fresh = self.sampled.is_some_and(|at| now.saturating_duration_since(at) < ESTIMATE_FOR);
        let piece_us = if fresh { self.piece_us } else { UNKNOWN_US };
        (self.slow_until.is_some_and(|until| now < until), piece_us * f64::from(self.in_flight + 1))
    }
}

impl Asked {
    /// Notes that the node gave the piece.
    pub fn gave(self) {
        let now = self.speeds.clock.now();
        let took_us = now.saturating_duration_since(self.began).as_micros() as f64;
        self.speeds.with(self.node, |speed| {
            let first = speed.sampled.is_none_or(|at| now.saturating_duration_since(at) >= ESTIMATE_FOR);
            speed.piece_us = if first { took_us } else { speed.piece_us + SMOOTHING * (took_us - speed.piece_us) };
            speed.sampled = Some(now);
        });
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.speeds.with(self.node, |speed| speed.in_flight = speed.in_flight.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use flotilla_env::clock;

    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[track_caller]
    fn check(speeds: &Speeds, wanted: [NodeId; 2]) {
        let mut nodes = [B, A];
        speeds.order(&mut nodes);
        assert_eq!(nodes, wanted);
    }

    async fn give(speeds: &Speeds, node: NodeId, took: Duration) {
        let asked = speeds.ask(node);
        tokio::time::advance(took).await;
        asked.gave();
    }

    #[tokio::test(start_paused = true)]
    async fn the_faster_and_less_busy_node_is_asked_first() {
        let speeds = Speeds::new(clock::system());
        check(&speeds, [B, A]);
        give(&speeds, A, Duration::from_micros(200)).await;
        give(&speeds, B, Duration::from_micros(300)).await;
        check(&speeds, [A, B]);
        let under_way = [speeds.ask(A), speeds.ask(A)];
        check(&speeds, [B, A]);
        drop(under_way);
        check(&speeds, [A, B]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stalled_is_asked_last_for_a_while() {
        let speeds = Speeds::new(clock::system());
        give(&speeds, A, Duration::from_micros(200)).await;
        give(&speeds, B, Duration::from_millis(500)).await;
        speeds.stalled(A);
        check(&speeds, [B, A]);
        assert!(speeds.is_slow(A));
        tokio::time::advance(SLOW_FOR).await;
        assert!(!speeds.is_slow(A));
        check(&speeds, [B, A]); // both estimates are old: the order given stays
        give(&speeds, B, Duration::from_millis(500)).await;
        check(&speeds, [A, B]);
    }
}
