//! Invariant 6: nothing is deleted and no set of replicas changes on one node's opinion, so once a healed cluster is at rest every
//! named chunk has its good copies, and the disks hold nothing else.

use std::collections::BTreeSet;

use flotilla_api::NodeId;
use flotilla_chunk_store::Depth;
use flotilla_cluster_node::audit::Audit;

use super::{Violations, index_rebuilt::list};
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
    for host in &world.hosts {
        let Some(store) = host.node().and_then(|node| node.chunks()) else {
            violations.add(NAME, format!("n{} is not up", host.id));
            continue;
        };
        let here = match list(&store).await {
            Ok(here) => here,
            Err(error) => return violations.add(NAME, format!("n{}: {error}", host.id)),
        };
        let named = audit.chunks.iter().filter(|(_, chunk)| chunk.replicas.contains(&NodeId(host.id)));
        for (id, chunk) in named.clone() {
            let Some(facts) = chunk.facts else { continue };
            if let Err(error) = store.read_as(*id, &facts, 0..facts.length, Depth::Whole).await {
                violations.add(NAME, format!("n{} is named for {id}: {error}", host.id));
            }
        }
        let named: BTreeSet<_> = named.map(|(id, _)| *id).collect();
        let garbage: Vec<_> = here.difference(&named).map(ToString::to_string).collect();
        if !garbage.is_empty() {
            violations.add(NAME, format!("n{} holds what nothing names: {garbage:?}", host.id));
        }
    }
}
