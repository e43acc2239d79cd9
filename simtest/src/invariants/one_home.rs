//! Invariant 4: a key has at most one open home. What a cluster's log calls open is what the directory granted it.

use flotilla_cluster_node::audit::Audit;

use super::Violations;
use crate::directory::Directory;

/// Compares the open homes of a cluster at rest with the directory.
pub fn check(audit: &Audit, directory: &Directory, violations: &Violations) {
    for (name, epoch) in &audit.homes {
        let granted = directory.home(name);
        if granted != Some(*epoch) {
            let what = format!("{name} is open here under {epoch}, and the directory granted {granted:?}");
            violations.add("one_home", what);
        }
    }
}
