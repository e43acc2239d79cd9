//! Calls between our own processes: every request signed, every answer bounded, every error says what may have happened.
//!
//! Knows no route and no message; those are in `flotilla_api::peer`.

mod error;
mod sent;

pub use error::{Error, Executed};

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use flotilla_api::{
    codec, header,
    peer::auth::{self, FleetSecret},
};
use flotilla_env::{Clock, Entropy};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header::CONTENT_LENGTH};
use http_body::Body as _;
use serde::{Serialize, de::DeserializeOwned};

use self::sent::Sent;
use crate::{
    body::{self, Body, CollectError},
    problem::{self, Unread},
    transport::{self, Lane, Transport},
};

/// The longest answer of [`PeerClient::call`]: room for a list page or a node's inventory page, and few enough bytes to hold
/// for every call under way.
pub const ANSWER_MAX_BYTES: usize = 16 << 20;

/// Calls other processes of the fleet.
///
/// Cheap to clone; all clones share one nonce counter.
#[derive(Debug, Clone)]
pub struct PeerClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    secret: FleetSecret,
    own: String,
    clock: Arc<dyn Clock>,
    boot: u64,
    counter: AtomicU64,
    transport: Arc<dyn Transport>,
}

impl PeerClient {
    /// Makes a client that signs as `own`, this process's advertised peer address.
    #[must_use]
    pub fn new(
        secret: FleetSecret,
        own: impl Into<String>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let boot = entropy.u64();
        Self(Arc::new(Inner { secret, own: own.into(), clock, boot, counter: AtomicU64::new(0), transport }))
    }

    /// Gives this process's advertised peer address.
    #[must_use]
    pub fn own(&self) -> &str {
        &self.0.own
    }

    /// Asks `target` (`HOST:PORT`) for `route` (path and query) and reads the whole answer.
    ///
    /// # Bounds
    /// The answer has at most [`ANSWER_MAX_BYTES`]; head and body come within `deadline`.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::executed`] says whether the request may have had an effect.
    ///
    /// # Cancel safety
    /// The request may have been executed.
    #[allow(clippy::too_many_arguments)] // a request is that many facts; none of them belongs to another
    pub async fn call(
        &self,
        lane: Lane,
        method: Method,
        target: &str,
        route: &str,
        headers: HeaderMap,
        body: Bytes,
        deadline: Duration,
    ) -> Result<(HeaderMap, Bytes), Error> {
        let request = self.signed(method, target, route, headers, body::full(body))?;
        let exchange = async {
            // A receiver can act on a message by its headers alone, so what is left of the body proves nothing.
            let (parts, body) = self.exchange(lane, target, request, &Sent::at_once()).await?.into_parts();
            match body::collect(body, ANSWER_MAX_BYTES).await {
                Ok(bytes) => Ok((parts.headers, bytes)),
                Err(e) => Err(unreadable(target, e)),
            }
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { target: target.to_owned(), deadline }),
        }
    }

    /// Posts a message and decodes the answer, both [`codec`] values.
    ///
    /// # Errors
    /// As [`PeerClient::call`]; an answer that does not decode is [`Error::Malformed`].
    ///
    /// # Cancel safety
    /// The request may have been executed.
    pub async fn post<Req: Serialize + Sync, Ans: DeserializeOwned>(
        &self,
        lane: Lane,
        target: &str,
        route: &str,
        request: &Req,
        deadline: Duration,
    ) -> Result<Ans, Error> {
        let body = codec::encode(request).into();
        let (_, answer) = self.call(lane, Method::POST, target, route, HeaderMap::new(), body, deadline).await?;
        codec::decode(&answer).map_err(|e| Error::Malformed { target: target.to_owned(), why: e.to_string() })
    }

    /// Asks `target` with a streaming body and gives the answer as soon as its head is there, its body still to come.
    ///
    /// Every status below 400 is an answer (also 304 and 307); above, it is [`Error::Problem`]. For HEAD, whose answers have no
    /// document, the problem's code is guessed from the status.
    ///
    /// A receiver acts on a whole body only: one that breaks off before its end must have no effect. [`Error::executed`] builds
    /// on that.
    ///
    /// # Bounds
    /// `head_deadline` covers sending the body and receiving the head. The answer's body has no deadline: who reads it watches
    /// its progress.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::executed`] says whether the request may have had an effect.
    ///
    /// # Cancel safety
    /// The request may have been executed.
    #[allow(clippy::too_many_arguments)] // as `call`
    pub async fn stream(
        &self,
        lane: Lane,
        method: Method,
        target: &str,
        route: &str,
        headers: HeaderMap,
        body: Body,
        head_deadline: Option<Duration>,
    ) -> Result<Response<Body>, Error> {
        let (body, sent) = Sent::watch(body);
        let request = self.signed(method, target, route, headers, body)?;
        let exchange = self.exchange(lane, target, request, &sent);
        match head_deadline {
            None => exchange.await,
            Some(deadline) => match tokio::time::timeout(deadline, exchange).await {
                Ok(result) => result,
                Err(_) => Err(Error::Timeout { target: target.to_owned(), deadline }),
            },
        }
    }

    async fn exchange(
        &self,
        lane: Lane,
        target: &str,
        request: Request<Body>,
        sent: &Sent,
    ) -> Result<Response<Body>, Error> {
        let head = request.method() == Method::HEAD;
        let response = self.0.transport.send(lane, request).await.map_err(|e| match e {
            transport::Error::Unreachable { target, source } => Error::Unreachable { target, source },
            transport::Error::Interrupted { target, source } => {
                Error::Interrupted { target, source, body_sent: sent.is_whole() }
            }
            transport::Error::Invalid(source) => {
                Error::Malformed { target: target.to_owned(), why: source.to_string() }
            }
        })?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let malformed = |why| Error::Malformed { target: target.to_owned(), why };
        if head {
            let problem = problem::of_head(status, response.headers());
            return Err(problem.map_or_else(|| malformed(format!("status {status}")), |p| Error::Problem(Box::new(p))));
        }
        Err(match problem::read(response).await {
            Ok(problem) => Error::Problem(Box::new(problem)),
            Err(Unread::Foreign(why)) => malformed(why),
            Err(Unread::Lost(source)) => Error::Interrupted { target: target.to_owned(), source, body_sent: true },
        })
    }

    fn signed(
        &self,
        method: Method,
        target: &str,
        route: &str,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Request<Body>, Error> {
        let malformed = |why: String| Error::Malformed { target: target.to_owned(), why };
        let uri: Uri = format!("http://{target}{route}").parse().map_err(|e| malformed(format!("'{route}': {e}")))?;
        let sent = uri.path_and_query().map_or("/", |p| p.as_str());
        let nonce = (self.0.boot, self.0.counter.fetch_add(1, Ordering::Relaxed));
        let time_ms = self.0.clock.wall_ms();
        let signature = auth::sign(&self.0.secret, &method, sent, &headers, &self.0.own, target, time_ms, nonce);
        let signature = HeaderValue::try_from(signature).map_err(|e| malformed(format!("peer address: {e}")))?;
        headers.insert(header::PEER, signature);
        if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn unreadable(target: &str, e: CollectError) -> Error {
    let target = target.to_owned();
    match e {
        CollectError::TooLarge(_) => Error::Malformed { target, why: e.to_string() },
        CollectError::Broken(e) => Error::Interrupted { target, source: e.into_inner(), body_sent: true },
    }
}
