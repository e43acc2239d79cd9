//! Invariant 7: what grows with work has a limit. Here: the log and the results of commands, whatever the nodes went through.

use flotilla_kv::View as _;

use super::Violations;
use crate::{host::Host, world::World};

const NAME: &str = "bounded";

/// Checks a cluster at rest.
pub fn check(world: &World, violations: &Violations) {
    for host in world.members() {
        let entries = log_entries(host);
        let limit = world.log_entries_max();
        if entries > limit {
            violations.add(NAME, format!("the log of n{} has {entries} entries, more than {limit}", host.id));
        }
    }
}

fn log_entries(host: &Host) -> u64 {
    let rows = host.kv().and_then(|kv| kv.scan(flotilla_raft_store::LOG_FAMILY, &[], None, usize::MAX).ok());
    rows.map_or(0, |rows| rows.len() as u64)
}
