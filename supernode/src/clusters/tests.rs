//! Clusters that report, fall silent, or belong to another directory.

use flotilla_env::{clock, entropy};

use super::*;
use crate::{
    asked::testing::{Fleet, report},
    directory::testing::cluster,
};

#[tokio::test(start_paused = true)]
async fn clusters_are_counted_by_what_is_heard_of_them() {
    let clusters = Clusters::new(clock::system(), entropy::seeded(1));
    let expected = [cluster("a"), cluster("b")];
    assert_eq!(clusters.tally(&expected), [("reachable", 0), ("silent", 2), ("foreign", 0)]);
    clusters.heard(report("a"));
    clusters.heard_foreign(ClusterReport { uuid: Uuid::from_u128(2), ..report("c") });
    assert_eq!(clusters.tally(&expected), [("reachable", 1), ("silent", 1), ("foreign", 1)]);
    tokio::time::sleep(FRESH_FOR).await;
    assert_eq!(clusters.tally(&expected), [("reachable", 0), ("silent", 2), ("foreign", 1)]);
    assert_eq!(clusters.tally(&[]), [("reachable", 0), ("silent", 0), ("foreign", 1)], "a cluster that was forgotten");
    tokio::time::sleep(FOREIGN_FOR).await;
    assert_eq!(clusters.tally(&expected)[2], ("foreign", 0));
}

#[test]
fn terms_are_compared_within_one_cluster() {
    let clusters = Clusters::new(flotilla_env::clock::system(), flotilla_env::entropy::seeded(1));
    let report_of = |uuid, term| ClusterReport { uuid: Uuid::from_u128(uuid), term, ..report("a") };
    clusters.heard(report_of(1, 7));
    assert!(clusters.is_older(&report_of(1, 6)), "of a leader that leads no more");
    assert!(!clusters.is_older(&report_of(2, 1)), "another cluster has the name by now");
    clusters.heard(ClusterReport { applied: 99, ..report_of(2, 1) });
    assert_eq!(clusters.applied(&cluster("a")), Some(99));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_not_called_lost_before_it_could_report() {
    let fleet = Fleet::new(&["a", "b"]);
    let clusters = &fleet.asker.clusters;
    let a = cluster("a");
    let reports = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        fleet.report_known("b");
        tokio::time::sleep(Duration::from_millis(400)).await;
        fleet.report_known("a");
    };
    let (lives, ()) = futures::future::join(clusters.lives(&a), reports).await;
    assert!(lives);
    tokio::time::sleep(FRESH_FOR).await;
    assert!(!clusters.lives(&a).await, "what was heard is too old");
}
