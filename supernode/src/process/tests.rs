//! What keeps a supernode from its work after a start, and for how long.

use flotilla_env::{clock, entropy};

use super::*;
use crate::{
    asked::testing::report,
    directory::testing::{cluster, uuid},
};

fn row(name: &str, stage: Stage) -> (ClusterName, ClusterRow) {
    (cluster(name), ClusterRow { stage, ..ClusterRow::new(uuid(name)) })
}

fn fleet() -> [(ClusterName, ClusterRow); 2] {
    [row("a", Stage::Active), row("b", Stage::Active)]
}

fn start() -> (Beginning, Clusters) {
    (Beginning::new(clock::system()), Clusters::new(clock::system(), entropy::seeded(1)))
}

#[tokio::test(start_paused = true)]
async fn a_supernode_is_ready_once_a_cluster_has_reported_to_it() {
    let (beginning, clusters) = start();
    assert!(beginning.waits(&fleet(), &clusters));
    clusters.heard_foreign(report("c"));
    assert!(beginning.waits(&fleet(), &clusters), "a cluster of another directory takes nothing");
    clusters.heard(report("b"));
    assert!(!beginning.waits(&fleet(), &clusters));
    assert!(!beginning.waits(&[row("a", Stage::Active)], &clusters), "b was forgotten: that is no start");
}

#[tokio::test(start_paused = true)]
async fn clusters_that_are_dead_keep_a_supernode_out_for_a_while_only() {
    let (beginning, clusters) = start();
    tokio::time::sleep(HEARD_WITHIN - Duration::from_secs(1)).await;
    assert!(beginning.waits(&fleet(), &clusters));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!beginning.waits(&fleet(), &clusters));
}

#[test]
fn a_fleet_without_clusters_is_ready_at_once_and_stays_so() {
    let (beginning, clusters) = start();
    assert!(!beginning.waits(&[], &clusters));
    assert!(!beginning.waits(&fleet(), &clusters), "their first reports came to another supernode");
}

#[test]
fn clusters_that_leave_keep_nobody_out() {
    let leaving = [row("a", Stage::Retiring { since: 1 }), row("b", Stage::Fenced { since: 2 })];
    let (beginning, clusters) = start();
    assert!(!beginning.waits(&leaving, &clusters));

    let (beginning, clusters) = start();
    let [_, lives] = fleet();
    let all = [leaving[0].clone(), lives];
    clusters.heard(report("a"));
    assert!(beginning.waits(&all, &clusters), "new files find no cluster but b");
    clusters.heard(report("b"));
    assert!(!beginning.waits(&all, &clusters));
}
