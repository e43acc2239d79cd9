//! The nodes as repair counts on them: who may hold a copy that counts, who can give one, who can take one. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use flotilla_api::{ChunkId, NodeId};

use super::balance::{Load, Moves};
use crate::{
    board::{Known, SILENT_AFTER},
    placement::{Candidate, choose_one},
};

/// How a node stands with its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Heard lately.
    Up,
    /// Silent, and not for so long that its copies have to be made anew.
    Silent,
    /// Silent past the grace period, or no member: its copies do not count.
    Down,
}

#[derive(Clone)]
struct Node {
    standing: Standing,
    candidate: Option<Candidate>,
}

/// The nodes of a cluster at one moment.
#[derive(Clone)]
pub struct Fleet {
    nodes: BTreeMap<NodeId, Node>,
    corrupt: HashSet<(ChunkId, NodeId)>,
    draining: BTreeSet<NodeId>,
}

/// What a survey depends on: if it changes, what was found before may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// Nodes whose copies count.
    pub counted: BTreeSet<NodeId>,
    sources: BTreeSet<NodeId>,
    takers: BTreeSet<NodeId>,
    corrupt: BTreeSet<(ChunkId, NodeId)>,
}

impl Fleet {
    /// Judges the members by what their leader of `led_for` knows: nobody is silent for longer than it has led.
    pub fn new(
        members: impl IntoIterator<Item = NodeId>,
        known: Vec<Known>,
        led_for: Duration,
        grace: Duration,
        corrupt: Vec<(ChunkId, NodeId)>,
        draining: BTreeSet<NodeId>,
    ) -> Self {
        let mut known: BTreeMap<NodeId, Known> = known.into_iter().map(|known| (known.candidate.node, known)).collect();
        let node = |id: NodeId| {
            let known = known.remove(&id);
            let standing = match &known {
                Some(known) if known.silent_for < SILENT_AFTER => Standing::Up,
                Some(known) if known.silent_for.min(led_for) < grace => Standing::Silent,
                None if led_for < grace => Standing::Silent,
                Some(_) | None => Standing::Down,
            };
            (id, Node { standing, candidate: known.map(|known| known.candidate) })
        };
        let corrupt = corrupt.into_iter().collect();
        Self { nodes: members.into_iter().map(node).collect(), corrupt, draining }
    }

    /// What surveys depend on.
    pub fn shape(&self) -> Shape {
        let all = |test: &dyn Fn(&Node) -> bool| {
            self.nodes.iter().filter(|(_, node)| test(node)).map(|(id, _)| *id).collect::<BTreeSet<_>>()
        };
        Shape {
            counted: &all(&|node| node.standing != Standing::Down) - &self.draining,
            sources: all(&|node| node.standing == Standing::Up),
            takers: all(&|node| node.takes(0)),
            corrupt: self.corrupt.iter().copied().collect(),
        }
    }

    /// How a node stands; one that is no member is down.
    pub fn standing(&self, node: NodeId) -> Standing {
        self.nodes.get(&node).map_or(Standing::Down, |node| node.standing)
    }

    /// Whether a node is a member.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Whether a node can get copies now.
    pub fn takes(&self, node: NodeId) -> bool {
        !self.draining.contains(&node) && self.nodes.get(&node).is_some_and(|node| node.takes(0))
    }

    /// Whether a node told that its copy is damaged or gone.
    pub fn is_corrupt(&self, chunk: ChunkId, node: NodeId) -> bool {
        self.corrupt.contains(&(chunk, node))
    }

    /// Whether a copy is of no use once there are enough others: its node is no member or drains, or it is damaged.
    pub fn is_useless(&self, chunk: ChunkId, node: NodeId) -> bool {
        !self.is_member(node) || self.draining.contains(&node) || self.is_corrupt(chunk, node)
    }

    /// Whether a node's copy counts as one.
    pub fn counts(&self, chunk: ChunkId, node: NodeId) -> bool {
        self.standing(node) != Standing::Down && !self.is_useless(chunk, node)
    }

