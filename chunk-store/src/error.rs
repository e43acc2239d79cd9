//! What can go wrong with a chunk, and what the caller does next; must not know wire codes.

use std::{io, path::PathBuf};

use flotilla_api::ChunkId;

/// Why a call on the store did not do what it says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chunk is not here, or not acked yet.
    #[error("chunk {0} is not here")]
    NotFound(ChunkId),
    /// The chunk is here already, synced.
    #[error("chunk {0} is here already")]
    Exists(ChunkId),
    /// The chunk is being written, or what an abandoned write left is being removed.
    #[error("chunk {0} is being written")]
    Busy(ChunkId),
    /// As many chunks are being written as the store takes.
    #[error("{} chunks are being written already", crate::WRITERS_MAX)]
    Overloaded,
    /// All chunks are to go off this disk: new ones are not taken.
    #[error("the disk drains and takes no new chunks")]
    Draining,
    /// The caller asked for something that can't be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The disk is full, as far as chunks may fill it.
    #[error("no space left for chunks")]
    Full,
    /// A write or sync failed earlier: reads go on, nothing is written any more.
    #[error("the chunk store is poisoned by a failed write or sync")]
    Poisoned,
    /// An earlier process saw a write or sync fail on this disk; an operator must accept it first.
    #[error("the disk of the chunk store failed before, see '{}'", .0.display())]
    Marked(PathBuf),
    /// The copy is damaged; another one must be read, and this one repaired.
    #[error("chunk {id} is corrupt: {flaw}")]
    Corrupt {
        /// The chunk.
        id: ChunkId,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The writer failed before, or the process is ending.
    #[error("the chunk store or the writer is closed")]
    Closed,
    /// The operating system refused something, and no bytes are in doubt.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a corrupt chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There are fewer or more bytes than its header says, or so few that there is no header.
    #[error("its length is wrong")]
    Length,
    /// Its header does not match the header's own checksum.
    #[error("its header is damaged")]
    Header,
    /// Its header has a version that this program does not know.
    #[error("its format version {0} is unknown")]
    Version(u32),
    /// It is another chunk under this one's name.
    #[error("it holds chunk {0}")]
    OtherChunk(ChunkId),
    /// Its header names another length, place in its tree or hash than the metadata does.
    #[error("its header is not what the metadata says")]
    Facts,
    /// Its list of block checksums does not match the header.
    #[error("its checksums are damaged")]
    Sums,
    /// A block does not match its checksum.
    #[error("block {0} does not match its checksum")]
    Block(u64),
    /// All blocks match their checksums, but not the BLAKE3 value.
    #[error("its contents do not match its hash")]
    Contents,
    /// The device can't read it.
    #[error("the device can't read it")]
    Unreadable,
}

/// What a caller does about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Look elsewhere.
    NotFound,
    /// See what is there already.
    Conflict,
    /// Ask for something else.
    Invalid,
    /// Take another disk; this one serves again when space was freed.
    Full,
    /// Take another disk, or come again later.
    Unavailable,
    /// Read another copy and repair this one.
    Corrupt,
    /// Give up and report.
    Internal,
}

impl Error {
    /// Says what to do now.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Exists(_) | Self::Busy(_) => Kind::Conflict,
            Self::Invalid(_) => Kind::Invalid,
            Self::Full => Kind::Full,
            Self::Overloaded | Self::Draining | Self::Poisoned | Self::Marked(_) | Self::Closed => Kind::Unavailable,
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::Io { .. } => Kind::Internal,
        }
    }
}
