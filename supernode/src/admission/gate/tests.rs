//! The gate as requests meet it: who has waited is let through only with a key that is good still.

use std::pin::pin;

use flotilla_api::{
    keys::KeyId,
    peer::{Document, Documents, Principal},
    queue::Class,
};
use flotilla_env::{clock, entropy};
use futures::FutureExt as _;

use super::*;
use crate::admission::{
    class::{Patience, Place},
    limits::CREDITS_BEFORE_OFFERS,
};

fn hash(key: &str) -> [u8; 32] {
    *blake3::hash(key.as_bytes()).as_bytes()
}

/// Documents with principals that are called as their keys are.
fn documents(revision: u64, keys: &[&str]) -> Documents {
    let of = |key: &&str| {
        let name = key.parse().expect("a good name");
        Document::Principal(Principal { name, key_hash: hash(key), root: false, created_ms: 1 })
    };
    Documents { revision, entries: keys.iter().map(of).collect(), ..Documents::default() }
}

fn request(n: u32) -> RequestId {
    RequestId::from_bits(n.into())
}

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a good name")
}

fn ask(n: u32, key: &str) -> Ask {
    Ask {
        request: request(n),
        principal: key.into(),
        key: Some(KeyId::of(&hash(key))),
        op: "put",
        class: Class { lane: Lane::Small, units: 1, bytes: 1 },
        place: Place::Home(cluster("a")),
        first: None,
        patience: Patience::Queue,
    }
}

/// A gate that knows the keys `p` and `q`.
fn gate() -> (Gate, DocumentCache) {
    let known = DocumentCache::default();
    known.replace(documents(1, &["p", "q"]));
    let settings = Settings { queue_wait: Duration::from_secs(5), stealing: true };
    (Gate::new(settings, known.clone(), clock::system(), entropy::seeded(1)), known)
}

/// All that may be under way before a cluster is heard.
fn fill(gate: &Gate) -> Vec<Permit> {
    let permits = (0..CREDITS_BEFORE_OFFERS).map(|n| gate.admit(ask(n, "p")).now_or_never());
    permits.map(|permit| permit.expect("there is a credit").expect("its key is good")).collect()
}

fn code(refused: Result<Permit, ApiError>) -> Option<Code> {
    refused.err().map(|error| error.code)
}

#[tokio::test]
async fn who_waits_while_its_key_is_revoked_is_refused_and_its_place_is_anothers() {
    let (gate, known) = gate();
    let mut held = fill(&gate);
    let mut waits = pin!(gate.admit(ask(100, "p")));
    assert!(waits.as_mut().now_or_never().is_none(), "there is no credit");
    known.replace(documents(2, &["q"]));
    drop(held.pop());
    assert_eq!(code(waits.await), Some(Code::Unauthenticated));
    let told = gate.explain(&request(100)).expect("it is remembered");
    assert_eq!(told.status, Some(401));
    let mut other = pin!(gate.admit(ask(101, "q")));
    let permit = other.as_mut().now_or_never().expect("its credit came back");
    assert_eq!(code(permit), None);
}

#[tokio::test]
async fn a_revoked_key_does_not_wait_again_for_another_cluster() {
    let (gate, known) = gate();
    let mut held = fill(&gate);
    known.replace(documents(2, &["q"]));
    let permit = held.pop().expect("there are some");
    assert_eq!(code(permit.lost_claim(cluster("b")).await), Some(Code::Unauthenticated));
    assert!(gate.status().iter().all(|side| side.cluster != Some(cluster("b")) || side.in_flight == 0));
}

#[tokio::test]
async fn a_ticket_that_stands_in_the_queue_brings_no_key() {
    let (gate, known) = gate();
    known.replace(documents(2, &[]));
    let ticket = Ask { key: None, patience: Patience::Ticket, ..ask(1, "p") };
    assert_eq!(code(gate.admit(ticket).await), None);
}
