//! A body that can be lent to one try after another, as long as none of them has taken a byte of it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use flotilla_client::{Body as PeerBody, body};
use flotilla_http_server::BodyFault;
use http_body::{Frame, SizeHint};

/// A body of which less comes in so long rests: it keeps no cluster busy.
pub const REST_BYTES: u64 = 1 << 20;
/// How often that is looked at.
pub const REST_LOOK: Duration = Duration::from_secs(1);

const UNTOUCHED: u8 = 0;
const BEGUN: u8 = 1;
const FINISHED: u8 = 2;

struct Shared {
    body: Mutex<Body>,
    state: AtomicU8,
    fault: OnceLock<BodyFault>,
    moved: AtomicU64,
    waits: AtomicBool,
}

/// The owner of the body.
pub struct Lent(Arc<Shared>);

impl Lent {
    /// Takes a body.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Shared {
            body: Mutex::new(body),
            state: AtomicU8::new(UNTOUCHED),
            fault: OnceLock::new(),
            moved: AtomicU64::new(0),
            waits: AtomicBool::new(false),
        }))
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

    /// How many bytes have moved since this was asked last.
    pub fn take_moved(&self) -> u64 {
        self.0.moved.swap(0, Ordering::Relaxed)
    }

    /// Whether it is the client that the body waits for.
    pub fn waits(&self) -> bool {
        self.0.waits.load(Ordering::Relaxed)
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
        let polled = Pin::new(&mut *body).poll_frame(cx);
        shared.waits.store(polled.is_pending(), Ordering::Relaxed);
        let frame = ready!(polled);
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            shared.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        }
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
