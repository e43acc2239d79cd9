//! Where new chunks go: a pure choice over the nodes' last statistics.

use flotilla_api::{NodeId, peer::NodeStats};

/// Bytes in flight at which a node counts for half.
const INFLIGHT_HALF_BYTES: f64 = (64 << 20) as f64;
/// Requests under way at which a node counts for half: two a core of a small machine, each with its own chunk.
const REQUESTS_HALF: f64 = 64.0;
/// Sync time at which a node counts for half, in microseconds.
const SYNC_HALF_US: f64 = 20_000.0;
/// The least weight of an eligible node, so that a busy one still gets a share and its statistics stay alive.
const WEIGHT_MIN: f64 = 0.02;
/// The least share of the disk that stays free for Raft, repair and the file system itself.
const FREE_SHARE_MIN: f64 = 0.05;

/// A node that could take a chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its failure domain; a node without a zone is one of its own.
    pub zone: Option<String>,
    /// Its last statistics.
    pub stats: NodeStats,
    /// Bytes placed on it since those statistics.
    pub reserved_bytes: u64,
}

impl Candidate {
    /// Whether a chunk of `bytes` can go here: asked for, and with space left after everything already placed.
    #[must_use]
    pub fn takes(&self, bytes: u64) -> bool {
        self.stats.accepts_chunks && self.has_space(bytes)
    }

    /// Whether there is space for a chunk of `bytes`.
    #[must_use]
    pub fn has_space(&self, bytes: u64) -> bool {
        let left = self.stats.disk_free_bytes.saturating_sub(self.reserved_bytes.saturating_add(bytes));
        !self.stats.full && left as f64 >= self.stats.disk_total_bytes as f64 * FREE_SHARE_MIN
    }

    /// How good a target the node is; higher is better.
    #[must_use]
    pub fn weight(&self) -> f64 {
        let cpu = f64::from(1.0 - self.stats.cpu_busy.clamp(0.0, 1.0));
        let share = |free: u64, total: u64| if total == 0 { 1.0 } else { free as f64 / total as f64 };
        let memory = share(self.stats.memory_free_bytes, self.stats.memory_total_bytes).clamp(0.0, 1.0);
        let free = self.stats.disk_free_bytes.saturating_sub(self.reserved_bytes);
        let disk = share(free, self.stats.disk_total_bytes).clamp(0.0, 1.0);
        let inflight = 1.0 / (1.0 + self.stats.inflight_bytes as f64 / INFLIGHT_HALF_BYTES);
        let requests = 1.0 / (1.0 + f64::from(self.stats.requests) / REQUESTS_HALF);
        let sync = 1.0 / (1.0 + f64::from(self.stats.sync_us) / SYNC_HALF_US);
        // Half of the weight never depends on the load, which is known late: a herd would follow it.
        ((0.5 + 0.5 * cpu) * (0.5 + 0.5 * memory) * disk * inflight * requests * sync).max(WEIGHT_MIN)
    }
}

/// Chooses `replicas` distinct nodes for one chunk, `gateway` first if it can take it, the others by weighted chance, in
/// distinct zones as far as there are any.
///
/// `chance` gives numbers from 0 to 1, one per node to choose. Gives fewer than `replicas` nodes if there are no more.
pub fn choose(
    candidates: &[Candidate],
    gateway: NodeId,
    bytes: u64,
    replicas: usize,
    mut chance: impl FnMut() -> f64,
) -> Vec<NodeId> {
    let mut left: Vec<&Candidate> = candidates.iter().filter(|c| c.takes(bytes)).collect();
    let mut chosen: Vec<&Candidate> = Vec::with_capacity(replicas);
    if let Some(at) = left.iter().position(|c| c.node == gateway) {
        chosen.push(left.swap_remove(at));
    }
    while chosen.len() < replicas {
        let taken: Vec<&str> = chosen.iter().filter_map(|c| c.zone.as_deref()).collect();
        let Some(at) = pick(&left, &taken, chance()) else { break };
        chosen.push(left.swap_remove(at));
    }
    chosen.into_iter().take(replicas).map(|c| c.node).collect()
}

