//! A body that can be lent to one try after another, as long as none of them has taken a byte of it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use flotilla_client::{Body as PeerBody, body};
use flotilla_http_server::BodyFault;
use http_body::{Frame, SizeHint};

const UNTOUCHED: u8 = 0;
const BEGUN: u8 = 1;
const FINISHED: u8 = 2;

struct Shared {
    body: Mutex<Body>,
    state: AtomicU8,
    fault: OnceLock<BodyFault>,
}

/// The owner of the body.
pub struct Lent(Arc<Shared>);

impl Lent {
    /// Takes a body.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Shared { body: Mutex::new(body), state: AtomicU8::new(UNTOUCHED), fault: OnceLock::new() }))
    }

    /// Lends the body; only one borrower may poll it at a time.
    pub fn lend(&self) -> PeerBody {
        body::from(Borrowed(Arc::clone(&self.0)))
    }

    /// Whether nobody has asked for a byte yet.
    pub fn is_untouched(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == UNTOUCHED
    }

    /// What went wrong with the body, if that is why nobody got to its end.
    pub fn fault(&self) -> Option<BodyFault> {
        self.0.fault.get().copied()
    }

    /// Whether the body was read to its end.
    pub fn is_finished(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == FINISHED
    }
}

struct Borrowed(Arc<Shared>);

impl http_body::Body for Borrowed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let shared = &self.0;
        shared.state.fetch_max(BEGUN, Ordering::AcqRel);
        let mut body = shared.body.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if let Some(Err(error)) = &frame {
            let _ = shared.fault.set(BodyFault::of(error)); // the first one is the cause
        }
        if frame.is_none() || (matches!(frame, Some(Ok(_))) && body.is_end_stream()) {
            shared.state.store(FINISHED, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
