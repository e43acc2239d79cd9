//! The one body type of requests and answers, and how to make and read one; knows no connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream, TryStream};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};

/// Any error, owned.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body broke off.
///
/// A type of its own, since futures that hold a body whose error is a bare `Box<dyn Error>` are refused as not `Send` by the
/// compiler wherever a bound asks for `Into<BoxError>`, as those of axum and http-body-util do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(BoxError);

impl Error {
    /// Wraps what broke.
    pub fn new(source: impl Into<BoxError>) -> Self {
        Self(source.into())
    }

    /// Gives back what broke.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.0
    }
}

/// A body in either direction: frames of bytes as they come, never collected on the way.
pub type Body = UnsyncBoxBody<Bytes, Error>;

/// Makes any body one of ours.
pub fn from<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Error::new).boxed_unsync()
}

/// Makes a body without bytes.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Makes a body of bytes in memory.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Makes a body of unknown length from a stream; it travels chunked.
#[must_use]
pub fn stream<S>(stream: S) -> Body
where
    S: TryStream<Ok = Bytes> + Stream<Item = Result<Bytes, S::Error>> + Send + 'static,
    S::Error: Into<BoxError>,
{
    Streamed { stream: Box::pin(stream), left: None }.boxed_unsync()
}

/// Makes a body of known length from a stream.
///
/// The stream must give exactly `length_bytes`; the connection is aborted if it ends before.
#[must_use]
pub fn stream_of<S>(stream: S, length_bytes: u64) -> Body
where
    S: TryStream<Ok = Bytes> + Stream<Item = Result<Bytes, S::Error>> + Send + 'static,
    S::Error: Into<BoxError>,
{
    Streamed { stream: Box::pin(stream), left: Some(length_bytes) }.boxed_unsync()
}

/// Why a body was not collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The body is longer than the caller takes.
    #[error("body is over {0} bytes")]
    TooLarge(usize),
    /// The body broke off.
    #[error("body broke off")]
    Broken(#[source] Error),
}

/// Reads a whole body into memory.
///
/// # Bounds
/// At most `limit_bytes` are kept; a longer body is dropped where it passes the limit.
///
/// # Errors
/// [`CollectError::TooLarge`]: raise the limit or give up. [`CollectError::Broken`]: the bytes are lost, ask again.
pub async fn collect(body: Body, limit_bytes: usize) -> Result<Bytes, CollectError> {
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(CollectError::TooLarge(limit_bytes)),
        // Limited has put our own error into a box.
        Err(e) => Err(CollectError::Broken(Error::new(e))),
    }
}

/// A stream as a body, with its length where it is known.
struct Streamed<S> {
    stream: Pin<Box<S>>,
    left: Option<u64>,
}

impl<S, E> http_body::Body for Streamed<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(match ready!(self.stream.as_mut().poll_next(cx)) {
            Some(Ok(bytes)) => {
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(e)) => Some(Err(Error::new(e))),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
