//! What the cluster has decided about its nodes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_api::{NodeId, codec};
use flotilla_kv::View;
use flotilla_member::membership::Places;
use flotilla_raft_store::{Fault, Txn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    keys,
    life::queues::Error,
    machine::{Answer, Refusal},
    rows::NodeRow,
    table::{get, put},
    writers,
};

/// The most nodes that are read at once; a cluster has fewer.
const NODES_MAX: usize = 1024;

/// Where ids of nodes are kept.
const PLACES: Places = Places { disks: keys::DISKS, system: keys::SYSTEM, next: keys::NEXT_NODE };

/// A decision about a node. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Moves all data off a node, or stops doing so.
    Drain {
        /// The node.
        node: NodeId,
        /// Whether it drains from now on.
        on: bool,
    },
    /// Gives a new node its id: always the same one for the same disk.
    Join {
        /// The disk.
        disk: Uuid,
        /// Above every member's id, since initial members were given theirs before there was a log.
        floor: u64,
    },
    /// Has a node leave for ever: one that drains, or that is lost. It writes nothing from now on.
    Remove {
        /// The node.
        node: NodeId,
        /// Whether it is gone with whatever it had.
        lost: bool,
    },
    /// Forgets a node that is no member any more.
    Forget {
        /// The node.
        node: NodeId,
    },
}

/// Applies a decision.
pub fn apply(state: &mut dyn Txn, command: &Command) -> Result<Answer, Fault> {
    match command {
        Command::Drain { node, on } => {
            let row: Option<NodeRow> = get(state, keys::NODES, &keys::node(*node))?;
            match (row.is_some_and(|row| row.leaves), on) {
                (true, true) => {}
                (true, false) => return Ok(refused("it leaves for ever, and there is no way back")),
                (false, true) => {
                    put(state, keys::NODES, keys::node(*node), &NodeRow { draining: true, leaves: false });
                }
                (false, false) => state.delete(keys::NODES, keys::node(*node)),
            }
        }
        Command::Join { disk, floor } => {
            return Ok(Answer::Node(PLACES.give(state, *disk, *floor)?));
        }
        Command::Remove { node, lost } => {
            let row: Option<NodeRow> = get(state, keys::NODES, &keys::node(*node))?;
            if !lost && !row.is_some_and(|row| row.draining) {
                return Ok(refused("it does not drain any more"));
            }
            put(state, keys::NODES, keys::node(*node), &NodeRow { draining: true, leaves: true });
            PLACES.take(state, *node)?;
            writers::retire(state, *node)?;
        }
        Command::Forget { node } => {
            state.delete(keys::NODES, keys::node(*node));
            writers::retire(state, *node)?;
        }
    }
    Ok(Answer::Done)
}

fn refused(why: &str) -> Answer {
    Answer::Refused(Refusal::Invalid(why.to_owned()))
}

/// Gives what was decided about nodes.
///
/// # Errors
/// [`Error`]; trying again does not help.
pub fn decided(view: &dyn View) -> Result<BTreeMap<NodeId, NodeRow>, Error> {
    let mut decided = BTreeMap::new();
    for (key, row) in view.scan(keys::NODES, &[], None, NODES_MAX)? {
        if let Some(id) = key.first_chunk() {
            decided.insert(NodeId(u64::from_be_bytes(*id)), codec::decode(&row)?);
        }
    }
    Ok(decided)
}

/// Gives the nodes whose processes may write.
///
/// # Errors
/// As [`decided`].
pub fn writing(view: &dyn View) -> Result<Vec<NodeId>, Error> {
    let rows = view.scan(keys::WRITERS, &[], None, NODES_MAX)?;
    Ok(rows.iter().filter_map(|(key, _)| Some(NodeId(u64::from_be_bytes(*key.first_chunk()?)))).collect())
}

/// Gives the nodes that drain.
///
/// # Errors
/// As [`decided`].
pub fn draining(view: &dyn View) -> Result<BTreeSet<NodeId>, Error> {
    Ok(decided(view)?.into_iter().filter(|(_, row)| row.draining).map(|(node, _)| node).collect())
}

/// Whether an id that no member has was a node's that has left.
///
/// # Errors
/// As [`decided`].
pub fn has_left(view: &dyn View, node: NodeId) -> Result<bool, Error> {
    PLACES.has_left(view, node).map_err(|fault| match fault {
        Fault::Kv(error) => Error::Kv(error),
        Fault::Corrupt { source, .. } => Error::Corrupt(source),
    })
}

#[cfg(test)]
mod tests {
    use flotilla_kv::{Batch, Kv as _, MemKv};

