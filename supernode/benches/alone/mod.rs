//! What the benchmarks measure: a directory whose group has one member, on RocksDB, with cluster `a` registered.

use std::{path::Path, sync::Arc};

use flotilla_api::ClusterName;
use flotilla_env::{clock, disk::RealDisk, entropy};
use flotilla_kv::RocksKv;
use flotilla_raft_store::{
    Group, Options, Settings,
    alone::{self, Alone},
    families,
};
use flotilla_supernode::directory::{Command, Directory, DirectoryMachine};
use uuid::Uuid;

/// The cluster that is registered.
pub fn cluster() -> ClusterName {
    "a".parse().expect("a good name")
}

/// Makes the directory in an empty folder.
pub async fn directory(dir: &Path) -> (Directory, Arc<RocksKv>) {
    let kv = RocksKv::open(flotilla_kv::Options::new(dir.join("db"), &families::<DirectoryMachine>()));
    let kv = kv.expect("an empty folder");
    let options = Options {
        id: alone::MEMBER,
        group: "supernodes".to_owned(),
        uuid: Uuid::nil(),
        elects: true,
        settings: Settings::default(),
        kv: kv.clone(),
        disk: Arc::new(RealDisk),
        snapshot_dir: dir.join("snapshots"),
        machine: Arc::new(DirectoryMachine),
        transport: Arc::new(Alone),
        clock: clock::system(),
        on_fatal: Arc::new(|why| eprintln!("{why}")),
    };
    let group = Group::open(options).await.expect("an empty database");
    alone::form(&group, "127.0.0.1:1").await.expect("formed");
    let directory = Directory::new(Uuid::nil(), group, clock::system(), entropy::system());
    let register = Command::Register { cluster: cluster(), uuid: Uuid::nil() };
    directory.propose(rand::random(), register).await.expect("registered");
    (directory, kv)
}
