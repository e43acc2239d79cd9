//! Invariant 3: after a failed sync the store is dead. A process whose log can't be synced ends; one whose chunks or their index
//! can't be stores none any more, and ends with the next write to its log if it was the database that failed.

use std::time::Duration;

use tokio::time::Instant;

use super::Violations;
use crate::{lock, world::World};

const NAME: &str = "failed_sync";

/// How long a process may take to notice: what it does for others until then it does not ack.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// Checks every process that runs now.
pub fn check(world: &World, violations: &Violations) {
    let over =
        |failed: &std::sync::Mutex<Option<Instant>>| lock(failed).is_some_and(|at| at.elapsed() > NOTICED_WITHIN);
    for host in world.hosts.iter().filter(|host| host.is_up()) {
        if over(&host.syncs().database_failed) && !host.is_poisoned() {
            violations.add(NAME, format!("n{} goes on after a failed sync of its database", host.id));
        }
        if over(&host.syncs().file_failed) && !host.is_poisoned() {
            violations.add(NAME, format!("n{} goes on storing chunks after a failed sync", host.id));
        }
    }
}
