//! What the tests share: an edge with fixed randomness, requests in memory, connections in memory.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use flotilla_api::Problem;
use flotilla_env::{clock, entropy};
use flotilla_http_server::{
    Authenticator, Caller, Edge, Limits, RequestMetrics,
    listener::{Accept, serve},
};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub const REMOTE: &str = "192.0.2.7:4000";

pub fn edge() -> Edge {
    Edge::new(entropy::seeded(1), clock::system(), RequestMetrics::default(), |_, route| match route {
        Some(_) => "known",
        None => "unknown",
    })
}

pub async fn ask(router: &Router, request: Request<Body>) -> Response<Bytes> {
    let Ok(response) = router.clone().oneshot(request).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole answer").to_bytes();
    Response::from_parts(parts, bytes)
}

pub async fn get(router: &Router, uri: &str) -> Response<Bytes> {
    ask(router, Request::get(uri).body(Body::empty()).expect("valid request")).await
}

pub fn problem(response: &Response<Bytes>) -> Problem {
    assert_eq!(response.headers()["content-type"], Problem::MEDIA_TYPE);
    serde_json::from_slice(response.body()).expect("a problem document")
}

/// Knows the one token `good`.
pub struct OneToken;

impl Authenticator for OneToken {
    fn authenticate(&self, token: &str) -> Option<Caller> {
        (token == "good").then(|| Caller { principal: "root".to_owned(), root: true, key: None })
    }
}

/// Accepts what a test hands it.
pub struct Queue(mpsc::Receiver<io::Result<DuplexStream>>);

impl Accept for Queue {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(result) => result.map(|stream| (stream, REMOTE.parse().expect("an address"))),
            None => std::future::pending().await,
        }
    }
}

/// A server over connections in memory.
pub struct Server {
    pub accept: mpsc::Sender<io::Result<DuplexStream>>,
    pub stop: CancellationToken,
    pub ended: JoinHandle<io::Result<()>>,
}

impl Server {
    pub fn start(router: Router, limits: Limits) -> Self {
        let (accept, queue) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let ended = tokio::spawn(serve(Queue(queue), router, limits, stop.clone()));
        Self { accept, stop, ended }
    }

    /// Connects with a buffer of `buffer` bytes in each direction.
    pub async fn connect(&self, buffer: usize) -> DuplexStream {
        let (client, server) = tokio::io::duplex(buffer);
        self.accept.send(Ok(server)).await.expect("the server accepts");
        client
    }

    /// Sends bytes on a new connection and gives all that comes back until the server closes it.
    pub async fn talk(&self, bytes: &[u8]) -> String {
        let mut client = self.connect(1 << 20).await;
        client.write_all(bytes).await.expect("the server reads");
        read_all(&mut client).await
    }
}

/// Reads until the server closes; panics if it has not after an hour of the paused clock.
pub async fn read_all(client: &mut DuplexStream) -> String {
    let mut out = Vec::new();
    let read = client.read_to_end(&mut out);
    let closed = tokio::time::timeout(Duration::from_secs(3600), read).await.expect("the server closes the connection");
    closed.expect("in memory");
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads one answer with a Content-Length from a connection that stays open.
pub async fn read_answer(client: &mut DuplexStream) -> String {
    let mut out = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&out).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().expect("a length") {
                return text;
            }
        }
        assert_ne!(client.read_buf(&mut out).await.expect("in memory"), 0, "closed early: {text}");
    }
}

pub fn authenticator() -> Arc<dyn Authenticator> {
    Arc::new(OneToken)
}
