//! Whom to ask first, and when the next one.

use std::convert::Infallible;

use bytes::Bytes;
use flotilla_api::{codec, peer::auth::FleetSecret};
use flotilla_client::{Body, Network, body};
use flotilla_env::{clock, entropy};
use http::{Request, Response};
use tower::service_fn;

use super::*;

/// Three supernodes, `s1:1` to `s3:1`, in this order.
fn three(network: &Network) -> Supernodes {
    let (secret, own) = (FleetSecret::new("of the test"), "n1:1");
    let peers = PeerClient::new(secret, own, clock::system(), &*entropy::seeded(2), network.transport(own));
    Supernodes::new((1..=3).map(|number| format!("s{number}:1")).collect(), peers, clock::system())
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
    let mut state = State::new(3);
    let begun = Instant::now();
    assert_eq!(state.order(begun), [0, 1, 2]);
    state.good = 1;
    assert_eq!(state.order(begun), [1, 2, 0]);
    state.failed[1] = Some(begun);
    tokio::time::advance(SHUNNED_FOR / 2).await;
    state.failed[2] = Some(Instant::now());
    assert_eq!(state.order(Instant::now()), [0, 1, 2], "the failure of 1 is longer ago");
    tokio::time::advance(SHUNNED_FOR / 2).await;
    assert_eq!(state.order(Instant::now()), [1, 0, 2], "1 is tried again");
    assert_eq!(State::new(0).order(begun), [0; 0]);
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
    assert!(why.starts_with("s3:1: "), "{why}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
