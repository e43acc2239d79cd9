//! Invariant 6: nothing is deleted and no set of replicas changes on one node's opinion, so once a healed cluster is at rest every
//! named chunk has its good copies; that the disks hold nothing else is a part of rest.

use std::collections::BTreeSet;

use flotilla_api::NodeId;
use flotilla_chunk_store::Depth;
use flotilla_cluster_node::audit::Audit;

use super::Violations;
use crate::world::{REPLICAS, World};

const NAME: &str = "healed";

/// Compares the metadata of a cluster at rest with what its nodes hold.
pub async fn check(world: &World, audit: &Audit, violations: &Violations) {
    for (id, chunk) in &audit.chunks {
        let nodes: BTreeSet<NodeId> = chunk.replicas.iter().copied().collect();
        if nodes.len() != REPLICAS as usize {
            violations.add(NAME, format!("{id} is on {nodes:?}"));
        }
    }
    for host in world.members() {
        let Some(store) = host.node().and_then(|node| node.chunks()) else {
            violations.add(NAME, format!("n{} is not up", host.id));
            continue;
        };
        for (id, chunk) in audit.chunks.iter().filter(|(_, chunk)| chunk.replicas.contains(&NodeId(host.id))) {
            let Some(facts) = chunk.facts else { continue };
            if let Err(error) = store.read_as(*id, &facts, 0..facts.length, Depth::Whole).await {
                violations.add(NAME, format!("n{} is named for {id}: {error}", host.id));
            }
        }
    }
}
