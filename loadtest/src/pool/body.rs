//! The body of a request: nothing, or a file of the pool in frames whose buffers are used again.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::{FRAME_BYTES, File};

/// Buffers per body: the connection keeps up to about 400 KB unsent, so with four of 256 KiB one is always free again.
const BUFFERS: usize = 4;

/// A request's body.
///
/// # Bounds
/// At most four frames of 256 KiB are held, unless the connection keeps more of them unsent.
#[derive(Debug)]
pub(crate) struct Body {
    file: Option<File>,
    offset: u64,
    buffers: [BytesMut; BUFFERS],
    next: usize,
}

impl Body {
    /// Makes the body of a request that has none.
    pub(crate) fn empty() -> Self {
        Self { file: None, offset: 0, buffers: Default::default(), next: 0 }
    }

    /// Makes the body that sends a file.
    pub(crate) fn file(file: File) -> Self {
        Self { file: Some(file), offset: 0, buffers: Default::default(), next: 0 }
    }

    fn left(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.length() - self.offset)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let left = this.left();
        let Some(file) = this.file.as_ref().filter(|_| left > 0) else { return Poll::Ready(None) };
        let buffer = &mut this.buffers[this.next];
        this.next = (this.next + 1) % BUFFERS;
        // Takes the old allocation back if the connection let go of it, and makes another one if not.
        buffer.reserve(left.min(FRAME_BYTES as u64) as usize);
        this.offset += file.write(this.offset, FRAME_BYTES, buffer) as u64;
        Poll::Ready(Some(Ok(Frame::data(buffer.split().freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