    /// Whether a node can give its copy now.
    pub fn gives(&self, chunk: ChunkId, node: NodeId) -> bool {
        self.standing(node) == Standing::Up && !self.is_corrupt(chunk, node)
    }

    /// Chooses a node for one more copy of a chunk that `holders` are named for.
    pub fn choose(&self, chunk: ChunkId, bytes: u64, holders: &[NodeId], chance: f64) -> Option<NodeId> {
        let zone = |id: &NodeId| self.nodes.get(id)?.candidate.as_ref()?.zone.as_deref();
        let zones: Vec<&str> = holders.iter().filter(|id| self.counts(chunk, **id)).filter_map(zone).collect();
        let free = self.nodes.iter().filter(|(id, node)| {
            node.standing == Standing::Up && !holders.contains(id) && !self.is_useless(chunk, **id)
        });
        choose_one(free.filter_map(|(_, node)| node.candidate.as_ref()), &zones, bytes, chance)
    }

    /// What should move so that all nodes are filled alike; nothing while one of them is not up.
    pub fn moves(&self) -> Moves {
        if self.nodes.values().any(|node| node.standing != Standing::Up) {
            return Moves::default();
        }
        let takes = self.nodes.iter().filter(|(id, _)| self.takes(**id));
        let loads: Vec<Load> = takes.filter_map(|(_, node)| node.candidate.as_ref()).map(load).collect();
        Moves::new(&loads)
    }

    /// Whether the copies of a chunk lie in as many zones when `to` has the one of `from`.
    pub fn can_replace(&self, holders: &[NodeId], from: NodeId, to: NodeId) -> bool {
        let zone = |id: &NodeId| self.nodes.get(id)?.candidate.as_ref()?.zone.as_deref();
        let Some(new) = zone(&to) else { return true };
        zone(&from) == Some(new) || !holders.iter().any(|id| *id != from && zone(id) == Some(new))
    }

    /// Counts bytes that are planned for a node.
    pub fn reserve(&mut self, node: NodeId, bytes: u64) {
        if let Some(candidate) = self.nodes.get_mut(&node).and_then(|node| node.candidate.as_mut()) {
            candidate.reserved_bytes += bytes;
        }
    }

    /// Gives the holder whose copy is needed least: one that is damaged, one that is no member, one whose node drains, else that
    /// of the fullest disk whose zone another copy is in too, if there is one.
    pub fn least_needed(&self, chunk: ChunkId, holders: &[NodeId], wanted: usize) -> Option<NodeId> {
        // A damaged copy first: it needs one good copy only, and may hold the only free place.
        if let Some(bad) = holders.iter().find(|id| self.is_corrupt(chunk, **id)) {
            return Some(*bad);
        }
        if let Some(gone) = holders.iter().find(|id| !self.is_member(**id)) {
            return Some(*gone);
        }
        if let Some(drains) = holders.iter().find(|id| self.draining.contains(id)) {
            return Some(*drains);
        }
        let counted: Vec<NodeId> = holders.iter().copied().filter(|id| self.counts(chunk, *id)).collect();
        if counted.len() <= wanted {
            return None;
        }
        let zone = |id: NodeId| self.nodes.get(&id)?.candidate.as_ref()?.zone.as_deref();
        let twice = |id: NodeId| {
            zone(id).is_some_and(|of| counted.iter().any(|other| *other != id && zone(*other) == Some(of)))
        };
        let fullness = |id: NodeId| {
            self.nodes.get(&id).and_then(|node| node.candidate.as_ref()).map_or(0.0, |of| load(of).share())
        };
        counted.iter().copied().max_by(|a, b| twice(*a).cmp(&twice(*b)).then(fullness(*a).total_cmp(&fullness(*b))))
    }
}

impl Node {
    fn takes(&self, bytes: u64) -> bool {
        self.standing == Standing::Up && self.candidate.as_ref().is_some_and(|candidate| candidate.takes(bytes))
    }
}

