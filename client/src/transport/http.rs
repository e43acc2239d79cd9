//! The real transport: HTTP/1.1 over TCP with hyper, one connection pool per lane; knows no route and no secret.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use http::{Request, Response, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower::Service;

use super::{Error, Lane, Transport};
use crate::body::{self, Body, BoxError};

/// A connect that takes longer goes to a dead host: within one region a handshake takes milliseconds.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than the time after which servers close idle connections (75 s), so that a request rarely meets a closing one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The idle connections kept per host and lane.
const fn idle_max(lane: Lane) -> usize {
    match lane {
        // As many as a gateway has chunk streams to one peer, or a load tester has workers, under full load.
        Lane::Data => 128,
        // Short calls; more than this at once is a burst.
        Lane::Control => 32,
        // openraft keeps a few appends in flight per peer.
        Lane::RaftAppend => 4,
        // One heartbeat and one vote.
        Lane::RaftHeartbeat => 2,
        // One snapshot at a time.
        Lane::RaftSnapshot => 1,
    }
}

/// Sends requests over TCP: HTTP/1.1, keep-alive, no delay, no proxies, no redirects followed, nothing buffered whole.
///
/// # Bounds
/// [`CONNECT_TIMEOUT`] per connect; idle connections are bounded per host and lane and closed after [`IDLE_TIMEOUT`].
#[derive(Clone)]
pub struct Http {
    lanes: [Client<Connector, Body>; Lane::ALL.len()],
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// Makes a transport; connections are opened when they are needed.
    #[must_use]
    pub fn new() -> Self {
        Self { lanes: Lane::ALL.map(pool) }
    }

    fn client(&self, lane: Lane) -> &Client<Connector, Body> {
        let [data, control, append, heartbeat, snapshot] = &self.lanes;
        match lane {
            Lane::Data => data,
            Lane::Control => control,
            Lane::RaftAppend => append,
            Lane::RaftHeartbeat => heartbeat,
            Lane::RaftSnapshot => snapshot,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

fn pool(lane: Lane) -> Client<Connector, Body> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // A request that a closing connection gave back unsent goes out on another one; nothing else is ever sent twice.
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle_max(lane))
        .build(Connector(tcp))
}

/// Opens connections, without pacing where they stay on this machine.
#[derive(Debug, Clone)]
struct Connector(HttpConnector);

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            let stream = connecting.await?;
            if let Ok(peer) = stream.inner().peer_addr() {
                flotilla_env::net::unpace_loopback(stream.inner(), peer);
            }
            Ok(stream)
        })
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, lane: Lane, request: Request<Body>) -> Result<Response<Body>, Error> {
        let Some(target) = request.uri().authority().map(ToString::to_string) else {
            return Err(Error::Invalid("the request names no host".into()));
        };
        match self.client(lane).request(request).await {
            Ok(response) => Ok(response.map(body::from)),
            Err(e) if e.is_connect() => Err(Error::Unreachable { target, source: e.into() }),
            Err(e) => Err(Error::Interrupted { target, source: e.into() }),
        }
    }
}
