//! Invariant 10: losing a process never changes the quorum. Nobody asked for another membership, so it is the first one.

use std::collections::BTreeSet;

use flotilla_api::NodeId;

use super::Violations;
use crate::world::World;

const NAME: &str = "membership";

/// Checks what every node says.
pub fn check(world: &World, violations: &Violations) {
    let all: BTreeSet<NodeId> = world.hosts.iter().map(|host| NodeId(host.id)).collect();
    for host in &world.hosts {
        let Some(status) = host.node().and_then(|node| node.status()) else { continue };
        if status.id != NodeId(host.id) || status.voters != all || !status.learners.is_empty() {
            let what = format!("n{} is {} of {:?} and {:?}", host.id, status.id, status.voters, status.learners);
            violations.add(NAME, what);
        }
    }
}
