//! What the tests in memory can't show: the same on RocksDB and real files.

use std::{path::Path, sync::Arc};

use flotilla_api::{CommandId, NodeId};
use flotilla_env::{clock, disk::RealDisk};
use flotilla_kv::{Kv, RocksKv, View};

use super::{
    cluster::{LONG, member, rows},
    counter::{Command, Counter, add, get},
};
use uuid::Uuid;

use crate::{
    Group, Options, Settings,
    alone::Alone,
    families,
    snapshot::{Builder, Snapshots, install},
    store::keys,
};

fn database(dir: &Path) -> Arc<RocksKv> {
    RocksKv::open(flotilla_kv::Options::new(dir, &families::<Counter>())).unwrap()
}

async fn open(dir: &Path, settings: Settings) -> (Arc<RocksKv>, Group<Counter>) {
    let kv = database(&dir.join("db"));
    let options = Options {
        id: NodeId(1),
        group: "rocks".into(),
        uuid: Uuid::nil(),
        elects: true,
        settings,
        kv: kv.clone(),
        disk: Arc::new(RealDisk),
        snapshot_dir: dir.join("snapshots"),
        machine: Arc::new(Counter),
        transport: Arc::new(Alone),
        clock: clock::system(),
        on_fatal: Arc::new(|why| panic!("{why}")),
    };
    (kv, Group::open(options).await.unwrap())
}

async fn fill(group: &Group<Counter>, count: u64) {
    for _ in 0..count {
        let seen = group.applied_index();
        let id = CommandId { id: format!("after-{seen}").parse().unwrap(), seen: Some(seen) };
        group.propose(id, add("a", 1), LONG).await.unwrap();
    }
}

#[tokio::test]
async fn group_goes_on_after_a_restart_from_a_purged_log() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { snapshot_after_entries: None, keep_entries: 0, ..Settings::default() };
    for round in 1..=3u64 {
        let (kv, group) = open(dir.path(), settings.clone()).await;
        group.form([(NodeId(1), member(1))].into()).await.unwrap();
        fill(&group, 40).await;
        group.trigger_snapshot().await.unwrap();
        let mut status = group.watch();
        let applied = group.applied_index();
        status.wait_for(|status| status.snapshot_index.is_some_and(|index| index >= applied)).await.unwrap();
        group.purge(applied).await.unwrap();
        status.wait_for(|status| status.purged_index.is_some_and(|index| index >= applied)).await.unwrap();
        assert_eq!(kv.scan(keys::LOG, &[], None, 99).unwrap().len(), 0);
        fill(&group, 5).await;
        group.read(LONG).await.unwrap();
        assert_eq!(get(&*group.consistent_view().unwrap(), "a"), Some(round * 45));
        group.shutdown().await;
        drop(group);
        // The database is locked until openraft's last task has let go of it.
        while Arc::strong_count(&kv) > 1 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn installed_snapshot_equals_its_source_and_open_views_keep_the_old_state() {
    let dir = tempfile::tempdir().unwrap();
    let (source, group) = open(dir.path(), Settings { snapshot_after_entries: None, ..Settings::default() }).await;
    group.form([(NodeId(1), member(1))].into()).await.unwrap();
    fill(&group, 50).await;
    let command = Command::Fill { from: 0, to: 900, number: 3 };
    group.propose(CommandId { id: "fill".parse().unwrap(), seen: None }, command, LONG).await.unwrap();
    let snapshots = Snapshots::open(Arc::new(RealDisk), dir.path().join("built"), 4096).unwrap();
    let staged =
        Builder::start(snapshots.clone(), source.clone(), &[super::counter::ROWS]).await.finish().await.unwrap();

    let target = database(&dir.path().join("target"));
    let mut old = flotilla_kv::Batch::default();
    for number in 0..3000u32 {
        old.put(super::counter::ROWS, format!("old-{number}"), vec![7; 100]);
    }
    target.write(old).unwrap();
    flotilla_kv::sync(&*target).await.unwrap();
    let copy = target.clone();
    tokio::task::spawn_blocking(move || {
        let view = copy.snapshot();
        install(&*copy, &snapshots, &[super::counter::ROWS], &staged).unwrap();
        assert_eq!(view.scan(super::counter::ROWS, &[], None, 9999).unwrap().len(), 3000);
    })
    .await
    .unwrap();
    assert_eq!(rows(&*target), rows(&*source));
    assert_eq!(target.get(keys::META, keys::APPLIED).unwrap(), source.get(keys::META, keys::APPLIED).unwrap());
    group.shutdown().await;
}
