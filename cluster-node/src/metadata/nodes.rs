//! What the cluster has decided about its nodes. Pure.

use std::collections::BTreeSet;

use flotilla_api::{NodeId, codec};
use flotilla_kv::View;
use flotilla_raft_store::{Fault, Txn};
use serde::{Deserialize, Serialize};

use super::{keys, life::queues::Error, machine::Answer, rows::NodeRow, table::put};

/// The most nodes that are read at once; a cluster has fewer.
const NODES_MAX: usize = 1024;

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
}

/// Applies a decision.
pub fn apply(state: &mut dyn Txn, command: &Command) -> Result<Answer, Fault> {
    match command {
        Command::Drain { node, on: true } => put(state, keys::NODES, keys::node(*node), &NodeRow { draining: true }),
        Command::Drain { node, on: false } => state.delete(keys::NODES, keys::node(*node)),
    }
    Ok(Answer::Done)
}

/// Gives the nodes that drain.
///
/// # Errors
/// [`Error`]; trying again does not help.
pub fn draining(view: &dyn View) -> Result<BTreeSet<NodeId>, Error> {
    let mut draining = BTreeSet::new();
    for (key, row) in view.scan(keys::NODES, &[], None, NODES_MAX)? {
        if codec::decode::<NodeRow>(&row)?.draining {
            draining.extend(key.first_chunk().map(|id| NodeId(u64::from_be_bytes(*id))));
        }
    }
    Ok(draining)
}

#[cfg(test)]
mod tests {
    use flotilla_kv::{Batch, Kv as _, MemKv};

    use super::*;
    use crate::metadata::{Command as Any, testing::Cluster};

    #[test]
    fn a_node_drains_until_it_is_told_otherwise() {
        let mut cluster = Cluster::default();
        let draining = |cluster: &Cluster| {
            let kv = MemKv::inline(keys::FAMILIES);
            let mut batch = Batch::default();
            for ((family, key), row) in &cluster.state.rows {
                batch.put(family, key.clone(), row.clone());
            }
            kv.write(batch).expect("in memory");
            draining(&kv).expect("in memory").into_iter().map(|node| node.0).collect::<Vec<_>>()
        };
        for (node, on, expect) in [(2, true, &[2][..]), (2, true, &[2]), (3, true, &[2, 3]), (2, false, &[3])] {
            assert_eq!(cluster.apply(Any::Nodes(Command::Drain { node: NodeId(node), on })), Answer::Done);
            assert_eq!(draining(&cluster), expect);
        }
    }
}
