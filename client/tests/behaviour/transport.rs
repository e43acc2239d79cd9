//! The TCP transport: lanes, streaming, and what its errors claim.

use std::{convert::Infallible, net::SocketAddr};

use axum::{extract::ConnectInfo, extract::Request};
use bytes::Bytes;
use flotilla_client::{Body, Http, Lane, Transport, body, transport::Error};
use futures::{SinkExt, channel::mpsc};
use http::{Response, StatusCode, header::LOCATION};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::service::{on_loopback, router};

fn request(address: &str, route: &str, body: Body) -> http::Request<Body> {
    http::Request::builder().method("POST").uri(format!("http://{address}{route}")).body(body).expect("a good request")
}

async fn port(http: &Http, lane: Lane, address: &str) -> Bytes {
    let answer = http.send(lane, request(address, "/", body::empty())).await.expect("the service answers");
    body::collect(answer.into_body(), 64).await.expect("a short body")
}

#[tokio::test]
async fn lanes_use_connections_of_their_own_and_keep_them() {
    let address = on_loopback(router(|r: Request| async move {
        let ConnectInfo(peer) = r.extensions().get::<ConnectInfo<SocketAddr>>().copied().expect("set by the server");
        peer.port().to_string()
    }))
    .await;
    let http = Http::new();
    let mut ports = Vec::new();
    for lane in Lane::ALL {
        let first = port(&http, lane, &address).await;
        assert_eq!(first, port(&http, lane, &address).await, "{lane:?} keeps its connection");
        ports.push(first);
    }
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), Lane::ALL.len());
}

#[tokio::test]
async fn bodies_stream_both_ways_without_being_collected() {
    let address = on_loopback(router(|r: Request| async move { Response::new(r.into_body()) })).await;
    let (mut up, stream) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    up.send(Ok(Bytes::from_static(b"first"))).await.expect("the stream is open");
    let answer = Http::new().send(Lane::Data, request(&address, "/", body::stream(stream))).await;
    let mut down = answer.expect("the head comes before the body has ended").into_body();
    let frame = down.frame().await.expect("a frame").expect("a good one");
    assert_eq!(frame.into_data().expect("data"), "first");
    up.send(Ok(Bytes::from_static(b"second"))).await.expect("the stream is open");
    drop(up);
    assert_eq!(body::collect(down, 64).await.expect("the rest"), "second");
}

#[tokio::test]
async fn a_stream_of_known_length_announces_it() {
    let address = on_loopback(router(|r: Request| async move {
        r.headers().get("content-length").and_then(|v| v.to_str().ok()).unwrap_or("none").to_owned()
    }))
    .await;
    let bytes = || futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"abc"))]);
    for (sent, announced) in [(body::stream_of(bytes(), 3), "3"), (body::stream(bytes()), "none")] {
        let answer = Http::new().send(Lane::Data, request(&address, "/", sent)).await.expect("an answer");
        assert_eq!(body::collect(answer.into_body(), 64).await.expect("a short body"), announced);
    }
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let address = on_loopback(router(|_| async { (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere")]) })).await;
    let answer = Http::new().send(Lane::Control, request(&address, "/", body::empty())).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn a_refused_connect_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let e = Http::new().send(Lane::Control, request(&address, "/", body::empty())).await.expect_err("nobody listens");
    assert!(matches!(e, Error::Unreachable { target, .. } if target == address));
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_is_an_interruption() {
    let address = raw(b"").await;
    let e = Http::new().send(Lane::Control, request(&address, "/", body::empty())).await.expect_err("no answer");
    assert!(matches!(e, Error::Interrupted { .. }), "{e:?}");
}

#[tokio::test]
async fn a_body_cut_short_is_an_error_not_an_end() {
    let address = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    let answer = Http::new().send(Lane::Data, request(&address, "/", body::empty())).await.expect("a head");
    let e = body::collect(answer.into_body(), 64).await.expect_err("7 bytes are missing");
    assert!(matches!(e, body::CollectError::Broken(_)));
}

#[tokio::test]
async fn a_route_is_sent_byte_for_byte() {
    let address = on_loopback(router(|r: Request| async move { r.uri().to_string() })).await;
    for route in ["/a/../b", "/a/./b", "/a?b='c'", "/%61%2F?x=%20"] {
        let answer = Http::new().send(Lane::Data, request(&address, route, body::empty())).await.expect("an answer");
        assert_eq!(body::collect(answer.into_body(), 64).await.expect("a short body"), route, "as it was signed");
    }
}

#[tokio::test]
async fn a_request_without_a_host_is_refused() {
    let request = http::Request::builder().uri("/a").body(body::empty()).expect("a good request");
    let e = Http::new().send(Lane::Data, request).await.expect_err("refused");
    assert!(matches!(e, Error::Invalid(_)), "{e:?}");
}

/// Reads one request's head, writes `answer` and closes.
pub async fn raw(answer: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let mut read = 0;
            while !head[..read].windows(4).any(|w| w == b"\r\n\r\n") {
                match socket.read(&mut head[read..]).await {
                    Ok(count) if count > 0 => read += count,
                    _ => break,
                }
            }
            let _ = socket.write_all(answer).await;
        }
    });
    address
}
