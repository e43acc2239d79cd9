//! The body of a request as it is sent, maybe more than once: what was begun, what failed, whether bytes still move.
//!
//! Knows no server and no retry rule.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use flotilla_env::Clock;
use futures::{StreamExt, stream::BoxStream};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::body::{self, Body};

/// Bytes in memory go out in frames of this size, so that progress shows while a large body is under way.
const FRAME_BYTES: usize = 256 << 10;

/// What a PUT sends.
pub enum PutBody {
    /// Bytes in memory; can be sent again.
    Bytes(Bytes),
    /// A stream; can be sent again only as long as nothing was taken from it.
    Stream {
        /// The bytes.
        stream: BoxStream<'static, io::Result<Bytes>>,
        /// How many they are, if known; the upload fails if they are more or fewer.
        length: Option<u64>,
    },
}

impl std::fmt::Debug for PutBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length:?})"),
        }
    }
}

impl From<Bytes> for PutBody {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// The content of one request over all its tries.
pub(super) struct Content {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

struct State {
    source: Source,
    length: Option<u64>,
    /// The try that may take from the source; a body of an earlier one, still held by its connection, may not.
    turn: u64,
    begun: bool,
    /// Whether this try's connection was given everything.
    complete: bool,
    /// Whether the connection waits for the source, so that a standstill is not the server's.
    starved: bool,
    moved: Instant,
    failed: Option<io::Error>,
}

enum Source {
    Bytes(Bytes),
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl Content {
    pub(super) fn new(body: PutBody, clock: Arc<dyn Clock>) -> Self {
        let (source, length) = match body {
            PutBody::Bytes(bytes) => {
                let length = Some(bytes.len() as u64);
                (Source::Bytes(bytes), length)
            }
            PutBody::Stream { stream, length } => (Source::Stream(stream), length),
        };
        let moved = clock.now();
        let state =
            State { source, length, turn: 0, begun: false, complete: false, starved: false, moved, failed: None };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn none(clock: Arc<dyn Clock>) -> Self {
        Self::new(PutBody::Bytes(Bytes::new()), clock)
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.lock().length
    }

    /// Says whether [`Content::open`] gives the same bytes once more.
    pub(super) fn reopens(&self) -> bool {
        let state = self.lock();
        matches!(state.source, Source::Bytes(_)) || !state.begun
    }

    /// Says whether the bytes are gone once they were sent.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.lock().source, Source::Stream(_))
    }

    /// Gives the body of the next try; bodies of earlier tries end with an error where they are.
    pub(super) fn open(&self) -> Body {
        let mut state = self.lock();
        state.turn += 1;
        state.starved = false;
        state.complete = state.length == Some(0);
        state.moved = self.clock.now();
        let (turn, length) = (state.turn, state.length);
        drop(state);
        let (state, clock) = (self.state.clone(), self.clock.clone());
        Attempt { state, clock, turn, length, taken: 0, given: 0, held: None, ended: false }.boxed_unsync()
    }

    /// Says whether the server may have got the whole body; before that it can't have acted on it.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().complete
    }

    /// Takes the source's error, if it failed.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.lock().failed.take()
    }

    /// Ends when the server has taken nothing for `limit`, though there was something to take or all was taken.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            let (now, until) = (self.clock.now(), self.stalls_at(limit));
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn stalls_at(&self, limit: Duration) -> Instant {
        let state = self.lock();
        if state.starved { self.clock.now() + limit } else { state.moved + limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of one try.
struct Attempt {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    turn: u64,
    length: Option<u64>,
    /// Bytes taken from the source.
    taken: u64,
    /// Bytes given to the connection.
    given: u64,
    /// The frame that completes the announced length, kept back until the source has ended: a source that has grown must
    /// fail the upload, and the connection would never ask for what is behind the announced length.
    held: Option<Bytes>,
    ended: bool,
}

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let shared = this.state.clone();
        let mut state = lock(&shared);
        if state.turn != this.turn {
            return Poll::Ready(Some(Err(body::Error::new("the request is being tried again"))));
        }
        state.begun = true;
        let polled = match &mut state.source {
            Source::Bytes(bytes) => Poll::Ready(Ok(this.slice(bytes))),
            Source::Stream(stream) => this.poll_stream(stream, cx),
        };
        state.starved = polled.is_pending();
        state.moved = this.clock.now();
        Poll::Ready(match ready!(polled) {
            Ok(Some(bytes)) => {
                this.given += bytes.len() as u64;
                state.complete = this.length == Some(this.given);
                Some(Ok(Frame::data(bytes)))
            }
            Ok(None) => {
                state.complete = true;
                None
            }
            Err(e) => {
                state.failed = Some(e);
                Some(Err(body::Error::new("the source of the body failed")))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(self.given)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length.saturating_sub(self.given)))
    }
}

impl Attempt {
    fn slice(&mut self, bytes: &Bytes) -> Option<Bytes> {
        let from = usize::try_from(self.given).expect("no more is given than the bytes in memory");
        let to = bytes.len().min(from + FRAME_BYTES);
        (from < to).then(|| bytes.slice(from..to))
    }

    fn poll_stream(
        &mut self,
        stream: &mut BoxStream<'static, io::Result<Bytes>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        while !self.ended {
            let Some(bytes) = ready!(stream.poll_next_unpin(cx)).transpose()? else {
                self.ended = true;
                break;
            };
            self.taken += bytes.len() as u64;
            match self.length {
                Some(length) if self.taken > length => return Poll::Ready(Err(wrong_length("more", length))),
                Some(length) if self.taken == length && !bytes.is_empty() => self.held = Some(bytes),
                Some(_) | None if bytes.is_empty() => {}
                Some(_) | None => return Poll::Ready(Ok(Some(bytes))),
            }
        }
        Poll::Ready(match self.length {
            Some(length) if self.taken < length => Err(wrong_length("fewer", length)),
            Some(_) | None => Ok(self.held.take()),
        })
    }
}

fn wrong_length(how: &str, length: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the source has {how} than the {length} bytes announced"))
}
