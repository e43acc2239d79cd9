//! The real transport: HTTP/1.1 over TCP with reqwest, one connection pool per lane; knows no route and no secret.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Error, Lane, Transport};
use crate::body::{self, Body, BoxError};

/// A connect that takes longer goes to a dead host: within one region a handshake takes milliseconds.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than the time after which servers close idle connections (10 s), so that a request rarely meets a closing one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

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
#[derive(Debug, Clone)]
pub struct Http {
    lanes: [reqwest::Client; Lane::ALL.len()],
}

impl Http {
    /// Makes a transport; connections are opened when they are needed.
    #[must_use]
    pub fn new() -> Self {
        Self { lanes: Lane::ALL.map(pool) }
    }

    fn client(&self, lane: Lane) -> &reqwest::Client {
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

fn pool(lane: Lane) -> reqwest::Client {
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // Whether a request may be sent twice is known to the callers alone.
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle_max(lane))
        .build()
        .expect("a client without TLS, proxies and default headers has nothing that can fail")
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, lane: Lane, request: Request<Body>) -> Result<Response<Body>, Error> {
        let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let route = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let request = reqwest::Request::try_from(request.map(|body| reqwest::Body::wrap(Shareable(Mutex::new(body)))))
            .map_err(|e| Error::Invalid(e.into()))?;
        // A route that URL parsing rewrites would be served under another name, and no signature over it would hold.
        let url = request.url();
        if url.query().map_or_else(|| url.path().to_owned(), |q| format!("{}?{q}", url.path())) != route {
            return Err(Error::Invalid(format!("route '{route}' is not in normal form").into()));
        }
        match self.client(lane).execute(request).await {
            Ok(response) => Ok(http::Response::<reqwest::Body>::from(response)
                .map(|body| body::from(body.map_err(reqwest::Error::without_url)))),
            Err(e) => {
                let (connect, builder) = (e.is_connect(), e.is_builder());
                let source = BoxError::from(e.without_url());
                Err(match (connect, builder) {
                    (true, _) => Error::Unreachable { target, source },
                    (false, true) => Error::Invalid(source),
                    (false, false) => Error::Interrupted { target, source },
                })
            }
        }
    }
}

/// Makes a body `Sync`, as reqwest wants it; polling has the only reference; the lock is never contended.
struct Shareable(Mutex<Body>);

impl http_body::Body for Shareable {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(self.0.get_mut().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
