//! Where a download goes: a blocking thread that writes and hashes.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write},
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

/// Pieces between network and disk: at their usual size of some hundred KiB, one short stall of the disk.
const PIECES: usize = 8;
/// Bytes read at once where an earlier part is hashed: large enough for a disk to be read at full speed.
const READ_BYTES: usize = 1 << 20;

/// Writes pieces in order and hashes them.
#[derive(Debug)]
pub struct Sink {
    pieces: Option<mpsc::Sender<Bytes>>,
    writer: Option<JoinHandle<io::Result<blake3::Hash>>>,
}

impl Sink {
    /// Starts the thread.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let (pieces, incoming) = mpsc::channel(PIECES);
        Self { pieces: Some(pieces), writer: Some(tokio::task::spawn_blocking(|| drain(out, incoming))) }
    }

    /// Starts the thread on a file whose first `got` bytes are there already and count for the hash.
    pub fn after(file: File, got: u64) -> Self {
        let (pieces, incoming) = mpsc::channel(PIECES);
        let writer = tokio::task::spawn_blocking(move || {
            let hasher = hash_start(&file, got)?;
            drain_with(hasher, file, incoming)
        });
        Self { pieces: Some(pieces), writer: Some(writer) }
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// An earlier piece could not be written.
    pub async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        let taken = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        // The thread ends before its sender only when it failed.
        if taken { Ok(()) } else { self.finish().await.and(Err(io::Error::other("the writer has ended"))) }
    }

    /// Waits until all pieces are written; gives their hash.
    ///
    /// # Errors
    /// A piece could not be written.
    pub async fn finish(&mut self) -> io::Result<blake3::Hash> {
        self.pieces = None;
        match self.writer.take() {
            Some(writer) => writer.await.map_err(io::Error::other)?,
            None => Err(io::Error::other("the writer has ended")),
        }
    }
}

/// Hashes the first `got` bytes and leaves the file's position behind them.
fn hash_start(mut file: &File, got: u64) -> io::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    file.rewind()?;
    let mut start = file.take(got);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match start.read(&mut buffer)? {
            0 if start.limit() == 0 => return Ok(hasher),
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the unfinished download became shorter")),
            length => hasher.update(&buffer[..length]),
        };
    }
}

fn drain(out: impl Write, pieces: mpsc::Receiver<Bytes>) -> io::Result<blake3::Hash> {
    drain_with(blake3::Hasher::new(), out, pieces)
}

fn drain_with(
    mut hasher: blake3::Hasher,
    mut out: impl Write,
    mut pieces: mpsc::Receiver<Bytes>,
) -> io::Result<blake3::Hash> {
    while let Some(piece) = pieces.blocking_recv() {
        hasher.update(&piece);
        out.write_all(&piece)?;
    }
    out.flush()?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_there_before_counts_for_the_hash() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"abXX").expect("there is space");
        let mut sink = Sink::after(file.try_clone().expect("it is open"), 2);
        for piece in ["c", "", "de"] {
            sink.write(piece.into()).await.expect("there is space");
        }
        assert_eq!(sink.finish().await.expect("there is space"), blake3::hash(b"abcde"));
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("it can be read");
        assert_eq!(text, "abcde");
        assert!(Sink::after(file, 6).finish().await.is_err());
    }

    #[tokio::test]
    async fn a_writer_that_fails_says_why() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Sink::new(Full);
        let error = loop {
            if let Err(error) = sink.write(Bytes::from_static(b"x")).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
