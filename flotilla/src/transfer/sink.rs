//! Where a download goes: a blocking thread that writes and hashes, and a temporary file that becomes the target when it is whole.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use super::target::Folder;

/// Pieces between network and disk: at their usual size of some hundred KiB, one short stall of the disk.
const PIECES: usize = 8;

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

fn drain(mut out: impl Write, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    while let Some(piece) = pieces.blocking_recv() {
        hasher.update(&piece);
        out.write_all(&piece)?;
    }
    out.flush()?;
    Ok(hasher.finalize())
}

/// A file beside its target, removed unless it takes the target's place.
#[derive(Debug)]
pub struct Temporary {
    folder: Arc<Folder>,
    name: String,
    kept: bool,
}

impl Temporary {
    /// Makes an empty file in the folder; `random` tells its name from those of others.
    ///
    /// # Errors
    /// The folder takes no file.
    pub fn create(folder: Arc<Folder>, random: u64) -> io::Result<(Self, File)> {
        let name = format!(".flotilla-{random:016x}.part");
        let file = folder.create(&name)?;
        Ok((Self { folder, name, kept: false }, file))
    }

    /// Puts the file in the place of its target.
    ///
    /// # Durability
    /// Written, not synced.
    ///
    /// # Errors
    /// A folder has the target's name; the temporary file is removed.
    pub fn keep(mut self, target: &Path) -> io::Result<()> {
        self.folder.rename(&self.name, target)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // There is nothing better to do about a file that can't be removed.
            let _ = self.folder.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).expect("the folder is there");
        entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
    }

    #[tokio::test]
    async fn an_unfinished_file_leaves_nothing_behind() {
        let path = tempfile::tempdir().expect("a temporary folder");
        let folder = Arc::new(Folder::open(path.path()).expect("it is there"));
        let (temporary, file) = Temporary::create(folder, 7).expect("the folder is writable");
        let mut sink = Sink::new(file);
        sink.write(Bytes::from_static(b"half")).await.expect("there is space");
        assert_eq!(names(path.path()).len(), 1);
        drop((sink, temporary));
        assert!(names(path.path()).is_empty());
    }

    #[tokio::test]
    async fn a_whole_file_takes_its_name() {
        let path = tempfile::tempdir().expect("a temporary folder");
        let folder = Arc::new(Folder::open(path.path()).expect("it is there"));
        let (temporary, file) = Temporary::create(folder, 7).expect("the folder is writable");
        let mut sink = Sink::new(file);
        for piece in ["ab", "", "c"] {
            sink.write(piece.into()).await.expect("there is space");
        }
        assert_eq!(sink.finish().await.expect("there is space"), blake3::hash(b"abc"));
        temporary.keep(Path::new("whole")).expect("the name is free");
        assert_eq!(names(path.path()), ["whole"]);
        assert_eq!(std::fs::read(path.path().join("whole")).expect("it is there"), b"abc");
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
