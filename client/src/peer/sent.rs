//! Notes whether a request's body was handed over whole; knows nothing of what is done with that.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{self, Body};

/// Says whether a body has reached its end.
#[derive(Debug, Clone)]
pub(super) struct Sent(Arc<AtomicBool>);

impl Sent {
    /// For a request whose effect does not wait for its body.
    pub(super) fn at_once() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Gives the body that notes its end, and where it notes it.
    pub(super) fn watch(inner: Body) -> (Body, Self) {
        let sent = Self(Arc::new(AtomicBool::new(inner.is_end_stream())));
        (Watched { inner, sent: sent.clone() }.boxed_unsync(), sent)
    }

    /// Says whether the connection was given everything.
    pub(super) fn is_whole(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Watched {
    inner: Body,
    sent: Sent,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        // A body of known length is not asked again once it has given that many bytes.
        let exhausted = self.inner.is_end_stream() || self.inner.size_hint().exact() == Some(0);
        if frame.is_none() || (exhausted && matches!(frame, Some(Ok(_)))) {
            self.sent.0.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
