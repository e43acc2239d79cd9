//! An initial member with a new disk gets the place that the group gives it, and no other one.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use flotilla_api::{
    codec,
    peer::{FormAnswer, FormRequest, auth::FleetSecret},
};
use flotilla_client::{Body, Transport, body, transport};
use flotilla_env::{Disk as _, disk::MemDisk};
use flotilla_raft_store::formation::Plan;
use http::{Request, Response};

use super::*;

const OWN: &str = "a-0:7402";
const OTHERS: [&str; 2] = ["a-1:7402", "a-2:7402"];

/// The others, who have formed the group without this one.
struct AtWork;

#[async_trait]
impl Peers for AtWork {
    async fn ask(&self, _address: &str, _request: &FormRequest) -> Result<FormAnswer, String> {
        Ok(FormAnswer::Formed { uuid: Uuid::from_u128(7) })
    }
}

/// What the leader says to one who asks for a place; nobody asks more often than there are answers.
#[derive(Debug)]
struct Leader(Mutex<Vec<JoinAnswer>>);

#[async_trait]
impl Transport for Leader {
    async fn send(&self, _lane: Lane, request: Request<Body>) -> Result<Response<Body>, transport::Error> {
        assert_eq!(request.uri().path(), route::PEER_JOIN);
        let answer = self.0.lock().expect("nobody panicked").pop().expect("nobody asks more often");
        Ok(Response::new(body::full(codec::encode(&answer))))
    }
}

/// Starts the first initial member on `disk`, told to ask `join`.
async fn start(disk: &MemDisk, join: &[&str], answers: &[JoinAnswer]) -> Result<Identity, Error> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (dir, join) = (PathBuf::from("/data"), owned(join));
    disk.create_dir_all(&dir).expect("there is room");
    let leader = Arc::new(Leader(Mutex::new(answers.to_vec())));
    let seams = Seams { disk: Arc::new(disk.clone()), transport: leader, ..Seams::system() };
    let secret = FleetSecret::new("0123456789abcdef0123456789abcdef");
    let peers = PeerClient::new(secret.clone(), OWN, seams.clock.clone(), &*seams.entropy, seams.transport.clone());
    let plan = Plan {
        dir: dir.clone(),
        fleet: secret.fleet(),
        group: "a".to_owned(),
        name: "a-0".to_owned(),
        own: OWN.to_owned(),
        members: owned(&[OWN, OTHERS[0], OTHERS[1]]),
        join: join.clone(),
    };
    let formation = Formation::open(plan, seams.disk.clone(), seams.entropy.clone())?;
    let joiner = Joiner { dir: &dir, group: "a", name: "a-0", peer: OWN, members: &join, peers: &peers, seams: &seams };
    joiner.place(&formation, &AtWork).await
}

#[tokio::test]
async fn a_new_disk_of_an_initial_member_joins_once_the_lost_one_is_removed() {
    let disk = MemDisk::new();
    let alone = start(&disk, &[], &[]).await;
    assert!(matches!(alone, Err(Error::Formation(formation::Error::EmptyButKnown { .. }))), "{alone:?}");

    let refused = JoinAnswer::Refused { why: "node 1 is a member at a-0:7402 and has another disk".to_owned() };
    let early = start(&disk, &OTHERS, &[refused]).await;
    assert!(matches!(&early, Err(Error::Refused(why)) if why.contains("another disk")), "{early:?}");

    let place = JoinAnswer::Place { uuid: Uuid::from_u128(7), node: NodeId(4) };
    let placed = start(&disk, &OTHERS, &[place]).await.expect("there is a place");
    assert_eq!((placed.uuid, placed.node), (Uuid::from_u128(7), NodeId(4)));

    let again = start(&disk, &OTHERS, &[]).await.expect("it has a place");
    assert_eq!(again, placed, "a start on a folder that has a place asks nobody");
}
