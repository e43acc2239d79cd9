//! Tasks carried out between real stores over a network in memory.

use async_trait::async_trait;
use flotilla_api::{ChunkId, admin::ChunkState};
use flotilla_client::PeerClient;
use flotilla_env::{clock, entropy};

use super::*;
use crate::{
    gateway::tests::lab::{CHUNK, Lab, content, host},
    metadata::{read::ReadChunk, rows::ChunkRef},
};

/// One chunk of the lab's size, and a shorter one.
const LENGTH: usize = CHUNK as usize + 1_200_000;

struct Hosts;

#[async_trait]
impl Replicas for Hosts {
    fn address(&self, node: NodeId) -> Option<String> {
        Some(host(node.0))
    }

    async fn replicas(&self, _: ChunkId) -> Result<Vec<NodeId>, String> {
        Err("nobody asks".to_owned())
    }
}

/// Node 3 of a lab whose file lies on nodes 1 and 2.
async fn third() -> (Lab, Repair) {
    let lab = Lab::start(3).await;
    *lab.leader.eligible.lock().expect("no panic") = vec![1, 2];
    lab.put(LENGTH, |_| {}).await.expect("stored");
    let (clock, entropy) = (clock::system(), entropy::seeded(5));
    let peers = PeerClient::new(
        flotilla_api::peer::auth::FleetSecret::new("of the lab"),
        host(3),
        clock.clone(),
        &*entropy,
        lab.network.transport(host(3)),
    );
    let repair = Repair::new(Parts {
        node: NodeId(3),
        replicas: 2,
        down_grace: Period::secs(60),
        survey_every: Duration::from_secs(60),
        metadata: lab.metadata.clone(),
        board: Board::new(clock.clone(), entropy.clone()),
        store: lab.nodes[&3].store.clone(),
        peers,
        holders: Arc::new(Hosts),
        gate: Gate::default(),
        pace: Pace::new(1 << 30, clock.clone()),
        transfers: Transfers::new(NodeId(3), clock.clone()),
        clock,
        entropy,
    });
    (lab, repair)
}

fn refs(chunks: &[ReadChunk]) -> Vec<ChunkRef> {
    let of = |chunk: &ReadChunk| ChunkRef {
        id: chunk.id,
        length: u32::try_from(chunk.length).expect("small"),
        cv: chunk.cv,
    };
    chunks.iter().map(of).collect()
}

async fn plan(repair: &Repair, chunks: Vec<ChunkRef>) {
    let work = vec![heal::Work::Copy { to: NodeId(3), chunks }];
    repair.step(heal::Command::Plan { work }).await.expect("planned");
}

/// How many chunks name node 3, each of which must then be there and right.
async fn named(lab: &Lab) -> usize {
    let (content, mut named) = (content(LENGTH), 0);
    for chunk in lab.chunks().iter().filter(|chunk| chunk.replicas.contains(&NodeId(3))) {
        let bytes = lab.nodes[&3].store.read(chunk.id, 0..chunk.length).await.expect("a named copy is there");
        assert_eq!(bytes, content[chunk.offset as usize..(chunk.offset + chunk.length) as usize]);
        named += 1;
    }
    named
}

#[tokio::test(start_paused = true)]
async fn chunks_of_a_task_are_copied_and_named_and_the_task_ends() {
    let (lab, repair) = third().await;
    assert!(!repair.work().await.expect("no task"), "there is none");
    plan(&repair, refs(&lab.chunks())).await;
    assert!(repair.work().await.expect("carried out"));
    assert_eq!((named(&lab).await, repair.tasks().await.expect("read").len()), (2, 0));
    let told = repair.0.transfers.list();
    assert!(told.items[0].chunks.iter().all(|chunk| chunk.state == ChunkState::Done && chunk.from.is_some()));
    assert_eq!(told.links.iter().map(|link| link.bytes).sum::<u64>(), LENGTH as u64);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_another_content_is_never_copied() {
    let (lab, repair) = third().await;
    let (chunks, source) = (lab.chunks(), &lab.nodes[&2].store);
    // Node 2 has something else under the name of the first chunk, with headers and checksums that fit.
    let id = chunks[0].id;
    source.remove(vec![id]).await.expect("removed");
    let other = vec![7; CHUNK as usize];
    let mut writer = source.put(id, 0, CHUNK).await.expect("begun");
    writer.write(other.clone().into()).await.expect("written");
    let mut hasher = crate::gateway::tree::ChunkHasher::new(0);
    hasher.update(&other);
    writer.finish(hasher.finish().cv).await.expect("stored");
    lab.network.cut(host(3), host(1));
    plan(&repair, refs(&chunks)).await;
    assert!(!repair.work().await.expect("carried out"), "one is left");
    assert_eq!(named(&lab).await, 1, "the other one");
    assert!(repair.0.store.stat(id).await.is_err(), "nothing is left of it");
    assert_eq!(source.corrupt(9), [id], "node 2 knows, and tells the leader");
    assert_eq!(repair.tasks().await.expect("read").len(), 0, "it is planned anew");
    // With a good holder it is.
    lab.network.heal(&host(3), &host(1));
    plan(&repair, refs(&chunks[..1])).await;
    assert!(repair.work().await.expect("carried out"));
    assert_eq!(named(&lab).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_there_already_is_read_and_named() {
    let (lab, repair) = third().await;
    let chunks = refs(&lab.chunks());
    for chunk in &chunks {
        assert!(matches!(repair.pull(*chunk).await.expect("read"), pull::Pulled::Here(Some(_))), "made and not noted");
    }
    lab.network.isolate(host(1));
    lab.network.isolate(host(2));
    plan(&repair, chunks).await;
    assert!(repair.work().await.expect("carried out"));
    assert_eq!(named(&lab).await, 2);
}