    use super::*;
    use crate::metadata::{Command as Any, testing::Cluster};

    fn view(cluster: &Cluster) -> MemKv {
        let kv = MemKv::inline(keys::FAMILIES);
        let mut batch = Batch::default();
        for ((family, key), row) in &cluster.state.rows {
            batch.put(family, key.clone(), row.clone());
        }
        kv.write(batch).expect("in memory");
        kv
    }

    fn draining(cluster: &Cluster) -> Vec<u64> {
        decided(&view(cluster))
            .expect("in memory")
            .into_iter()
            .filter(|(_, row)| row.draining)
            .map(|(node, _)| node.0)
            .collect()
    }

    #[test]
    fn a_node_drains_until_it_is_told_otherwise() {
        let mut cluster = Cluster::default();
        for (node, on, expect) in [(2, true, &[2][..]), (2, true, &[2]), (3, true, &[2, 3]), (2, false, &[3])] {
            assert_eq!(cluster.apply(Any::Nodes(Command::Drain { node: NodeId(node), on })), Answer::Done);
            assert_eq!(draining(&cluster), expect);
        }
    }

    #[test]
    fn ids_are_never_given_twice_and_a_disk_keeps_its_own() {
        let mut cluster = Cluster::default();
        let join = |cluster: &mut Cluster, disk, floor| match cluster
            .apply(Any::Nodes(Command::Join { disk: Uuid::from_u128(disk), floor }))
        {
            Answer::Node(node) => node.0,
            other => panic!("{other:?}"),
        };
        let joined = [(1, 4), (2, 4), (1, 9), (2, 4)].map(|(disk, floor)| join(&mut cluster, disk, floor));
        assert_eq!(joined, [4, 5, 4, 5]);
        cluster.apply(Any::Nodes(Command::Remove { node: NodeId(9), lost: true }));
        assert_eq!(join(&mut cluster, 3, 6), 10, "the id of a member that was removed is used up");
        cluster.apply(Any::Nodes(Command::Remove { node: NodeId(5), lost: true }));
        assert_eq!(join(&mut cluster, 2, 4), 11, "a disk whose node was removed is a new node");
    }

    #[test]
    fn an_id_that_was_given_and_is_nobodys_is_of_one_that_has_left() {
        let mut cluster = Cluster::default();
        let left = |cluster: &Cluster| -> Vec<u64> {
            let view = view(cluster);
            (0..=6).filter(|id| has_left(&view, NodeId(*id)).expect("in memory")).collect()
        };
        assert_eq!(left(&cluster), [0; 0]);
        cluster.apply(Any::Nodes(Command::Join { disk: Uuid::from_u128(1), floor: 4 }));
        cluster.apply(Any::Nodes(Command::Join { disk: Uuid::from_u128(2), floor: 4 }));
        cluster.apply(Any::Nodes(Command::Remove { node: NodeId(4), lost: true }));
        cluster.apply(Any::Nodes(Command::Forget { node: NodeId(4) }));
        assert_eq!(left(&cluster), [1, 2, 3, 4], "the caller knows whether 1 to 3 are members");
    }

    #[test]
    fn a_node_that_leaves_writes_nothing_and_does_not_come_back() {
        let mut cluster = Cluster::default();
        let node = NodeId(2);
        assert!(matches!(cluster.grant(2, None), Answer::Writer(_)));
        let remove = |lost| Any::Nodes(Command::Remove { node, lost });
        assert!(matches!(cluster.apply(remove(false)), Answer::Refused(_)), "it may get data");
        cluster.apply(Any::Nodes(Command::Drain { node, on: true }));
        assert_eq!(cluster.apply(remove(false)), Answer::Done);
        assert_eq!(draining(&cluster), [2]);
        assert!(!cluster.state.rows.keys().any(|(family, _)| *family == keys::LIVE_WRITERS), "its writer is retired");
        assert!(matches!(cluster.apply(Any::Nodes(Command::Drain { node, on: false })), Answer::Refused(_)));
        assert_eq!(draining(&cluster), [2]);
        assert!(matches!(cluster.grant(2, None), Answer::Refused(_)));
        cluster.apply(Any::Nodes(Command::Forget { node }));
        assert_eq!(draining(&cluster), [0; 0]);
        // A former member that still found the leader: whoever leads sees that it is none.
        assert!(matches!(cluster.grant(2, None), Answer::Writer(_)));
        cluster.apply(Any::Nodes(Command::Forget { node }));
        assert!(!cluster.state.rows.keys().any(|(family, _)| *family == keys::LIVE_WRITERS));
    }
}
