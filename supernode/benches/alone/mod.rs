//! What the benchmarks measure: a directory whose group has one member, on RocksDB, with cluster `a` registered.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::{ClusterName, NodeId};
use flotilla_env::{clock, disk::RealDisk, entropy};
use flotilla_kv::RocksKv;
use flotilla_raft_store::{Group, Member, Options, Rpc, Settings, Transport, TransportError, families};
use flotilla_supernode::directory::{Command, Directory, DirectoryMachine};
use uuid::Uuid;

struct Alone;

#[async_trait]
impl Transport for Alone {
    async fn call(&self, _: NodeId, _: &Member, _: Rpc, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable("there is one supernode".into()))
    }
}

/// The cluster that is registered.
pub fn cluster() -> ClusterName {
    "a".parse().expect("a good name")
}

/// Makes the directory in an empty folder.
pub async fn directory(dir: &Path) -> (Directory, Arc<RocksKv>) {
    let kv = RocksKv::open(flotilla_kv::Options::new(dir.join("db"), &families::<DirectoryMachine>()));
    let kv = kv.expect("an empty folder");
    let options = Options {
        id: NodeId(1),
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
    let member = Member { name: "supernode-1".to_owned(), peer: "127.0.0.1:1".to_owned() };
    group.form(BTreeMap::from([(NodeId(1), member)])).await.expect("formed");
    let directory = Directory::new(Uuid::nil(), group, clock::system(), entropy::system());
    let register = Command::Register { cluster: cluster(), uuid: Uuid::nil() };
    directory.propose(rand::random(), register).await.expect("registered");
    (directory, kv)
}