/// How full a node is with chunks; what else lies on its disk can't be moved.
fn load(candidate: &Candidate) -> Load {
    let stats = &candidate.stats;
    Load { node: candidate.node, used: stats.chunk_bytes, free: stats.disk_free_bytes }
}

#[cfg(test)]
mod tests {
    use flotilla_api::{WriterId, peer::NodeStats};

    use super::*;

    const CHUNK: ChunkId = ChunkId { writer: WriterId(1), seq: 1 };
    const GRACE: Duration = Duration::from_secs(60);

    fn known(id: u64, silent_for_ms: u64, zone: Option<&str>, free: u64) -> Known {
        let stats = NodeStats {
            chunk_bytes: 1000 - free,
            disk_free_bytes: free,
            disk_total_bytes: 1000,
            accepts_chunks: true,
            ..NodeStats::default()
        };
        let zone = zone.map(str::to_owned);
        let candidate = Candidate { node: NodeId(id), zone, stats, reserved_bytes: 0 };
        Known { candidate, silent_for: Duration::from_millis(silent_for_ms) }
    }

    fn fleet(known: Vec<Known>, led_for_s: u64) -> Fleet {
        let members = (1..=4).map(NodeId);
        Fleet::new(members, known, Duration::from_secs(led_for_s), GRACE, vec![(CHUNK, NodeId(2))], BTreeSet::new())
    }

    #[test]
    fn nobody_is_down_before_the_grace_period_of_this_leader_is_over() {
        let all = || vec![known(1, 0, None, 900), known(2, 59_000, None, 900), known(3, 61_000, None, 900)];
        let standings = |led_for_s| (1..=5).map(|id| fleet(all(), led_for_s).standing(NodeId(id))).collect::<Vec<_>>();
        let (up, silent, down) = (Standing::Up, Standing::Silent, Standing::Down);
        assert_eq!(standings(59), [up, silent, silent, silent, down], "number 5 is no member");
        assert_eq!(standings(60), [up, silent, down, down, down], "number 4 was never heard of");
    }

    #[test]
    fn new_copies_go_to_nodes_that_are_up_and_hold_none_and_have_space() {
        let mut fleet = fleet(
            vec![
                known(1, 0, Some("x"), 900),
                known(2, 0, Some("y"), 900),
                known(3, 0, Some("x"), 900),
                known(4, 0, Some("z"), 900),
            ],
            99,
        );
        let mut choose = |bytes, holders: &[u64]| {
            let holders: Vec<NodeId> = holders.iter().copied().map(NodeId).collect();
            let chosen = fleet.choose(CHUNK, bytes, &holders, 0.5)?;
            fleet.reserve(chosen, bytes);
            Some(chosen.0)
        };
        assert_eq!(choose(10, &[1]), Some(4), "another zone; node 2's copy is damaged");
        assert_eq!(choose(10, &[1, 4]), Some(3), "there is no other");
        assert_eq!(choose(950, &[1]), None, "nobody has space");
        // What was planned counts: 890 are left after the first one, of which 50 stay free.
        assert_eq!(choose(800, &[1, 3]), Some(4));
        assert_eq!(choose(800, &[1, 3]), None);
    }

    #[test]
    fn the_copy_needed_least_is_the_damaged_then_the_lost_then_the_one_in_the_fullest_place() {
        let fleet = fleet(
            vec![
                known(1, 0, Some("x"), 500),
                known(2, 0, None, 900),
                known(3, 0, Some("x"), 400),
                known(4, 0, Some("z"), 100),
            ],
            99,
        );
        let least = |holders: &[u64]| {
            let holders: Vec<NodeId> = holders.iter().copied().map(NodeId).collect();
            fleet.least_needed(CHUNK, &holders, 2).map(|id| id.0)
        };
        assert_eq!(least(&[1, 3, 9]), Some(9));
        assert_eq!(least(&[1, 2, 3, 9]), Some(2));
        assert_eq!(least(&[1, 2, 3]), Some(2));
        assert_eq!(least(&[1, 3, 4]), Some(3), "node 4 is fuller, and alone in its zone");
        assert_eq!(least(&[1, 4]), None);
    }
}
