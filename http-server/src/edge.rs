//! The outermost layer of every router: request id, log line, metrics, framing, caught panics, body timeouts, the last shape of
//! errors.
//!
//! It must not know who the caller is; credentials and peers do.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use flotilla_api::{Code, header::REQUEST_ID};
use flotilla_env::{Clock, Entropy};
use futures::FutureExt as _;
use http::{HeaderValue, Method, header};
use tracing::Instrument as _;

use crate::{
    access::{self, Access, Sparse},
    bodies::{BUFFERED_BYTES_MAX, IDLE_DEFAULT, Idle, PROGRESS_BYTES},
    framing,
    problem::{self, ApiError},
    request_id,
    telemetry::RequestMetrics,
};

/// Names the operation of a request for the metrics, from its method and the route's pattern (none for an unknown route).
pub type OpNamer = fn(&Method, Option<&str>) -> &'static str;

/// What the layer needs.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Makes request ids.
    pub entropy: Arc<dyn Entropy>,
    /// Times requests.
    pub clock: Arc<dyn Clock>,
    /// Counts requests.
    pub metrics: RequestMetrics,
    /// Names operations.
    pub op: OpNamer,
    /// How long a body may be waited for until a step of it comes.
    pub body_idle: Duration,
    /// Whether only answers of 500 and above are worth a log line: peers and probes would drown the rest.
    pub quiet: bool,
    /// Which refused requests are worth one.
    pub(crate) refused: Arc<Sparse>,
}

impl Edge {
    /// Makes a layer with the default timeouts that logs every request; of those that are refused for now, a few a second.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>, clock: Arc<dyn Clock>, metrics: RequestMetrics, op: OpNamer) -> Self {
        let refused = Arc::new(Sparse::new(clock.now()));
        Self { entropy, clock, metrics, op, body_idle: IDLE_DEFAULT, quiet: false, refused }
    }

    /// Makes a copy for a listener whose good requests are not logged.
    #[must_use]
    pub fn quiet(&self) -> Self {
        Self { quiet: true, ..self.clone() }
    }

    /// Wraps a router. Everything else (routes, fallbacks, credentials) must be in it already.
    pub fn wrap(self, router: Router) -> Router {
        router.layer(DefaultBodyLimit::max(BUFFERED_BYTES_MAX)).layer(from_fn_with_state(self, outermost))
    }
}

async fn outermost(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let id = request_id::take(request.headers(), &*edge.entropy);
    request_id::hide_secrets(request.headers_mut());
    request.extensions_mut().insert(id.clone());

    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let access = Access {
        op: (edge.op)(&method, route.as_ref().map(MatchedPath::as_str)),
        method,
        route,
        id: id.clone(),
        quiet: edge.quiet,
        started: edge.clock.now(),
        clock: edge.clock,
        metrics: edge.metrics,
        refused: edge.refused,
        received: Arc::new(AtomicU64::new(0)),
        sent: Arc::new(AtomicU64::new(0)),
        status: None,
        whole: false,
    };
    let received = Arc::clone(&access.received);
    let (head, body) = request.into_parts();
    let body = Idle::new(body, edge.body_idle, PROGRESS_BYTES, received);
    let ended = body.ended();
    let request = Request::from_parts(head, Body::new(body));

    let span = tracing::info_span!("request", request_id = %id);
    let response = answer(request, next).instrument(span).await;
    let mut response = problem::finish(response, &id);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id::to_value(&id));
    if !ended.load(Ordering::Relaxed) {
        // Hyper ends a connection whose request was answered before its body was read; a client that is not told sends its next
        // request into the void.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Whatever clients stored must run no script in our name; set here, so that no route and no kind of answer can lack it.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    let sent = Arc::clone(&access.sent);
    // Any byte will do: a slow answer is our own doing, and the connection watches whether the client takes it.
    access::attach(response.map(|body| Body::new(Idle::new(body, edge.body_idle, 1, sent))), access)
}

async fn answer(request: Request, next: Next) -> Response {
    if let Err(error) = framing::check(&request) {
        return ([(header::CONNECTION, "close")], error).into_response();
    }
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_payload) => {
            // The panic hook has written the message; it is not repeated here, since it may quote the request.
            tracing::error!("request handler panicked");
            ApiError::new(Code::Internal, "the server has a bug; its log has the request's id").into_response()
        }
    }
}
