//! Whom to ask first, and when the next one.

use std::convert::Infallible;

use bytes::Bytes;
use flotilla_api::{
    NodeId, codec,
    peer::{Document, Documents, Supernode, auth::FleetSecret},
};
use flotilla_client::{Body, Network, body};
use flotilla_env::{clock, entropy};
use http::{Request, Response};
use tower::service_fn;

use super::*;

fn addresses(count: u64) -> Vec<String> {
    (1..=count).map(|number| format!("s{number}:1")).collect()
}

/// So many supernodes, `s1:1` first, and those that documents name.
fn those(network: &Network, count: u64, documents: DocumentCache) -> Supernodes {
    let (secret, own) = (FleetSecret::new("of the test"), "n1:1");
    let peers = PeerClient::new(secret, own, clock::system(), &*entropy::seeded(2), network.transport(own));
    Supernodes::new(addresses(count), documents, peers, clock::system())
}

/// Three supernodes, `s1:1` to `s3:1`, in this order.
fn three(network: &Network) -> Supernodes {
    those(network, 3, DocumentCache::default())
}

/// Puts a supernode on the network that answers everything with this number.
fn answering(network: &Network, host: &str, number: u64) {
    let bytes = Bytes::from(codec::encode(&number));
    network.serve(
        host,
        service_fn(move |_: Request<Body>| {
            let answer = Response::new(body::full(bytes.clone()));
            async move { Ok::<_, Infallible>(answer) }
        }),
    );
}

#[tokio::test(start_paused = true)]
async fn who_answered_last_is_asked_first_and_who_failed_lately_last() {
    let mut state = State::default();
    let order = |state: &mut State, now| state.order(addresses(3), now).join(" ");
    let begun = Instant::now();
    assert_eq!(order(&mut state, begun), "s1:1 s2:1 s3:1");
    state.good = Some("s2:1".to_owned());
    assert_eq!(order(&mut state, begun), "s2:1 s3:1 s1:1");
    state.failed.insert("s2:1".to_owned(), begun);
    tokio::time::advance(SHUNNED_FOR / 2).await;
    state.failed.insert("s3:1".to_owned(), Instant::now());
    assert_eq!(order(&mut state, Instant::now()), "s1:1 s2:1 s3:1", "the failure of s2 is longer ago");
    tokio::time::advance(SHUNNED_FOR / 2).await;
    assert_eq!(order(&mut state, Instant::now()), "s2:1 s1:1 s3:1", "s2 is tried again");
    state.good = Some("gone:1".to_owned());
    assert_eq!(state.order(addresses(1), begun), ["s1:1"], "who answered last has left");
    assert_eq!(state.order(Vec::new(), begun), [""; 0]);
}

#[test]
fn those_of_the_settings_and_of_the_documents_are_asked() {
    let documents = DocumentCache::default();
    let supernodes = those(&Network::new(entropy::seeded(1)), 2, documents.clone());
    assert_eq!(supernodes.addresses(), ["s1:1", "s2:1"]);
    let named = |id, peer: &str| {
        Document::Supernode(Supernode {
            id: NodeId(id),
            name: format!("s{id}"),
            peer: peer.to_owned(),
            public: "http://s:2".to_owned(),
        })
    };
    let entries = vec![named(7, "s7:1"), named(2, "s2:1")];
    documents.replace(Documents { revision: 1, entries, ..Documents::default() });
    assert_eq!(supernodes.addresses(), ["s1:1", "s2:1", "s7:1"]);
    documents.replace(Documents { revision: 2, ..Documents::default() });
    assert_eq!(supernodes.addresses(), ["s1:1", "s2:1"], "one that was removed");
}

#[tokio::test(start_paused = true)]
async fn the_next_one_is_asked_when_one_fails_beside_another_that_hangs() {
    let network = Network::new(entropy::seeded(1));
    // The first one hangs, and the second one is not there.
    network.stall("s1:1");
    answering(&network, "s3:1", 7);
    let begun = Instant::now();
    let answer: u64 = three(&network).ask("/peer/v1/any", &()).await.expect("the third one answers");
    assert_eq!(answer, 7);
    assert!(begun.elapsed() < 2 * HEDGE_AFTER, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_any_answer_the_last_failure_is_told_at_once() {
    let network = Network::new(entropy::seeded(1));
    let begun = Instant::now();
    let why = three(&network).ask::<_, u64>("/peer/v1/any", &()).await.expect_err("none is there");
    assert!(matches!(&why, Unanswered::Silent(why) if why.starts_with("s3:1: ")), "{why:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
