//! A chunk that is being written, wherever it goes: into a volume or into a file of its own.

use bytes::Bytes;

use crate::{error::Error, volumes::RecordWriter, writer};

/// Takes the bytes of one chunk. Dropped before [`Writer::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writer(Target);

#[derive(Debug)]
enum Target {
    Record(Box<RecordWriter>),
    File(Box<writer::Writer>),
}

impl From<RecordWriter> for Writer {
    fn from(writer: RecordWriter) -> Self {
        Self(Target::Record(Box::new(writer)))
    }
}

impl From<writer::Writer> for Writer {
    fn from(writer: writer::Writer) -> Self {
        Self(Target::File(Box::new(writer)))
    }
}

impl Writer {
    /// Takes the next bytes of the chunk; waits while the disk is more than a batch behind.
    ///
    /// # Errors
    /// Invalid if there are more bytes than were reserved (nothing is taken then); Full, Poisoned and Closed end the writer.
    /// An error may be that of an earlier piece.
    ///
    /// # Durability
    /// None; the bytes are buffered or written.
    ///
    /// # Cancel safety
    /// A dropped future may have taken the bytes or not: drop the writer too.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        match &mut self.0 {
            Target::Record(writer) => writer.write(bytes),
            Target::File(writer) => writer.write(bytes).await,
        }
    }

    /// Ends the chunk; `cv` is the BLAKE3 chaining value of its bytes at its offset in its tree, kept for scrubs.
    ///
    /// # Errors
    /// Invalid for a chunk without bytes; Full, Poisoned, Closed. The chunk is then not acked: after a restart it is absent or,
    /// if only what makes it visible failed, perhaps there and whole.
    ///
    /// # Durability
    /// Ok: all that is needed to find the chunk again, whole, is synced.
    ///
    /// # Cancel safety
    /// A dropped future leaves the chunk absent or whole; it becomes visible only if it was synced.
    pub async fn finish(self, cv: [u8; 32]) -> Result<writer::Stored, Error> {
        match self.0 {
            Target::Record(writer) => writer.finish(cv).await,
            Target::File(writer) => writer.finish(cv).await,
        }
    }
}
