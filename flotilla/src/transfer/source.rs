//! A file or stdin as a stream of bytes, read by a blocking thread and hashed on the way.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::{mpsc, oneshot};

use super::progress::Progress;

/// Bytes read at once: large enough for a disk to be read at full speed.
const BUFFER_BYTES: usize = 512 << 10;
/// Buffers between reader and network: one on each side and two in between hide a short stall of either.
const BUFFERS: usize = 4;

/// Opens a plain file and tells its length.
///
/// # Errors
/// It is not there, no plain file, or a symbolic link where `follow` is not set.
pub fn open(path: &Path, follow: bool) -> io::Result<(File, u64)> {
    // Without NONBLOCK a pipe that took the file's place would be waited for.
    let flags = libc::O_NONBLOCK | if follow { 0 } else { libc::O_NOFOLLOW };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is no plain file"))
    }
}

/// Reads a file whole.
///
/// # Errors
/// It can't be read, or is not as long as it was when it was opened.
pub fn read(file: File, length: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    let got = file.take(length.saturating_add(1)).read_to_end(&mut bytes)? as u64;
    if got != length {
        return Err(io::Error::new(ErrorKind::InvalidData, "the file changed while it was read"));
    }
    Ok(bytes.into())
}

/// Gives a reader's bytes as a stream, and at its end their BLAKE3 hash.
pub fn stream(
    reader: impl Read + Send + 'static,
    progress: Progress,
) -> (BoxStream<'static, io::Result<Bytes>>, oneshot::Receiver<blake3::Hash>) {
    let (bytes_in, mut bytes_out) = mpsc::channel(BUFFERS);
    let (hash_in, hash_out) = oneshot::channel();
    drop(tokio::task::spawn_blocking(move || {
        if let Some(hash) = pump(reader, &bytes_in, &progress) {
            // Nobody may be left who wants to know.
            let _ = hash_in.send(hash);
        }
    }));
    (stream::poll_fn(move |cx| bytes_out.poll_recv(cx)).boxed(), hash_out)
}

/// Sends all bytes; gives their hash unless the reader failed or nobody takes them any more.
fn pump(
    mut reader: impl Read,
    bytes_in: &mpsc::Sender<io::Result<Bytes>>,
    progress: &Progress,
) -> Option<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    loop {
        let mut buffer = vec![0; BUFFER_BYTES];
        match fill(&mut reader, &mut buffer) {
            Ok(0) => return Some(hasher.finalize()),
            Ok(length) => {
                buffer.truncate(length);
                hasher.update(&buffer);
                progress.inc(length as u64);
                bytes_in.blocking_send(Ok(buffer.into())).ok()?;
            }
            Err(e) => {
                let _ = bytes_in.blocking_send(Err(e));
                return None;
            }
        }
    }
}

/// Fills the buffer unless the end comes first, so that a pipe of small writes does not become a stream of small frames.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    /// Gives its bytes in small pieces.
    struct Drip(Vec<u8>, usize);

    impl Read for Drip {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = out.len().min(self.1).min(self.0.len());
            out[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }
    }

    #[tokio::test]
    async fn all_bytes_come_with_their_hash() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (stream, hash) = stream(Drip(content.clone(), 100_000), Progress::hidden());
        let parts: Vec<Bytes> = stream.try_collect().await.expect("the reader does not fail");
        assert!(parts.iter().rev().skip(1).all(|part| part.len() == BUFFER_BYTES));
        assert!(parts.concat() == content);
        assert_eq!(hash.await.expect("the end was reached"), blake3::hash(&content));
    }

    #[tokio::test]
    async fn a_reader_that_fails_fails_the_stream_and_has_no_hash() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let (mut stream, hash) = stream(Broken, Progress::hidden());
        assert!(stream.try_next().await.is_err());
        assert!(hash.await.is_err());
    }

    #[test]
    fn only_plain_files_are_opened() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "abc").expect("the folder is writable");
        std::os::unix::fs::symlink(&file, &link).expect("links can be made");
        assert_eq!(open(&file, false).expect("a plain file").1, 3);
        assert_eq!(open(&link, true).expect("a plain file behind a link").1, 3);
        assert!(open(&link, false).is_err());
        assert!(open(folder.path(), true).is_err());
    }

    #[test]
    fn a_file_that_grew_or_shrank_is_refused() {
        let path = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(path.path(), "abc").expect("it is writable");
        let read_as = |length| read(open(path.path(), true).expect("a plain file").0, length);
        assert_eq!(read_as(3).expect("it is as it was"), "abc");
        assert!(read_as(2).is_err() && read_as(4).is_err());
    }
}
