//! A node that was away longer than the log reaches back gets a snapshot, part by part, while the others go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    cluster::{Cluster, Fate, LONG},
    counter::{Command, add, get},
};
use crate::{Error, Rpc, Settings};

/// Small logs and small parts.
fn small() -> Settings {
    Settings {
        snapshot_after_entries: Some(20),
        keep_entries: 0,
        purge_entries_min: 1,
        snapshot_part_bytes: 400,
        snapshot_timeout: Duration::from_secs(1),
        ..Settings::default()
    }
}

/// A group whose node 3 was cut off before 60 commands, the log of which is purged; and the leader of the others.
async fn with_node_3_behind() -> (Cluster, u64) {
    let cluster = Cluster::start(3, small()).await;
    cluster.propose(1, add("gone", 1)).await.unwrap();
    cluster.level(3, cluster.leader(&[1, 2, 3]).await).await;
    let behind = cluster.group(3).applied_index();
    cluster.net.isolate(3);
    let leader = cluster.leader(&[1, 2]).await;
    for _ in 0..60 {
        cluster.propose(leader, add("a", 1)).await.unwrap();
    }
    cluster.propose(leader, Command::Fill { from: 0, to: 50, number: 7 }).await.unwrap();
    cluster.group(leader).trigger_snapshot().await.unwrap();
    cluster.wait(leader, |status| status.purged_index.is_some_and(|purged| purged > behind)).await;
    (cluster, leader)
}

#[tokio::test(start_paused = true)]
async fn node_that_was_away_catches_up_by_snapshot_while_the_others_serve() {
    let (cluster, leader) = with_node_3_behind().await;
    cluster.net.heal();
    for count in 61..=70 {
        assert_eq!(cluster.propose(leader, add("a", 1)).await.unwrap().answer, count);
    }
    cluster.level(3, leader).await;
    assert!(cluster.net.sent(3, Rpc::SnapshotPart) > 5, "{} parts", cluster.net.sent(3, Rpc::SnapshotPart));
    assert_eq!(cluster.rows(3), cluster.rows(leader));
    let group = cluster.group(3);
    group.read(LONG).await.unwrap();
    assert_eq!(get(&*group.consistent_view().unwrap(), "a"), Some(70));
}

#[tokio::test(start_paused = true)]
async fn installed_snapshot_survives_a_crash_at_once() {
    let (mut cluster, leader) = with_node_3_behind().await;
    cluster.net.heal();
    cluster.level(3, leader).await;
    let expect = cluster.rows(leader);
    cluster.crash(3).await;
    assert!(get(&*cluster.nodes[&3].kv, "a").is_some(), "the snapshot is synced, whatever came after it");
    cluster.boot(3).await;
    cluster.level(3, leader).await;
    assert_eq!(cluster.rows(3), expect);
}

#[tokio::test(start_paused = true)]
async fn transfer_goes_on_where_it_was_cut() {
    let (cluster, leader) = with_node_3_behind().await;
    // Of every four messages with bytes one is lost; a transfer that began anew each time would never end.
    let sent = Arc::new(AtomicU64::new(0));
    let seen = sent.clone();
    cluster.net.rule(move |_, _, rpc| match rpc {
        Rpc::SnapshotPart if seen.fetch_add(1, Ordering::Relaxed) % 4 == 3 => Fate::LoseAnswer,
        _ => Fate::Deliver,
    });
    cluster.level(3, leader).await;
    assert_eq!(cluster.rows(3), cluster.rows(leader));
    let parts = cluster.net.sent(3, Rpc::SnapshotPart);
    assert!(cluster.net.sent(3, Rpc::SnapshotBegin) > 2, "it was cut");
    assert!(parts < 100, "{parts} messages");
}

#[tokio::test(start_paused = true)]
async fn replayed_id_is_known_to_a_node_that_has_it_from_a_snapshot() {
    let (mut cluster, leader) = with_node_3_behind().await;
    let id = cluster.id(Some(0));
    let first = cluster.group(leader).propose(id.clone(), add("once", 5), LONG).await.unwrap();
    cluster.net.heal();
    cluster.level(3, leader).await;
    let other = 3 - leader; // of 1 and 2
    cluster.crash(other).await;
    cluster.group(leader).transfer_leader(Some(flotilla_api::NodeId(3))).await.unwrap();
    cluster.wait(3, |status| status.is_leader).await;
    let again = cluster.group(3).propose(id, add("once", 5), LONG).await.unwrap();
    assert_eq!((again.answer, again.index, again.replayed), (5, first.index, true));
}

#[tokio::test(start_paused = true)]
async fn damaged_snapshot_on_the_leader_is_replaced_and_not_installed() {
    let (cluster, leader) = with_node_3_behind().await;
    let disk = &cluster.nodes[&leader].disk;
    damage_parts(disk);
    cluster.net.heal();
    cluster.level(3, leader).await;
    assert_eq!(cluster.rows(3), cluster.rows(leader));
    assert!(crate::store::lock(&cluster.nodes[&leader].fatal).is_empty());
}

fn damage_parts(disk: &flotilla_env::disk::MemDisk) {
    use flotilla_env::Disk;
    let files = disk.list(std::path::Path::new("/snapshots")).unwrap();
    let parts = files.iter().filter(|file| file.path.extension().is_some_and(|name| name != "manifest"));
    for part in parts {
        let file = disk.open_rw(&part.path).unwrap();
        file.write_at(part.length / 2, &[std::io::IoSlice::new(b"!")]).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_current_snapshots_files_are_kept() {
    use flotilla_env::Disk;
    let (cluster, leader) = with_node_3_behind().await;
    cluster.net.heal();
    cluster.level(3, leader).await;
    for node in [leader, 3] {
        let files = cluster.nodes[&node].disk.list(std::path::Path::new("/snapshots")).unwrap();
        let manifests =
            files.iter().filter(|file| file.path.extension().is_some_and(|name| name == "manifest")).count();
        assert_eq!(manifests, 1, "{files:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_refused_while_the_state_is_not_whole() {
    let cluster = Cluster::start(1, Settings::default()).await;
    let group = cluster.group(1);
    group.read(LONG).await.unwrap();
    group.shared().catching_up.send_replace(true);
    assert!(matches!(group.read(LONG).await, Err(Error::CatchingUp)));
    assert!(matches!(group.consistent_view().err(), Some(Error::CatchingUp)));
    assert!(group.status().catching_up);
    group.shared().catching_up.send_replace(false);
    group.read(LONG).await.unwrap();
    group.consistent_view().unwrap();
}
