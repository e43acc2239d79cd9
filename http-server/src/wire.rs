//! A connection's stream as hyper sees it, with four things that hyper does not do: it watches the framing of requests, gives up
//! on a head that does not come to its end or a client that takes no bytes, and lets a client read an early answer before the
//! connection goes.
//!
//! It must not know requests, routes or answers.

mod tap;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Limits, bodies::PROGRESS_BYTES, framing::Suspicion, patience::Patience};
use tap::Tap;

/// How long a closed connection is still read, so that a client in mid-upload finds the answer and not a reset.
///
/// One round trip of a slow mobile network and the time to notice; longer would only hold connection slots.
const LINGER: Duration = Duration::from_secs(2);

/// How much of an unwanted body is read and thrown away meanwhile: what is under way in the buffers of a fast network.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// Wraps one connection.
///
/// # Bounds
/// Reads fail with `TimedOut` once a head was waited for as long as the limits say, and writes once they waited so long in all
/// without [`PROGRESS_BYTES`] being taken.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    tap: Tap,
    head: Patience,
    write: Patience,
    linger: Patience,
    linger_bytes: usize,
    finished: bool,
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, limits: &Limits, suspicion: Arc<Suspicion>) -> Self {
        Self {
            stream,
            tap: Tap::new(suspicion),
            head: Patience::new(limits.header_read, 1),
            write: Patience::new(limits.write_stall, PROGRESS_BYTES),
            linger: Patience::new(LINGER, 1),
            linger_bytes: 0,
            finished: false,
        }
    }

    /// Watches a step of writing; `bytes` tells how many the client took with it.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => {
                self.write.progress(result.as_ref().map_or(0, |taken| bytes(taken) as u64));
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(self.write.poll_waiting(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "client takes no or too few bytes")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(read) => {
                read?;
                this.tap.observe(&buf.filled()[before..]);
                // The bytes of a head buy no time, only its end does.
                this.head.progress(u64::from(!this.tap.awaits_head()));
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.tap.awaits_head() => {
                ready!(this.head.poll_waiting(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "head of a request does not come to its end")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written(cx, result, |bytes| *bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.written(cx, result, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(cx, result, |()| 0)
    }

    /// Ends the sending side; then, if the client was cut off in mid-request, reads on for a moment.
    ///
    /// A socket that is closed with unread bytes resets the connection, and the reset can overtake the answer.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.finished {
            let result = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.written(cx, result, |()| 0))?;
            this.finished = true;
        }
        while !this.tap.between_requests() && this.linger_bytes < LINGER_BYTES_MAX {
            let mut scratch = [0; 8192];
            let mut scratch = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut scratch) {
                Poll::Pending => {
                    ready!(this.linger.poll_waiting(cx));
                    break;
                }
                Poll::Ready(Ok(())) if !scratch.filled().is_empty() => this.linger_bytes += scratch.filled().len(),
                Poll::Ready(_) => break, // the client is done or gone
            }
        }
        Poll::Ready(Ok(()))
    }
}
