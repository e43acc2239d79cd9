//! The in-memory transport: each fault looks like the real one.

use std::{convert::Infallible, time::Duration};

use axum::extract::Request;
use bytes::Bytes;
use flotilla_client::{Body, Lane, Network, Transport, body, transport::Error};
use futures::{SinkExt, channel::mpsc};
use http_body_util::BodyExt;

use crate::service::{CALLER, HOST, Seen, network, router};

fn counted(network: &Network) -> Seen<()> {
    let seen = Seen::new();
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |_: Request| {
            service.add(());
            async { "hello" }
        }),
    );
    seen
}

async fn send(network: &Network) -> Result<Bytes, Error> {
    let request = http::Request::builder().uri(format!("http://{HOST}/")).body(body::empty()).expect("a good request");
    let answer = network.transport(CALLER).send(Lane::Control, request).await?;
    Ok(body::collect(answer.into_body(), 64).await.expect("a short body"))
}

#[tokio::test]
async fn a_partition_is_unreachable_and_nothing_is_executed() {
    let network = network();
    let seen = counted(&network);
    network.cut(CALLER, HOST);
    assert!(matches!(send(&network).await, Err(Error::Unreachable { .. })));
    network.heal(CALLER, HOST);
    network.isolate(HOST);
    assert!(matches!(send(&network).await, Err(Error::Unreachable { .. })));
    assert!(seen.all().is_empty());
    network.heal_all();
    assert_eq!(send(&network).await.expect("healed"), "hello");
}

#[tokio::test]
async fn a_cut_way_back_loses_the_answer_of_an_executed_request() {
    let network = network();
    let seen = counted(&network);
    network.cut(HOST, CALLER);
    assert!(matches!(send(&network).await, Err(Error::Interrupted { .. })));
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test]
async fn a_removed_host_is_unreachable() {
    let network = network();
    counted(&network);
    network.remove(HOST);
    assert!(matches!(send(&network).await, Err(Error::Unreachable { .. })));
}

#[tokio::test]
async fn loss_loses_requests_and_answers() {
    let network = network();
    let seen = counted(&network);
    network.set_loss(500);
    let mut answered = 0;
    for _ in 0..200 {
        match send(&network).await {
            Ok(_) => answered += 1,
            Err(e) => assert!(matches!(e, Error::Interrupted { .. })),
        }
    }
    let executed = seen.all().len();
    assert!((60..140).contains(&answered), "{answered} of 200");
    assert!(executed > answered && executed < 200, "{executed} executed, {answered} answered");
}

#[tokio::test(start_paused = true)]
async fn delay_passes_on_the_clock() {
    let network = network();
    counted(&network);
    network.set_delay(Duration::from_secs(2), Duration::from_secs(3));
    let begin = tokio::time::Instant::now();
    send(&network).await.expect("delayed, not lost");
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(2) && took <= Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_cut_in_mid_body_breaks_the_body() {
    let network = network();
    network.serve(HOST, router(|r: Request| async move { http::Response::new(r.into_body()) }));
    let (mut up, stream) = mpsc::channel::<Result<Bytes, Infallible>>(4);
    let request: http::Request<Body> =
        http::Request::builder().uri(format!("http://{HOST}/")).body(body::stream(stream)).expect("a good request");
    let answer = network.transport(CALLER).send(Lane::Data, request).await.expect("a head");
    let mut down = answer.into_body();
    up.send(Ok(Bytes::from_static(b"a"))).await.expect("the stream is open");
    assert!(down.frame().await.expect("a frame").is_ok());
    network.cut(HOST, CALLER);
    up.send(Ok(Bytes::from_static(b"b"))).await.expect("the stream is open");
    assert!(down.frame().await.expect("a frame").is_err());
}
