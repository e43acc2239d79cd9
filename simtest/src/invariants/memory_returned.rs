//! Invariant 11: no request holds more memory than its named bound, and none holds any once it is over.

use super::Violations;
use crate::world::World;

const NAME: &str = "memory_returned";

/// Checks a cluster without requests.
pub fn check(world: &World, violations: &Violations) {
    for host in world.members() {
        let held = host.node().map_or(0, |node| node.held_bytes());
        if held > 0 {
            violations.add(NAME, format!("n{} holds {held} bytes of bodies, and there is no request", host.id));
        }
    }
}
