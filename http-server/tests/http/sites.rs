//! Three sites over real sockets: who answers until when, and that an early answer is not lost.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    routing::{get, put},
};
use flotilla_api::peer::auth::FleetSecret;
use flotilla_env::clock;
use flotilla_http_server::{
    Guard, Limits, Operations, PeerAuth, Readiness, Reason, Site, Sites, bind, install_metrics, listener::Accept, run,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::common::{authenticator, edge};

struct Always;

#[async_trait]
impl Readiness for Always {
    async fn reasons(&self) -> Vec<Reason> {
        Vec::new()
    }
}

/// Ready, and says so to the test whenever it is asked.
struct Asked(Arc<Notify>);

#[async_trait]
impl Readiness for Asked {
    async fn reasons(&self) -> Vec<Reason> {
        self.0.notify_one();
        Vec::new()
    }
}

struct Running {
    public: SocketAddr,
    peer: SocketAddr,
    operations: SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = bind("127.0.0.1:0".parse().expect("an address"), false).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    (listener, addr)
}

fn start(routes: Router) -> Running {
    start_with(routes, Limits::default())
}

fn start_with(routes: Router, limits: Limits) -> Running {
    start_until(routes, limits, std::future::ready(()))
}

fn start_until(routes: Router, limits: Limits, forwarded: impl Future<Output = ()> + Send + 'static) -> Running {
    start_ready(routes, limits, forwarded, Arc::new(Always))
}

fn start_ready(
    routes: Router,
    limits: Limits,
    forwarded: impl Future<Output = ()> + Send + 'static,
    readiness: Arc<dyn Readiness>,
) -> Running {
    let stop = CancellationToken::new();
    let ((public, public_addr), (peer, peer_addr), (operations, operations_addr)) = (listen(), listen(), listen());
    let metrics = install_metrics(&stop).expect("the recorder is ours");
    let answers = Operations::new("a-n1", "node", clock::system(), readiness, metrics, stop.clone());
    let auth = PeerAuth::new(FleetSecret::new("s"), peer_addr.to_string(), clock::system());
    let sites = Sites {
        public: Site::public(public, routes, Guard::tokens(authenticator()), &edge(), limits),
        peer: Site::peer(peer, Router::new(), auth, &edge(), limits),
        operations: Site::operations(operations, answers, &edge()),
    };
    let ended = tokio::spawn(run(sites, forwarded, stop.clone()));
    Running { public: public_addr, peer: peer_addr, operations: operations_addr, stop, ended }
}

async fn talk(addr: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn readiness_is_shown_as_long_as_the_sites_run() {
    let asked = Arc::new(Notify::new());
    let readiness = Arc::new(Asked(Arc::clone(&asked)));
    let held = Arc::downgrade(&readiness);
    let running = start_ready(Router::new(), Limits::default(), std::future::ready(()), readiness);
    // Without a probe: for the metrics.
    asked.notified().await;

    running.ended.abort();
    assert!(running.ended.await.expect_err("it was ended").is_cancelled());
    let gone = async {
        while held.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("no task is left that asks");
}

#[tokio::test]
async fn operations_and_peers_are_answered_while_public_requests_end() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let handler = async move || {
        tell.notify_one();
        wait.notified().await;
        "done"
    };
    let running = start(Router::new().route("/wait", get(handler)));
    let public = running.public;
    let long = tokio::spawn(async move { talk(public, &request("/wait")).await });
    begun.notified().await;
    running.stop.cancel();
    // The public listener is closed at some moment after the stop; probes and peers are answered before and after it.
    while TcpStream::connect(running.public).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let ready = talk(running.operations, &request("/readyz")).await.expect("operations answer");
    assert!(ready.ends_with(r#"{"ready":false,"reasons":["handing_over"]}"#), "{ready}");
    let metrics = talk(running.operations, &request("/metrics")).await.expect("operations answer");
    assert!(metrics.contains("flotilla_build_info"), "{metrics}");
    let peer = talk(running.peer, &request("/peer/v1/form")).await.expect("peers are answered");
    assert!(peer.starts_with("HTTP/1.1 401 "), "{peer}");

    go.notify_one();
    let done = long.await.expect("no panic").expect("answered");
    assert!(done.starts_with("HTTP/1.1 200 ") && done.ends_with("done"), "{done}");
    running.ended.await.expect("no panic").expect("a clean end");
    TcpStream::connect(running.operations).await.expect_err("everything is closed");
}

#[tokio::test]
async fn peers_are_answered_until_what_they_brought_has_ended() {
    let ended = Arc::new(Notify::new());
    let wait = Arc::clone(&ended);
    let running = start_until(Router::new(), Limits::default(), async move { wait.notified().await });
    running.stop.cancel();
    while TcpStream::connect(running.public).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let peer = talk(running.peer, &request("/peer/v1/alive")).await.expect("peers are answered");
        assert!(peer.starts_with("HTTP/1.1 401 "), "{peer}");
    }
    ended.notify_one();
    running.ended.await.expect("no panic").expect("a clean end");
    TcpStream::connect(running.peer).await.expect_err("everything is closed");
}

#[tokio::test]
async fn what_peers_brought_has_the_drain_time_and_no_more() {
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let running = start_until(Router::new(), limits, std::future::pending());
    running.stop.cancel();
    running.ended.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_client_in_mid_upload_reads_the_early_answer_and_no_reset() {
    let running = start(Router::new().route("/", put(async || "never")));
    let mut stream = TcpStream::connect(running.public).await.expect("listening");
    let length = 8 << 20;
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer bad\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&vec![0; length]).await.expect("the server goes on reading");
    stream.shutdown().await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("no reset");
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    running.stop.cancel();
    running.ended.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn probes_and_peers_are_answered_while_all_public_slots_are_taken() {
    let running = start_with(Router::new(), Limits { connections: 2, ..Limits::default() });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.public).await.expect("listening");
        // One answer proves that the slot is taken, not only the place in the backlog.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        assert_ne!(stream.read(&mut [0; 12]).await.expect("answered"), 0);
        held.push(stream);
    }
    let mut waiting = Box::pin(talk(running.public, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert!(futures::poll!(&mut waiting).is_pending());
    for _ in 0..20 {
        let health = talk(running.operations, &request("/healthz")).await.expect("operations answer");
        assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
        let peer = talk(running.peer, &request("/peer/v1/form")).await.expect("peers are answered");
        assert!(peer.starts_with("HTTP/1.1 401 "), "{peer}");
    }
    assert!(futures::poll!(&mut waiting).is_pending(), "both slots are taken");
    held.clear();
    let text = waiting.await.expect("a slot came free");
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    running.stop.cancel();
    running.ended.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn accepted_connections_send_small_answers_at_once() {
    let (mut listener, addr) = listen();
    let (client, accepted) = tokio::join!(TcpStream::connect(addr), Accept::accept(&mut listener));
    let ((stream, _), _client) = (accepted.expect("accepted"), client.expect("connected"));
    assert!(stream.nodelay().expect("a socket"));
}

#[tokio::test]
async fn connections_never_take_the_last_open_files() {
    let limits = Limits { connections: usize::MAX, ..Limits::default() }.within_files();
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).expect("64 bits"));
    assert!((1..=files / 4).contains(&limits.connections), "{} of {files} files", limits.connections);
    let few = Limits { connections: 3, ..Limits::default() }.within_files();
    assert_eq!(few.connections, 3);
}

#[tokio::test]
async fn the_same_framing_rules_hold_on_every_site() {
    let running = start(Router::new());
    for addr in [running.public, running.peer, running.operations] {
        let double_host = "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        let chunked_twice = "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n";
        for bytes in [double_host, chunked_twice] {
            let text = talk(addr, bytes).await.expect("answered");
            assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        }
    }
    running.stop.cancel();
    running.ended.await.expect("no panic").expect("a clean end");
}
