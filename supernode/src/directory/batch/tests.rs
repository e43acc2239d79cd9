//! Claims together, on a group of one in memory.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::{NodeId, peer::Home};
use flotilla_env::{clock, disk::MemDisk, entropy};
use flotilla_kv::{Family, MemKv};
use flotilla_raft_store::{Member, Options, Rpc, Settings, Transport, TransportError};
use futures::future::join_all;
use uuid::Uuid;

use super::{super::Directory, *};

struct Alone;

#[async_trait]
impl Transport for Alone {
    async fn call(&self, _: NodeId, _: &Member, _: Rpc, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable("there is one supernode".into()))
    }
}

async fn directory() -> Directory {
    let families: Vec<Family> =
        flotilla_raft_store::families::<DirectoryMachine>().iter().map(|family| family.name).collect();
    let options = Options {
        id: NodeId(1),
        group: "supernodes".to_owned(),
        uuid: Uuid::nil(),
        elects: true,
        settings: Settings::default(),
        kv: Arc::new(MemKv::inline(&families)),
        disk: Arc::new(MemDisk::new()),
        snapshot_dir: "/snapshots".into(),
        machine: Arc::new(DirectoryMachine),
        transport: Arc::new(Alone),
        clock: clock::system(),
        on_fatal: Arc::new(drop), // also called when the test ends and its tasks are dropped
    };
    let group = Group::open(options).await.expect("an empty database");
    let member = Member { name: "supernode-1".to_owned(), peer: "127.0.0.1:1".to_owned() };
    group.form(BTreeMap::from([(NodeId(1), member)])).await.expect("formed");
    let directory = Directory::new(Uuid::nil(), group, clock::system(), entropy::seeded(1));
    for name in ["a", "b"] {
        let register = Command::Register { cluster: cluster(name), uuid: Uuid::nil() };
        assert_eq!(directory.propose(rand::random(), register).await.expect("registered"), Answer::Done);
    }
    directory
}

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a good name")
}

fn name(key: usize) -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: format!("k{key}").parse().expect("a good key") }
}

#[tokio::test]
async fn claims_that_come_together_share_entries_and_each_has_its_own_answer() {
    let directory = directory().await;
    let before = directory.group().applied_index();
    let keys = 500;
    let claims = (0..2 * keys).map(|n| {
        let by = if n % 3 == 0 { "a" } else { "b" };
        directory.claim(name(n % keys), cluster(by))
    });
    let mut homes: BTreeMap<usize, Vec<Claimed>> = BTreeMap::new();
    for (n, answer) in join_all(claims).await.into_iter().enumerate() {
        homes.entry(n % keys).or_default().push(answer.expect("applied").expect("registered"));
    }
    for (key, claimed) in homes {
        let home: Home = directory.applied_home(&name(key)).expect("a map").expect("claimed");
        assert!(claimed.iter().all(|claimed| claimed.home == home), "{key}: {claimed:?}");
        assert_eq!(claimed.iter().filter(|claimed| claimed.granted).count(), 1, "{key}: {claimed:?}");
    }
    let entries = directory.group().applied_index() - before;
    assert!(entries <= 40, "{entries} entries for 1,000 claims");
    let unknown = directory.claim(name(keys), cluster("unknown")).await.expect("applied");
    assert_eq!(unknown, Err(Refusal::UnknownCluster));
}

#[tokio::test(start_paused = true)]
async fn claims_whose_time_went_by_before_their_turn_were_not_made() {
    let directory = directory().await;
    let (told, answer) = oneshot::channel();
    let now = Instant::now();
    let claim = Claim { name: name(1), cluster: cluster("a") };
    send_one(directory.group(), RequestId::from_bits(1), vec![Waiting { claim, until: now, told }], now).await;
    let error = answer.await.expect("told").expect_err("too late");
    assert!(matches!(&*error, Error::Raft(flotilla_raft_store::Error::NoLeader)), "{error}");
    assert_eq!(directory.applied_home(&name(1)).expect("a map"), None);
}
