//! A gateway and the nodes that it stores chunks on, in one process: real stores, handlers and commits, a network and disks that
//! fail on command, and a leader that places as the test says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::{
    CommandId, Epoch, FileName, NodeId, RequestId, WriterId,
    peer::{PlaceAnswer, PlaceRequest, auth::FleetSecret},
};
use flotilla_chunk_store::{ChunkStore, Options as StoreOptions};
use flotilla_client::{Network, PeerClient};
use flotilla_env::{
    Clock, Entropy, clock,
    disk::{FaultyDisk, MemDisk},
    entropy,
};
use flotilla_http_server::{DocumentCache, Late};
use flotilla_kv::MemKv;
use flotilla_member::{Period, membership::Greeter};
use flotilla_raft_store::{Group, alone};
use futures::{Stream, StreamExt, stream};
use uuid::Uuid;

use super::super::{
    budget::Budget,
    places::{Placer, Places},
    replicate::Hop,
    sequence::Sequence,
    upload::{BodyError, Committed, Error, Parts, Request, Uploads},
};
use crate::{
    board::Board,
    homes::Homes,
    http::{Member, chunk_routes},
    life::Released,
    membership::{Kind, Membership, Nodes},
    metadata::{Answer, Command, FileMachine, Metadata, Precondition, read::ReadChunk},
    repair::pace::Pace,
    supernodes::Supernodes,
};

/// Above the size of a record: a file is written on threads that a paused clock waits for, a volume on one that it does not know.
pub(crate) const CHUNK: u64 = 2 << 20;
pub(crate) const FRAME: usize = 128 << 10;
/// A chunk store's own index.
fn chunk_index() -> Arc<MemKv> {
    let families: Vec<_> = flotilla_chunk_store::FAMILIES.iter().map(|family| family.name).collect();
    Arc::new(MemKv::new(&families))
}

const GATEWAY: NodeId = alone::MEMBER;

/// A leader that gives the nodes it is told to, the gateway first, and notes what it was asked.
#[derive(Default)]
pub(crate) struct Leader {
    pub(crate) eligible: Mutex<Vec<u64>>,
    pub(crate) gone: Mutex<bool>,
    pub(crate) full: Mutex<bool>,
    pub(crate) asked: Mutex<Vec<PlaceRequest>>,
}

impl Leader {
    /// Every node that was named as a suspect.
    pub(crate) fn suspects(&self) -> Vec<u64> {
        let asked = self.asked.lock().expect("no panic");
        let mut all: Vec<u64> = asked.iter().flat_map(|request| &request.suspects).map(|id| id.0).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[async_trait]
impl Placer for Leader {
    async fn place(&self, request: &PlaceRequest) -> Result<PlaceAnswer, String> {
        if *self.gone.lock().expect("no panic") {
            return Err("no leader is known".to_owned());
        }
        self.asked.lock().expect("no panic").push(request.clone());
        let mut nodes: Vec<NodeId> = self.eligible.lock().expect("no panic").iter().map(|id| NodeId(*id)).collect();
        nodes.retain(|id| !request.avoid.contains(id));
        nodes.sort_by_key(|id| (*id != request.gateway, *id));
        let mut answer = PlaceAnswer {
            chunks: Vec::new(),
            eligible: nodes.len() as u32,
            full: *self.full.lock().expect("no panic"),
        };
        if nodes.len() >= request.replicas as usize {
            let place: Vec<Hop> = nodes.iter().take(request.replicas as usize).map(|id| (*id, host(id.0))).collect();
            answer.chunks = vec![place; request.count as usize];
        }
        Ok(answer)
    }
}

pub(crate) fn host(id: u64) -> String {
    format!("n{id}:1")
}

/// One node's store and the disk under it.
pub(crate) struct Node {
    pub(crate) store: ChunkStore,
    pub(crate) disk: FaultyDisk,
}

/// The gateway is node 1.
pub(crate) struct Lab {
    pub(crate) network: Network,
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) leader: Arc<Leader>,
    pub(crate) budget: Budget,
    pub(crate) metadata: Metadata,
    pub(crate) uploads: Uploads,
}

impl Lab {
    pub(crate) async fn start(size: u64) -> Self {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (clock::system(), entropy::seeded(1));
        let network = Network::new(entropy.clone());
        let peers = |id: u64| {
            let transport = network.transport(host(id));
            PeerClient::new(FleetSecret::new("of the lab"), host(id), clock.clone(), &*entropy, transport)
        };
        let metadata = Metadata::new(group().await);
        let mut nodes = BTreeMap::new();
        for id in 1..=size {
            let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
            let options = StoreOptions::new("/chunks", Arc::new(disk.clone()), chunk_index(), 0);
            let (store, _) = ChunkStore::open(options).await.expect("an empty disk");
            let member = Late::default();
            let board = Board::new(clock.clone(), entropy.clone());
            let register =
                Nodes { node: NodeId(id), metadata: metadata.clone(), board: board.clone(), entropy: entropy.clone() };
            let greeter = Greeter {
                kind: Kind::Node,
                uuid: Uuid::nil(),
                own: host(id),
                known: Vec::new(),
                start: None,
                peers: peers(id),
            };
            let membership = Membership::new(NodeId(id), register, Period::secs(600), greeter, clock.clone());
            member.set(Member {
                node: NodeId(id),
                metadata: metadata.clone(),
                membership,
                board,
                store: store.clone(),
                peers: peers(id),
                pace: Pace::new(1 << 30, clock.clone()),
                clock: clock.clone(),
            });
            network.serve(host(id), chunk_routes(member));
            nodes.insert(id, Node { store, disk });
        }
        let leader = Arc::new(Leader { eligible: Mutex::new((1..=size).collect()), ..Leader::default() });
        let budget = Budget::default();
        let supernodes = Supernodes::new(Vec::new(), DocumentCache::default(), peers(1), clock.clone());
        let uploads = Uploads::new(Parts {
            node: GATEWAY,
            writer: writer(&metadata).await,
            metadata: metadata.clone(),
            store: nodes[&1].store.clone(),
            peers: peers(1),
            places: Places::new(GATEWAY, CHUNK, 2, leader.clone(), clock.clone()),
            chunk_size: CHUNK,
            replicas: 2,
            budget: budget.clone(),
            homes: Homes::new("a".parse().expect("a good name"), Uuid::nil(), supernodes, metadata.clone()),
            released: Released::default(),
            sequence: Sequence::default(),
            clock,
            entropy,
        });
        Self { network, nodes, leader, budget, metadata, uploads }
    }

