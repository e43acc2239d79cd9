//! Request and response bodies: idle timeouts per frame, whole bodies within a limit, codec values, and what a broken body means.
//!
//! There is no timeout and no limit for a body as a whole here: uploads are as long as they are. It must not know routes.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use flotilla_api::{Code, Problem, codec};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use serde::{Serialize, de::DeserializeOwned};

use crate::{files::content_length, patience::Patience, problem::ApiError};

/// How long a body may rest between two steps: longer than any sync or hop that works, shorter than a client's patience.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(30);

/// What a client must send or take while it is waited for as long as its limit: at 30 s some 550 bytes a second, which every
/// link does that a file can be sent over, while a byte now and then holds no connection.
pub const PROGRESS_BYTES: u64 = 16 << 10;

/// The media type of [`codec`] values.
pub const CODED_MEDIA_TYPE: &str = "application/vnd.flotilla.coded";

/// The largest codec value that [`Coded`] takes where the route names no other: a full page of a list has half of it.
pub const CODED_BYTES_MAX: usize = 4 << 20;

/// The most that axum's own buffering extractors (`Bytes`, `Json`) take; a `Body` is never limited by it.
pub const BUFFERED_BYTES_MAX: usize = 1 << 20;

/// The longest body of a refused request that is read: what fits into the buffers of a connection, most likely here
/// already.
const DRAINED_BYTES_MAX: u64 = 64 << 10;

/// How long the rest of it is waited for: some round trips.
const DRAIN_FOR: Duration = Duration::from_secs(1);

/// Nothing, or too little, came for the given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("body rested or crept for {0:?}")]
pub struct Stalled(pub Duration);

/// What went wrong with a request's body. None of them is the server's fault, so none is a 5xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// The bytes break the chunked coding.
    Malformed,
    /// The client went away or ended before the announced length.
    Gone,
    /// The client sent nothing or too little for too long.
    Stalled,
    /// The body is longer than it may be.
    TooLong,
}

/// The body of a request is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("body is over {0} bytes")]
struct TooLong(u64);

/// Passes a body on and fails it once it is over `limit_bytes`.
pub fn limited(body: Body, limit_bytes: u64) -> Body {
    let mut left = limit_bytes;
    Body::from_stream(body.into_data_stream().map(move |frame| {
        let frame = frame?;
        left = left.checked_sub(frame.len() as u64).ok_or_else(|| axum::Error::new(TooLong(limit_bytes)))?;
        Ok::<_, axum::Error>(frame)
    }))
}

impl BodyFault {
    /// Tells what an error of reading a body means, from its chain of sources.
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Stalled>() {
                return Self::Stalled;
            }
            if error.is::<TooLong>() {
                return Self::TooLong;
            }
            // Hyper reports a chunk that does not parse as one of these two kinds; everything else is the connection's end.
            if let Some(error) = error.downcast_ref::<io::Error>()
                && matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
            {
                return Self::Malformed;
            }
            next = error.source();
        }
        Self::Gone
    }

    /// Gives the answer: 400 `body_invalid`, or 413 `too_large`.
    #[must_use]
    pub fn problem(self) -> ApiError {
        let (detail, retryable) = match self {
            Self::Malformed => ("the body breaks the chunked transfer coding", false),
            Self::Gone => ("the body ended before its announced end", true),
            Self::Stalled => ("the body rested for too long, or came too slowly", true),
            Self::TooLong => return ApiError::new(Code::TooLarge, "the body is longer than it may be"),
        };
        let mut problem = Problem::new(Code::BodyInvalid, detail);
        problem.retryable = retryable;
        problem.into()
    }
}

/// Reads a whole body.
///
/// # Errors
/// 413 `too_large` over `limit` bytes, before a byte is read if the length is announced; else what [`BodyFault`] says.
pub async fn read_all(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let over = || ApiError::new(Code::TooLarge, format!("the body is over {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(over());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyFault::of(&error).problem())?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(over());
        }
        // Most bodies of this kind are one frame, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut all = BytesMut::with_capacity(first.len() + rest.len());
    all.extend_from_slice(&first);
    all.extend_from_slice(&rest);
    Ok(all.freeze())
}

/// Reads the small body of a request that is refused and throws it away, so that its connection stays usable.
///
/// A longer body, one of unknown length, and one that the client holds back for `100-continue` are not read: to close
/// the connection costs less, and RFC 9110 section 10.1.1 allows it.
///
/// # Bounds
/// 64 KiB, and a second.
pub async fn drain(headers: &HeaderMap, mut body: Body) {
    let small = content_length(headers).is_some_and(|bytes| bytes <= DRAINED_BYTES_MAX);
    if !small || headers.contains_key(header::EXPECT) {
        return;
    }
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // Who is slower than that gets its answer, and then the connection's end.
    let _ = tokio::time::timeout(DRAIN_FOR, all).await;
}

/// A [`codec`] value as the whole body of a request or an answer between our processes.
///
/// # Bounds
/// At most `LIMIT` bytes are read; more answers 413 `too_large`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coded<T, const LIMIT: usize = CODED_BYTES_MAX>(pub T);

impl<S: Send + Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for Coded<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = read_all(request.into_body(), LIMIT).await?;
        let value = codec::decode(&bytes).map_err(|error| ApiError::new(Code::BodyInvalid, error.to_string()))?;
        Ok(Self(value))
    }
}

impl<T: Serialize, const LIMIT: usize> IntoResponse for Coded<T, LIMIT> {
    fn into_response(self) -> Response {
        let media_type = HeaderValue::from_static(CODED_MEDIA_TYPE);
        ([(header::CONTENT_TYPE, media_type)], codec::encode(&self.0)).into_response()
    }
}

/// A body that fails with [`Stalled`] when its reader waits too long for a step of bytes, and counts its bytes.
///
/// Time in which nobody asks for a frame does not count: a reader that is held up by its disk is no fault of the client.
#[derive(Debug)]
pub(crate) struct Idle {
    inner: Body,
    patience: Patience,
    counted: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    failed: bool,
}

impl Idle {
    /// Watches a body: while it is waited for `limit` in all, `step` bytes must come.
    pub(crate) fn new(inner: Body, limit: Duration, step: u64, counted: Arc<AtomicU64>) -> Self {
        let ended = Arc::new(AtomicBool::new(inner.is_end_stream()));
        Self { inner, patience: Patience::new(limit, step), counted, ended, failed: false }
    }

    /// Tells, also later, whether the body was read to its end.
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }
}

impl http_body::Body for Idle {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, |data| data.len() as u64);
                self.patience.progress(bytes);
                self.counted.fetch_add(bytes, Ordering::Relaxed);
                // Nothing stands behind trailers, and not every reader asks once more.
                let trailers = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
                if frame.is_none() || trailers || self.inner.is_end_stream() {
                    self.ended.store(true, Ordering::Relaxed);
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                ready!(self.patience.poll_waiting(cx));
                self.failed = true;
                Poll::Ready(Some(Err(axum::Error::new(Stalled(self.patience.limit())))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
