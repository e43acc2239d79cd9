//! One log line and one observation per request, when its answer is over or given up.
//!
//! It writes the route's pattern, never the address: keys and query values are the clients' business.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{body::Body, extract::MatchedPath, response::Response};
use bytes::Bytes;
use flotilla_api::RequestId;
use flotilla_env::Clock;
use http::{Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use crate::{
    files::content_length,
    telemetry::{Observation, RequestMetrics},
};

/// The log target of request lines, for filters.
pub(crate) const TARGET: &str = "flotilla::access";

/// What is known of a request under way; written out when dropped.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) method: Method,
    pub(crate) route: Option<MatchedPath>,
    pub(crate) op: &'static str,
    pub(crate) id: RequestId,
    pub(crate) quiet: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: Instant,
    pub(crate) metrics: RequestMetrics,
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
    /// The status answered; none when the client was gone before there was one.
    pub(crate) status: Option<StatusCode>,
    /// Whether the answer was handed over whole.
    pub(crate) whole: bool,
}

impl Drop for Access {
    fn drop(&mut self) {
        let elapsed = self.clock.now().saturating_duration_since(self.started);
        let (received, sent) = (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
        self.metrics.observe(Observation { op: self.op, status: self.status, elapsed, received, sent });
        let status = self.status.map_or(0, |status| status.as_u16());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: TARGET,
                    method = %self.method,
                    route = self.route.as_ref().map_or("-", |route| route.as_str()),
                    status,
                    ms = elapsed.as_millis() as u64,
                    bytes_in = received,
                    bytes_out = sent,
                    whole = self.whole,
                    request_id = %self.id,
                    "request"
                )
            };
        }
        if self.quiet && status < 500 {
            line!(debug);
        } else {
            line!(info);
        }
    }
}

/// Ties the line to the answer's body, so that it tells the whole time and whether the body went out whole.
pub(crate) fn attach(response: Response, mut access: Access) -> Response {
    access.status = Some(response.status());
    let announced = content_length(response.headers());
    // The framework drops the body of an answer to HEAD unread.
    access.whole = access.method == Method::HEAD || response.body().is_end_stream();
    response.map(|inner| Body::new(Logged { inner, announced, access }))
}

struct Logged {
    inner: Body,
    announced: Option<u64>,
    access: Access,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(frame) = &frame {
            // Once the announced bytes are out, nobody asks for the end of the stream any more.
            self.access.whole = match frame {
                None => true,
                Some(Ok(_)) => {
                    self.inner.is_end_stream() || self.announced == Some(self.access.sent.load(Ordering::Relaxed))
                }
                Some(Err(_)) => false,
            };
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