    /// Uploads a body; `at` is called before each frame with the frame's number, and after the last one.
    pub(crate) async fn put(&self, length: usize, at: impl FnMut(usize) + Send) -> Result<Committed, Error> {
        self.put_as("c1", length, at).await
    }

    pub(crate) async fn put_as(
        &self,
        command: &str,
        length: usize,
        mut at: impl FnMut(usize) + Send,
    ) -> Result<Committed, Error> {
        let content = content(length);
        let frames = content.len().div_ceil(FRAME);
        let frames = stream::iter(0..=frames).filter_map(move |n| {
            at(n);
            let part = content.get(n * FRAME..content.len().min((n + 1) * FRAME)).map(<[u8]>::to_vec);
            std::future::ready(part.filter(|part| !part.is_empty()).map(|part| Ok(Bytes::from(part))))
        });
        self.put_body(command, Some(length as u64), frames).await
    }

    pub(crate) async fn put_body(
        &self,
        command: &str,
        length: Option<u64>,
        body: impl Stream<Item = Result<Bytes, BodyError>> + Send,
    ) -> Result<Committed, Error> {
        let request = Request {
            name: name(),
            epoch: Epoch(1),
            command: CommandId { id: command.parse().expect("a good id"), seen: None },
            precondition: Precondition::Always,
            media_type: None,
            length,
        };
        self.uploads.put(request, Box::pin(body)).await
    }

    /// The chunks of the committed file.
    pub(crate) fn chunks(&self) -> Vec<ReadChunk> {
        let file = self.metadata.key(&name()).expect("read").expect("there").file.expect("live");
        self.metadata.chunks(&file, 0..file.size).expect("read")
    }

    /// Checks that the file is `length` bytes long, each chunk on two nodes with the right bytes, and gives the nodes of each.
    pub(crate) async fn verify(&self, length: usize) -> Vec<Vec<u64>> {
        let (content, mut nodes, mut end) = (content(length), Vec::new(), 0);
        for chunk in self.chunks() {
            assert_eq!(chunk.replicas.len(), 2);
            end = chunk.offset + chunk.length;
            for id in &chunk.replicas {
                let store = &self.nodes[&id.0].store;
                let bytes = store.read(chunk.id, 0..chunk.length).await.expect("an acked copy is there");
                assert_eq!(bytes, content[chunk.offset as usize..end as usize], "{} on {id}", chunk.id);
            }
            nodes.push(chunk.replicas.iter().map(|id| id.0).collect());
        }
        assert_eq!(end, length as u64);
        nodes
    }
}

pub(crate) fn name() -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: "f".parse().expect("a good key") }
}

pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

async fn group() -> Group<FileMachine> {
    let group = alone::open("a", FileMachine).await.expect("an empty database");
    alone::form(&group, &host(1)).await.expect("formed");
    group
}

async fn writer(metadata: &Metadata) -> WriterId {
    let id = CommandId { id: RequestId::from_bits(7), seen: None };
    match metadata.propose(id, Command::GrantWriter { node: GATEWAY, after: None }).await.expect("applied").answer {
        Answer::Writer(writer) => writer,
        other => panic!("{other:?}"),
    }
}
