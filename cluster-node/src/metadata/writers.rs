//! Writer ids: who may write chunks, and who no longer may. Pure.

use flotilla_api::{NodeId, WriterId};
use flotilla_raft_store::{Fault, Txn};

use super::{
    keys,
    machine::{Answer, Outcome, Refusal},
    rows::NodeRow,
    table::{get, put},
};

pub(super) fn grant_writer(state: &mut dyn Txn, node: NodeId, after: Option<WriterId>) -> Result<Outcome, Fault> {
    if get::<NodeRow>(state, keys::NODES, &keys::node(node))?.is_some_and(|row| row.leaves) {
        return Ok(Err(Refusal::Invalid("the node leaves the cluster".to_owned())));
    }
    // A start that was killed with its grant on the way would retire the writer of the start that followed.
    if get::<WriterId>(state, keys::WRITERS, &keys::node(node))? != after {
        return Ok(Err(Refusal::Invalid("another start of the node was granted its writer".to_owned())));
    }
    let next: u64 = get(state, keys::SYSTEM, keys::NEXT_WRITER)?.unwrap_or(1);
    put(state, keys::SYSTEM, keys::NEXT_WRITER.to_vec(), &(next + 1));
    retire(state, node)?;
    put(state, keys::WRITERS, keys::node(node), &WriterId(next));
    put(state, keys::LIVE_WRITERS, keys::writer(WriterId(next)), &node);
    Ok(Ok(Answer::Writer(WriterId(next))))
}

/// Retires a node's writer: it starts no more.
pub(super) fn retire(state: &mut dyn Txn, node: NodeId) -> Result<(), Fault> {
    if let Some(writer) = get::<WriterId>(state, keys::WRITERS, &keys::node(node))? {
        state.delete(keys::LIVE_WRITERS, keys::writer(writer));
        state.delete(keys::SETTLED, keys::writer(writer));
        state.delete(keys::WRITERS, keys::node(node));
    }
    Ok(())
}

pub(super) fn writer_is_live(state: &dyn Txn, node: NodeId, writer: WriterId) -> Result<bool, Fault> {
    Ok(get::<WriterId>(state, keys::WRITERS, &keys::node(node))? == Some(writer))
}

#[cfg(test)]
mod tests {
    use crate::metadata::{Answer, testing::Cluster};

    #[test]
    fn a_late_grant_of_an_earlier_start_retires_nobody() {
        let mut cluster = Cluster::default();
        let first = cluster.writer(1);
        let second = cluster.writer(1);
        assert!(first < second);
        for after in [None, Some(first)] {
            assert!(matches!(cluster.grant(1, after), Answer::Refused(_)), "{after:?}");
            assert_eq!(cluster.writer_of(1), Some(second));
        }
    }
}
