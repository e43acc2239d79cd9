//! Slow, greedy and too many clients; failed accepts; the end of a server. On a paused clock and connections in memory.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    routing::{any, get, put},
};
use flotilla_http_server::{ApiError, BindError, Limits, bind, credentials, problem::with_fallbacks, read_all};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    time::timeout,
};

use crate::common::{self, REMOTE, Server, authenticator, edge};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_AND_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn start(limits: Limits) -> Server {
    let take = async |request: Request| -> Result<String, ApiError> {
        Ok(read_all(request.into_body(), 1 << 20).await?.len().to_string())
    };
    let routes = Router::new()
        .route("/", put(take).get(async |ConnectInfo(from): ConnectInfo<SocketAddr>| from.to_string()))
        .route("/big", get(async || vec![b'x'; 4 << 20]));
    Server::start(edge().wrap(with_fallbacks(routes)), limits)
}

fn one_connection() -> Server {
    start(Limits { connections: 1, ..Limits::default() })
}

#[tokio::test(start_paused = true)]
async fn a_request_knows_where_it_came_from() {
    let text = start(Limits::default()).talk(GET_AND_CLOSE).await;
    assert!(text.ends_with(REMOTE), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let server = start(Limits::default());
    assert_eq!(server.talk(b"GET / HTTP/1.1\r\nHo").await, "");
    assert_eq!(server.talk(b"").await, "");
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_rest_between_requests_for_longer_than_a_head_may_take() {
    let server = start(Limits::default());
    let mut client = server.connect(4096).await;
    let mut answer = [0; 1024];
    for rest in [0, 11, 60] {
        tokio::time::advance(Duration::from_secs(rest)).await;
        client.write_all(GET).await.expect("open");
        assert!(client.read(&mut answer).await.expect("open") > 0, "after {rest} s");
    }
    client.write_all(&GET[..20]).await.expect("open");
    let begun = tokio::time::Instant::now();
    assert_eq!(client.read(&mut answer).await.expect("a clean end"), 0);
    assert_eq!(begun.elapsed().as_secs(), 10, "a head that began has a head's time");
    let mut client = server.connect(4096).await;
    client.write_all(GET).await.expect("open");
    assert!(client.read(&mut answer).await.expect("open") > 0);
    let begun = tokio::time::Instant::now();
    assert_eq!(client.read(&mut answer).await.expect("a clean end"), 0);
    assert_eq!(begun.elapsed().as_secs(), 75, "rest has an end");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_cut_off() {
    let server = start(Limits::default());
    let mut client = server.connect(64).await;
    let mut sent = 0;
    while client.write_all(b"x").await.is_ok() {
        sent += 1;
        assert!(sent < 100, "the head goes on for ever");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_resting_keep_alive_connection_gives_its_slot_back() {
    let server = one_connection();
    let mut resting = server.connect(4096).await;
    resting.write_all(GET).await.expect("the server reads");
    assert!(common::read_answer(&mut resting).await.starts_with("HTTP/1.1 200 "));
    assert!(server.talk(GET_AND_CLOSE).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_rests_is_body_invalid() {
    let text = start(Limits::default()).talk(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert!(text.contains(r#""code":"body_invalid""#) && text.contains("rested"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_bytes_gives_its_slot_back() {
    let server = one_connection();
    let mut greedy = server.connect(1024).await;
    greedy.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the server reads");
    let next = timeout(Duration::from_secs(3600), server.talk(GET_AND_CLOSE)).await.expect("the slot came free");
    assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
    let mut rest = Vec::new();
    greedy.read_to_end(&mut rest).await.expect("in memory");
    assert!(rest.len() < 4 << 20, "the answer was cut off, not ended");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_creeps_is_body_invalid() {
    let server = start(Limits::default());
    let mut client = server.connect(4096).await;
    client.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await.expect("the server reads");
    let mut sent = 0;
    while client.write_all(b"x").await.is_ok() {
        sent += 1;
        assert!(sent < 100, "the body goes on for ever");
        tokio::time::sleep(Duration::from_secs(1)).await; // the paused clock's
    }
    let text = common::read_all(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("too slowly"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_byte_now_and_then_gives_its_slot_back() {
    let server = one_connection();
    let mut greedy = server.connect(64).await;
    greedy.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the server reads");
    let sip = async {
        let mut byte = [0];
        while greedy.read(&mut byte).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_secs(1)).await; // the paused clock's
        }
    };
    let next =
        async { timeout(Duration::from_secs(60), server.talk(GET_AND_CLOSE)).await.expect("the slot came free") };
    let ((), next) = tokio::join!(sip, next);
    assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_everything() {
    let server = start(Limits::default());
    let mut slow = server.connect(256 << 10).await;
    slow.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("the server reads");
    let (mut total, mut part) = (0, vec![0; 256 << 10]);
    loop {
        tokio::time::sleep(Duration::from_secs(20)).await; // the paused clock's, below the limit of 30 s
        match slow.read(&mut part).await.expect("in memory") {
            0 => break,
            count => total += count,
        }
    }
    assert!(total > 4 << 20, "{total}");
}

#[tokio::test(start_paused = true)]
async fn connections_over_the_limit_wait_for_a_slot() {
    let server = start(Limits { connections: 2, ..Limits::default() });
    let (first, _second) = (server.connect(64).await, server.connect(64).await);
    let mut third = server.connect(4096).await;
    third.write_all(GET_AND_CLOSE).await.expect("there is room in the buffer");
    let mut byte = [0];
    timeout(Duration::from_secs(5), third.read(&mut byte)).await.expect_err("both slots are taken");
    drop(first);
    assert_eq!(
        timeout(Duration::from_secs(1), third.read(&mut byte)).await.expect("a slot is free").expect("in memory"),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn failed_accepts_are_survived() {
    let server = start(Limits::default());
    let (emfile, enfile, aborted, nobufs) = (24, 23, 103, 105);
    for code in [emfile, enfile, aborted, nobufs, emfile] {
        server.accept.send(Err(io::Error::from_raw_os_error(code))).await.expect("the loop runs");
    }
    assert!(server.talk(GET_AND_CLOSE).await.starts_with("HTTP/1.1 200 "));
    assert!(!server.ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_unusable_listener_is_an_error() {
    let server = start(Limits::default());
    server.accept.send(Err(io::ErrorKind::InvalidInput.into())).await.expect("the loop runs");
    server.ended.await.expect("no panic").expect_err("the listener is gone");
}

#[tokio::test(start_paused = true)]
async fn a_body_is_asked_for_only_after_the_credential_is_known() {
    let take = async |request: Request| -> Result<String, ApiError> {
        Ok(read_all(request.into_body(), 10).await?.len().to_string())
    };
    let routes = with_fallbacks(Router::new().route("/", put(take)));
    let router = edge().wrap(credentials::require(routes, credentials::Guard::tokens(authenticator())));
    let server = Server::start(router, Limits::default());
    let head = |token| {
        format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
    };
    let refused = server.talk(head("bad").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");

    let mut client = server.connect(4096).await;
    client.write_all(head("good").as_bytes()).await.expect("the server reads");
    assert!(common::read_answer(&mut client).await.starts_with("HTTP/1.1 100 Continue"));
    client.write_all(b"abc").await.expect("the server reads");
    assert!(common::read_answer(&mut client).await.ends_with("\r\n\r\n3"));
}

/// A server whose handler waits to be let go, and tells when it began.
fn waiting(limits: Limits) -> (Server, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let handler = async move || {
        tell.notify_one();
        wait.notified().await;
        "done"
    };
    (Server::start(edge().wrap(Router::new().route("/", any(handler))), limits), begun, go)
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_running_requests_end_and_closes_resting_connections() {
    let (server, begun, go) = waiting(Limits::default());
    let mut resting = server.connect(4096).await;
    let mut running = server.connect(4096).await;
    running.write_all(GET).await.expect("the server reads");
    begun.notified().await;
    server.stop.cancel();
    assert_eq!(common::read_all(&mut resting).await, "");
    assert!(!server.ended.is_finished());
    go.notify_one();
    let text = common::read_all(&mut running).await;
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.contains("connection: close") && text.ends_with("done"),
        "{text}"
    );
    server.ended.await.expect("no panic").expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn the_drain_time_ends_what_does_not_end_by_itself() {
    let (server, begun, _go) = waiting(Limits::default());
    let mut running = server.connect(4096).await;
    running.write_all(GET).await.expect("the server reads");
    begun.notified().await;
    server.stop.cancel();
    let ended = timeout(Duration::from_secs(3600), server.ended).await.expect("the drain time is bounded");
    ended.expect("no panic").expect("a clean end");
    assert_eq!(common::read_all(&mut running).await, "");
}

#[tokio::test]
async fn an_address_beyond_loopback_needs_secrets() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7400"] {
        let error = bind(addr.parse().expect("an address"), false).expect_err("exposed");
        assert!(matches!(error, BindError::Exposed(_)), "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "the message names the fix: {error}");
    }
    bind("127.0.0.1:0".parse().expect("an address"), false).expect("loopback needs none");
    bind("0.0.0.0:0".parse().expect("an address"), true).expect("secured");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let held = bind("127.0.0.1:0".parse().expect("an address"), false).expect("free");
    let addr = held.local_addr().expect("bound");
    let error = bind(addr, false).expect_err("in use");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}
