//! Which copies should move so that all disks are filled alike: new and empty nodes take their share. Pure.

use std::collections::BTreeMap;

use flotilla_api::NodeId;

/// A node that has this much less than its share gets copies; closer than that, moving costs more than it gives.
const SLACK: f64 = 0.2;
/// As much of what is missing is moved: new chunks come by themselves, and nothing should ever have to move back.
const FILL: f64 = 0.9;
/// Less than this is not worth a move.
const BYTES_MIN: f64 = (64 << 20) as f64;
/// The most bytes that one survey plans to move to a node: what stands is looked at anew before more.
const BYTES_MAX: f64 = (1 << 30) as f64;

/// How full a node is with chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// The node.
    pub node: NodeId,
    /// Bytes of its chunks.
    pub used: u64,
    /// Bytes free to more of them.
    pub free: u64,
}

/// What should move.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moves {
    /// How many bytes nodes should get.
    wanted: BTreeMap<NodeId, u64>,
    /// Shares of nodes that have more than theirs.
    over: BTreeMap<NodeId, f64>,
}

impl Load {
    /// The share of its room that is in use.
    #[allow(clippy::cast_precision_loss)] // a share needs no more digits than a float has
    pub fn share(&self) -> f64 {
        self.used as f64 / (self.used + self.free).max(1) as f64
    }
}

impl Moves {
    /// Compares the nodes, all of which can take chunks.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded, and never below 0
    pub fn new(loads: &[Load]) -> Self {
        let room = |load: &Load| (load.used + load.free) as f64;
        let used: f64 = loads.iter().map(|load| load.used as f64).sum();
        let share = used / loads.iter().map(room).sum::<f64>().max(1.0);
        let mut moves = Self::default();
        for load in loads {
            let fair = share * room(load);
            let missing = fair - load.used as f64;
            if missing > SLACK * fair && missing >= BYTES_MIN {
                moves.wanted.insert(load.node, (missing * FILL).min(BYTES_MAX) as u64);
            } else if missing < 0.0 {
                moves.over.insert(load.node, load.share());
            }
        }
        moves
    }

    /// Chooses where a chunk of `bytes` goes, away from the fullest of its holders. `fits` says whether a node may take the
    /// place of another one.
    pub fn take(&mut self, bytes: u64, holders: &[NodeId], fits: impl Fn(NodeId, NodeId) -> bool) -> Option<NodeId> {
        if self.wanted.is_empty() {
            return None;
        }
        let over = |id: &NodeId| self.over.get(id).map(|share| (*id, *share));
        let (from, _) = holders.iter().filter_map(over).max_by(|a, b| a.1.total_cmp(&b.1))?;
        let open = self.wanted.iter().filter(|(id, left)| **left >= bytes && !holders.contains(id) && fits(**id, from));
        let to = *open.max_by_key(|(_, left)| **left)?.0;
        *self.wanted.get_mut(&to)? -= bytes;
        Some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn load(node: u64, used: u64, free: u64) -> Load {
        Load { node: NodeId(node), used, free }
    }

    #[test]
    fn an_empty_node_gets_its_share_and_no_more() {
        let mut moves = Moves::new(&[load(1, 4 * GIB, 96 * GIB), load(2, 4 * GIB, 96 * GIB), load(3, 0, 100 * GIB)]);
        assert_eq!(moves.wanted, BTreeMap::from([(NodeId(3), GIB)]), "at most as much at a time");
        let holders = [NodeId(1), NodeId(2)];
        assert_eq!(moves.take(GIB - 1, &holders, |_, _| false), None, "it has no place there");
        assert_eq!(moves.take(GIB - 1, &holders, |_, _| true), Some(NodeId(3)));
        assert_eq!(moves.take(8, &holders, |_, _| true), None);
    }

    #[test]
    fn nothing_moves_between_nodes_that_are_about_alike() {
        for used in [[100, 100, 81], [100, 95, 105]] {
            let loads: Vec<Load> = (1..).zip(used).map(|(id, gib)| load(id, gib * GIB, (200 - gib) * GIB)).collect();
            assert_eq!(Moves::new(&loads).wanted, BTreeMap::new());
        }
        assert_eq!(Moves::new(&[load(1, 1000, GIB), load(2, 0, GIB)]).wanted, BTreeMap::new(), "a trifle");
        assert_eq!(Moves::new(&[]), Moves::default());
    }

    #[test]
    fn a_small_disk_is_full_with_less() {
        let moves = Moves::new(&[load(1, 50 * GIB, 50 * GIB), load(2, 5 * GIB, 5 * GIB), load(3, GIB, 99 * GIB)]);
        assert_eq!(moves.over.keys().copied().collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
    }

    #[test]
    fn copies_leave_the_fullest_of_their_holders_and_none_that_is_not_full() {
        let mut moves = Moves::new(&[load(1, 6 * GIB, 4 * GIB), load(2, 8 * GIB, 2 * GIB), load(3, 0, 10 * GIB)]);
        let from = std::cell::Cell::new(0);
        let fits = |_, of: NodeId| {
            from.set(of.0);
            true
        };
        assert_eq!(moves.take(8, &[NodeId(1), NodeId(2)], fits), Some(NodeId(3)));
        assert_eq!(from.get(), 2);
        assert_eq!(moves.take(8, &[NodeId(3)], |_, _| true), None);
    }
}
