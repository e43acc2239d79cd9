//! Why a group's storage failed.

use std::io;

use crate::machine::Fault;

/// A failure of a group's storage. None of them goes away by trying again: the process has to end.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// A snapshot's files could not be read or written.
    #[error("snapshot files failed")]
    Disk(#[from] io::Error),
    /// The machine could not read its state.
    #[error(transparent)]
    Machine(#[from] Fault),
    /// A stored value is not what was written.
    #[error("stored {what} is corrupt: {why}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The log holds a command of a newer build. Guessing what it means would let the replicas drift.
    #[error("log entry {index} has command version {version}, this build knows up to {known}; start a newer build")]
    CommandVersion {
        /// The entry's index.
        index: u64,
        /// Its version.
        version: u8,
        /// The newest version of this build.
        known: u8,
    },
    /// The database was written by a newer build.
    #[error("the group's store has format {found}, this build reads format {known}; start a newer build")]
    Format {
        /// The stored format.
        found: u32,
        /// The format of this build.
        known: u32,
    },
}

impl StoreError {
    /// Says that a stored value is damaged.
    pub(crate) fn corrupt(what: &'static str, why: impl ToString) -> Self {
        Self::Corrupt { what, why: why.to_string() }
    }
}

impl From<StoreError> for io::Error {
    /// Gives the form in which openraft takes errors; any of them stops its core.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Disk(error) => error,
            other => io::Error::other(other),
        }
    }
}