/// Chooses a node for one more copy of a chunk by weighted chance, outside the zones of its other copies if there is one there.
pub fn choose_one<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    zones: &[&str],
    bytes: u64,
    chance: f64,
) -> Option<NodeId> {
    let left: Vec<&Candidate> = candidates.filter(|c| c.takes(bytes)).collect();
    pick(&left, zones, chance).map(|at| left[at].node)
}

/// Picks one of `left`, in a zone that is not `taken` if there is one.
fn pick(left: &[&Candidate], taken: &[&str], chance: f64) -> Option<usize> {
    let fresh = |c: &&Candidate| c.zone.as_deref().is_none_or(|zone| !taken.contains(&zone));
    let spread = left.iter().any(fresh);
    let pool: Vec<usize> = (0..left.len()).filter(|&n| !spread || fresh(&left[n])).collect();
    let total: f64 = pool.iter().map(|&n| left[n].weight()).sum();
    let mut mark = chance.clamp(0.0, 1.0) * total;
    for &n in &pool {
        mark -= left[n].weight();
        if mark <= 0.0 {
            return Some(n);
        }
    }
    pool.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> Candidate {
        let stats = NodeStats {
            cpu_busy: 0.1,
            memory_free_bytes: 8 << 30,
            memory_total_bytes: 16 << 30,
            disk_free_bytes: 50 << 30,
            disk_total_bytes: 100 << 30,
            accepts_chunks: true,
            ..NodeStats::default()
        };
        Candidate { node: NodeId(id), zone: None, stats, reserved_bytes: 0 }
    }

    fn shares(candidates: &[Candidate], gateway: u64) -> Vec<usize> {
        let mut counts = vec![0; candidates.len() + 1];
        for n in 0..1000 {
            for id in choose(candidates, NodeId(gateway), 1 << 20, 2, || f64::from(n) / 1000.0) {
                counts[id.0 as usize] += 1;
            }
        }
        counts
    }

    #[test]
    fn gateway_is_the_first_replica_when_it_is_eligible() {
        let nodes = [node(1), node(2), node(3)];
        assert_eq!(choose(&nodes, NodeId(2), 1, 2, || 0.3)[0], NodeId(2));
        let mut nodes = nodes;
        nodes[1].stats.accepts_chunks = false;
        assert_eq!(choose(&nodes, NodeId(2), 1, 2, || 0.3).len(), 2);
        assert!(!choose(&nodes, NodeId(2), 1, 2, || 0.3).contains(&NodeId(2)));
    }

    #[test]
    fn the_less_loaded_node_gets_more_and_the_busy_one_still_some() {
        let mut nodes = [node(1), node(2), node(3)];
        nodes[2].stats.cpu_busy = 0.95;
        nodes[2].stats.inflight_bytes = 256 << 20;
        let counts = shares(&nodes, 1);
        assert!(counts[2] > 3 * counts[3], "{counts:?}");
        assert!(counts[3] > 0, "{counts:?}");
    }

    #[test]
    fn requests_under_way_count() {
        let mut nodes = [node(1), node(2), node(3)];
        nodes[2].stats.requests = 640;
        let counts = shares(&nodes, 1);
        assert!(counts[2] > 5 * counts[3], "{counts:?}");
    }

    #[test]
    fn full_or_reserved_nodes_take_nothing() {
        let mut nodes = [node(1), node(2), node(3)];
        nodes[1].reserved_bytes = 46 << 30;
        nodes[2].stats.disk_free_bytes = 4 << 30;
        assert_eq!(choose(&nodes, NodeId(1), 1 << 20, 2, || 0.5), [NodeId(1)]);
    }

    #[test]
    fn zones_are_kept_apart_while_there_are_enough() {
        let mut nodes = [node(1), node(2), node(3)];
        nodes[0].zone = Some("x".into());
        nodes[1].zone = Some("x".into());
        nodes[2].zone = Some("y".into());
        for n in 0..10 {
            assert_eq!(choose(&nodes, NodeId(1), 1, 2, || f64::from(n) / 10.0), [NodeId(1), NodeId(3)]);
        }
        assert_eq!(choose(&nodes, NodeId(1), 1, 3, || 0.5).len(), 3);
    }
}
