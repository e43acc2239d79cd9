//! Failed disks and crashes of whole groups.

use std::sync::Arc;

use flotilla_kv::{Batch, Kv, MemKv};

use super::{
    cluster::{Cluster, LONG, family_names, open},
    counter::{Command, add, get},
};
use crate::{Error, Settings, StoreError, store::keys, store::lock};

#[tokio::test(start_paused = true)]
async fn failed_sync_stops_the_node_and_nothing_is_acked_after_it() {
    let mut cluster = Cluster::start(1, Settings::default()).await;
    cluster.propose(1, add("a", 1)).await.unwrap();
    let node = &cluster.nodes[&1];
    node.kv.fail_next_sync();
    let error = cluster.propose(1, add("a", 1)).await.unwrap_err();
    assert!(matches!(error, Error::Indeterminate), "{error}");
    let error = cluster.propose(1, add("a", 1)).await.unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    assert!(matches!(cluster.group(1).read(LONG).await, Err(Error::Stopped)));
    assert_eq!(lock(&node.fatal).len(), 1, "{:?}", lock(&node.fatal));
    cluster.crash(1).await;
    cluster.boot(1).await;
    cluster.group(1).read(LONG).await.unwrap();
    assert_eq!(get(&*cluster.nodes[&1].kv, "a"), Some(1), "what was acked is there, and nothing else");
}

#[tokio::test(start_paused = true)]
async fn panicking_machine_stops_its_node() {
    let cluster = Cluster::start(1, Settings::default()).await;
    let error = cluster.group(1).propose(cluster.id(None), Command::Panic, LONG).await.unwrap_err();
    assert!(matches!(error, Error::Indeterminate), "{error}");
    assert_eq!(lock(&cluster.nodes[&1].fatal).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whole_group_loses_no_acked_command_in_a_power_cut() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    for round in 1..=3u64 {
        for node in (1..=3).cycle().take(20) {
            cluster.propose(node, add("a", 1)).await.unwrap();
        }
        for node in 1..=3 {
            cluster.crash(node).await;
        }
        for node in 1..=3 {
            cluster.boot(node).await;
        }
        for node in 1..=3 {
            cluster.group(node).read(LONG).await.unwrap();
            assert_eq!(get(&*cluster.nodes[&node].kv, "a"), Some(round * 20));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn store_of_a_newer_build_is_refused() {
    let kv = Arc::new(MemKv::inline(&family_names()));
    let mut batch = Batch::default();
    batch.put(keys::META, keys::FORMAT, 2u32.to_be_bytes());
    kv.write(batch).unwrap();
    let disk = flotilla_env::disk::MemDisk::new();
    let opened = open(1, kv, &disk, Arc::default(), &Settings::default(), &Arc::default()).await;
    assert!(matches!(opened.err(), Some(Error::Store(StoreError::Format { found: 2, known: 1 }))));
}
