//! Fetching from nodes that are damaged, slow or silent: wrong bytes are never given, and a good copy is found.

use std::{
    collections::BTreeMap,
    io::IoSlice,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use axum::{Router, extract::State, routing::get};
use flotilla_api::{WriterId, peer::auth::FleetSecret};
use flotilla_chunk_store::Options;
use flotilla_client::Network;
use flotilla_env::{
    clock,
    disk::{Disk, MemDisk},
    entropy,
};
use http::HeaderMap;

use super::*;
use crate::{gateway::tree::ChunkHasher, http::give};

const LENGTH: usize = 2_500_000;
const ID: ChunkId = ChunkId { writer: WriterId(1), seq: 1 };
const OTHER: ChunkId = ChunkId { writer: WriterId(1), seq: 2 };
/// The node whose fetcher is tested.
const OWN: NodeId = NodeId(1);

/// Nodes in memory: each has a disk, a store on it, and a peer route for chunks.
struct Cluster {
    network: Network,
    disks: BTreeMap<NodeId, Arc<dyn Disk>>,
    known: Arc<Known>,
    fetcher: Option<Fetcher>,
}

/// The metadata that the fetcher sees.
#[derive(Default)]
struct Known {
    replicas: Mutex<Vec<NodeId>>,
    asked: std::sync::atomic::AtomicUsize,
}

#[async_trait]
impl Replicas for Known {
    fn address(&self, node: NodeId) -> Option<String> {
        Some(host(node))
    }

    async fn replicas(&self, _: ChunkId) -> Result<Vec<NodeId>, String> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(self.replicas.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn host(node: NodeId) -> String {
    format!("n{node}:1")
}

fn data(seed: u8) -> Vec<u8> {
    let mut out = vec![0; LENGTH];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

fn cv(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = ChunkHasher::new(0);
    hasher.update(bytes);
    hasher.finish().cv
}

fn chunk(replicas: &[u64]) -> Arc<ReadChunk> {
    let replicas = replicas.iter().copied().map(NodeId).collect();
    Arc::new(ReadChunk { id: ID, offset: 0, tree_offset: 0, length: LENGTH as u64, cv: cv(&data(1)), replicas })
}

async fn put(store: &ChunkStore, id: ChunkId, bytes: Vec<u8>, cv: [u8; 32]) {
    let mut writer = store.put(id, 0, bytes.len() as u64).await.expect("started");
    writer.write(bytes.into()).await.expect("written");
    writer.finish(cv).await.expect("stored");
}

impl Cluster {
    /// Makes nodes that have the chunk, and another one beside it.
    async fn of(holders: &[u64]) -> Self {
        let network = Network::new(entropy::seeded(1));
        let mut cluster = Self { network, disks: BTreeMap::new(), known: Arc::default(), fetcher: None };
        for node in holders.iter().copied().map(NodeId) {
            let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
            let store = open(&disk).await;
            put(&store, ID, data(1), cv(&data(1))).await;
            put(&store, OTHER, data(2), cv(&data(2))).await;
            cluster.disks.insert(node, disk);
        }
        cluster.restart().await;
        cluster
    }

    /// Starts all nodes anew: nothing is remembered but what is on the disks.
    async fn restart(&mut self) {
        let mut own = open(&(Arc::new(MemDisk::new()) as Arc<dyn Disk>)).await;
        for (node, disk) in &self.disks {
            let store = open(disk).await;
            let route = async |State(store): State<ChunkStore>, headers: HeaderMap| give(&store, &headers).await;
            let router = Router::new().route(route::PEER_CHUNK, get(route)).with_state(store.clone());
            self.network.serve(host(*node), router.into_service::<flotilla_client::Body>());
            if *node == OWN {
                own = store;
            }
        }
        let secret = FleetSecret::new(&"7".repeat(64));
        let peers = PeerClient::new(
            secret,
            host(OWN),
            clock::system(),
            &*entropy::seeded(2),
            self.network.transport(host(OWN)),
        );
        let replicas: Arc<dyn Replicas> = self.known.clone();
        self.fetcher = Some(Fetcher::new(Parts {
            node: OWN,
            store: own,
            peers,
            replicas,
            cache_bytes: 0,
            clock: clock::system(),
            entropy: entropy::seeded(3),
            pace: Pace::new(1 << 30, clock::system()),
        }));
    }

    fn file(&self, node: u64, id: ChunkId) -> (Arc<dyn Disk>, PathBuf) {
        let disk = self.disks[&NodeId(node)].clone();
        let shelves = disk.list(std::path::Path::new("/data/chunks")).expect("listed");
        let mut files = shelves.iter().flat_map(|shelf| disk.list(&shelf.path).expect("listed"));
        let file = files.find(|file| file.path.ends_with(id.to_string())).expect("the chunk has a file");
        (disk.clone(), file.path)
    }

    /// Writes over a copy.
    fn spoil(&self, node: u64, at: u64, bytes: &[u8]) {
        let (disk, path) = self.file(node, ID);
        disk.open_rw(&path).expect("opened").write_at(at, &[IoSlice::new(bytes)]).expect("spoilt");
    }

    fn lose(&self, node: u64) {
        let (disk, path) = self.file(node, ID);
        disk.remove(&path).expect("removed");
    }

    /// Downloads the chunk as a whole: the bytes that were given, and how it ended.
    async fn download(&self, replicas: &[u64]) -> (Vec<u8>, Result<(), Arc<Error>>) {
        let fetcher = self.fetcher.as_ref().expect("started");
        let (chunk, mut given) = (chunk(replicas), Vec::new());
        for start in (0..LENGTH as u64).step_by(PIECE as usize) {
            let part = start..(start + PIECE).min(LENGTH as u64);
            match fetcher.piece(Arc::clone(&chunk), part, Depth::Whole).await {
                Ok(bytes) => given.extend_from_slice(&bytes),
                Err(error) => return (given, Err(error)),
            }
        }
        (given, Ok(()))
    }
}

async fn open(disk: &Arc<dyn Disk>) -> ChunkStore {
    let families: Vec<_> = flotilla_chunk_store::FAMILIES.iter().map(|family| family.name).collect();
    let index = Arc::new(flotilla_kv::MemKv::new(&families));
    ChunkStore::open(Options::new("/data", disk.clone(), index, 0)).await.expect("opened").0
}

type Damage = fn(&Cluster, u64);

/// Every way to damage node `node`'s copy.
fn damages() -> Vec<(&'static str, Damage)> {
    vec![
        ("flipped data", |c, node| c.spoil(node, 1_234_567, &[data(1)[1_234_567] ^ 4])),
        ("flipped last byte", |c, node| c.spoil(node, LENGTH as u64 - 1, &[data(1)[LENGTH - 1] ^ 1])),
        ("damaged checksums", |c, node| c.spoil(node, (LENGTH as u64).next_multiple_of(4096) + 5, &[0xff, 0xfe])),
        ("damaged header", |c, node| {
            let (disk, path) = c.file(node, ID);
            let end = disk.open(&path).expect("opened").length().expect("length");
            c.spoil(node, end - 100, &[0xff, 0xfe]);
        }),
        ("truncated", |c, node| {
            let (disk, path) = c.file(node, ID);
            disk.open_rw(&path).expect("opened").set_len(1_000_000).expect("cut");
        }),
        ("zeroed", |c, node| c.spoil(node, 0, &vec![0; LENGTH + 8000])),
        ("exchanged", |c, node| {
            let ((disk, one), (_, other)) = (c.file(node, ID), c.file(node, OTHER));
            let away = one.with_extension("away");
            disk.rename(&one, &away).expect("exchanged");
            disk.rename(&other, &one).expect("exchanged");
            disk.rename(&away, &other).expect("exchanged");
        }),
        ("lost", |c, node| c.lose(node)),
    ]
}

#[tokio::test]
async fn one_damaged_copy_costs_nothing_whether_own_or_another_nodes() {
    for (name, damage) in damages() {
        for (replicas, damaged) in [([1, 2], 1), ([2, 3], 2), ([2, 3], 3)] {
            let mut cluster = Cluster::of(&replicas).await;
            *cluster.known.replicas.lock().expect("no panic") = replicas.map(NodeId).to_vec();
            damage(&cluster, damaged);
            cluster.restart().await;
            for _ in 0..3 {
                let (given, ended) = cluster.download(&replicas).await;
                assert!(ended.is_ok(), "{name} on {damaged}: {ended:?}");
                assert!(given == data(1), "{name} on {damaged}: wrong bytes");
            }
        }
    }
}

#[tokio::test]
async fn two_damaged_copies_give_no_byte_and_say_that_none_is_left() {
    for (name, damage) in damages() {
        for replicas in [[1, 2], [2, 3]] {
            let mut cluster = Cluster::of(&replicas).await;
            *cluster.known.replicas.lock().expect("no panic") = replicas.map(NodeId).to_vec();
            replicas.into_iter().for_each(|node| damage(&cluster, node));
            cluster.restart().await;
            let (given, ended) = cluster.download(&replicas).await;
            assert!(given.is_empty(), "{name}: {} bytes of a damaged chunk", given.len());
            assert!(matches!(&*ended.expect_err("damaged"), Error::Corrupt { .. }), "{name}");
        }
    }
}

#[tokio::test]
async fn a_forged_copy_is_passed_by_before_a_byte_of_it_is_given() {
    let mut cluster = Cluster::of(&[1, 2]).await;
    let store = open(&cluster.disks[&OWN]).await;
    store.remove(vec![ID]).await.expect("removed");
    put(&store, ID, data(9), cv(&data(1))).await;
    cluster.restart().await;
    let range = cluster.fetcher.as_ref().expect("started").piece(chunk(&[1, 2]), 0..10, Depth::Blocks).await;
    assert_eq!(range.expect("the control: its blocks are in order"), data(9)[..10]);
    let (given, ended) = cluster.download(&[1, 2]).await;
    assert!(ended.is_ok() && given == data(1));
}

#[tokio::test]
async fn a_copy_that_moved_is_found_by_one_look_at_the_new_list() {
    let cluster = Cluster::of(&[2, 3, 4]).await;
    cluster.lose(2);
    cluster.lose(3);
    *cluster.known.replicas.lock().expect("no panic") = vec![NodeId(3), NodeId(4)];
    let (given, ended) = cluster.download(&[2, 3]).await;
    assert!(ended.is_ok() && given == data(1), "{ended:?}");
    assert_eq!(cluster.known.asked.load(std::sync::atomic::Ordering::SeqCst), 3, "once per piece");
}

#[tokio::test]
async fn a_chunk_that_no_version_has_is_gone_and_not_damaged() {
    let mut cluster = Cluster::of(&[1, 2]).await;
    cluster.lose(1);
    cluster.lose(2);
    cluster.restart().await;
    let (given, ended) = cluster.download(&[1, 2]).await;
    assert!(given.is_empty() && matches!(&*ended.expect_err("gone"), Error::Unavailable { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_silent_copy_is_passed_by_after_a_second_and_then_asked_last() {
    let cluster = Cluster::of(&[2, 3]).await;
    let stuck = Router::new().route(route::PEER_CHUNK, get(std::future::pending::<()>));
    cluster.network.serve(host(NodeId(2)), stuck.into_service::<flotilla_client::Body>());
    let fetcher = cluster.fetcher.as_ref().expect("started");
    let mut times = Vec::new();
    for start in [0, PIECE] {
        for at in 0..4 {
            let begun = tokio::time::Instant::now();
            let part = start + at * 1000..start + at * 1000 + 10;
            let bytes = fetcher.piece(chunk(&[2, 3]), part.clone(), Depth::Blocks).await.expect("there is another");
            assert_eq!(bytes, data(1)[part.start as usize..part.end as usize]);
            times.push(begun.elapsed());
        }
    }
    times.sort();
    assert!(times[7] <= HEDGE_AFTER + Duration::from_millis(100), "{times:?}");
    assert!(times[6] < Duration::from_millis(100), "a slow node is met once: {times:?}");
    let silent = fetcher.piece(chunk(&[2]), 0..10, Depth::Blocks).await;
    assert!(matches!(&*silent.expect_err("silent"), Error::Unavailable { .. }), "silence proves nothing");
}
