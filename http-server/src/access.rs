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

/// How many lines of refused requests (429 and 503) a listener writes in a second: enough to see who is refused what. In an
/// overload they are most of all requests, and a line costs as much as the refusal.
const REFUSED_LINES_MAX: u64 = 10;

/// Which refused requests have a line. Clones of a layer share it.
#[derive(Debug)]
pub(crate) struct Sparse {
    begun: Instant,
    second: AtomicU64,
    written: AtomicU64,
    left_out: AtomicU64,
}

impl Sparse {
    pub(crate) fn new(begun: Instant) -> Self {
        let zero = || AtomicU64::new(0);
        Self { begun, second: zero(), written: zero(), left_out: zero() }
    }

    /// Says whether a request that is refused now has a line; gives how many had none since the last one that had.
    ///
    /// # Bounds
    /// Where two threads see a second begin at once, a line or two more.
    fn line(&self, now: Instant) -> Option<u64> {
        let second = now.saturating_duration_since(self.begun).as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.written.store(0, Ordering::Relaxed);
        }
        if self.written.fetch_add(1, Ordering::Relaxed) < REFUSED_LINES_MAX {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

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
    pub(crate) refused: Arc<Sparse>,
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
    /// The status answered; none when the client was gone before there was one.
    pub(crate) status: Option<StatusCode>,
    /// Whether the answer was handed over whole.
    pub(crate) whole: bool,
}

impl Drop for Access {
    fn drop(&mut self) {
        let now = self.clock.now();
        let elapsed = now.saturating_duration_since(self.started);
        let (received, sent) = (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
        self.metrics.observe(Observation { op: self.op, status: self.status, elapsed, received, sent });
        let status = self.status.map_or(0, |status| status.as_u16());
        let left_out = match status {
            429 | 503 => self.refused.line(now),
            _ => Some(0),
        };
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
                    // Refused requests before this one that have no line.
                    left_out = left_out.filter(|count| *count > 0),
                    request_id = %self.id,
                    "request"
                )
            };
        }
        if left_out.is_none() || (self.quiet && status < 500) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_few_refused_requests_a_second_have_a_line_and_the_others_are_counted() {
        let begun = Instant::now();
        let sparse = Sparse::new(begun);
        let lines = |at_ms: u64, requests: u64| {
            let now = begun + Duration::from_millis(at_ms);
            (0..requests).filter_map(|_| sparse.line(now)).collect::<Vec<_>>()
        };
        assert_eq!(lines(0, 500), [0; 10]);
        assert_eq!(lines(999, 5), [0; 0]);
        assert_eq!(lines(1000, 12)[..2], [495, 0]);
        assert_eq!(lines(5000, 1), [2]);
        assert_eq!(lines(5000, 1), [0]);
    }
}
