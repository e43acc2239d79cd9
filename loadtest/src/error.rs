//! Why a load test could not be carried out; a finding (a lost file) is an exit code, never an error.

use std::{io, path::PathBuf};

use crate::{ledger::StoreError, wire};

/// Why a load test ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments ask for something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("file '{path}' can't be used: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A complete line of a ledger does not parse.
    #[error("line {line} of '{path}' is not a ledger line: {source}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The description of the dev deployment does not parse.
    #[error("'{path}' does not describe a dev deployment: {source}")]
    Dev {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The deployment could not be reached at all.
    #[error("deployment can't be reached: {0}")]
    Wire(#[from] wire::Error),
    /// The files that a load needs could not be made.
    #[error("files could not be made before the load: {0}")]
    Prefill(String),
    /// The deployment could not be read.
    #[error("deployment can't be read: {0}")]
    Store(#[from] StoreError),
    /// The page could not be served.
    #[error("the page can't be served at {address}: {source}; give another address to --page")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// One of several runners did not get as far as the load.
    #[error("{name} can't take part: {why}")]
    Worker {
        /// Which.
        name: String,
        /// What happened.
        why: String,
    },
    /// The leader of several runners went away, or said what is not understood.
    #[error("the leader of this load can't be heard any more: {0}")]
    Leader(#[source] io::Error),
    /// The report could not be printed.
    #[error("report can't be printed: {0}")]
    Print(#[source] io::Error),
}

impl Error {
    /// Gives the exit code of the command line: 2 for usage, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => crate::command::EXIT_USAGE,
            Self::File { .. }
            | Self::Line { .. }
            | Self::Dev { .. }
            | Self::Wire(_)
            | Self::Prefill(_)
            | Self::Store(_)
            | Self::Listen { .. }
            | Self::Worker { .. }
            | Self::Leader(_)
            | Self::Print(_) => crate::command::EXIT_ERROR,
        }
    }

    /// Makes the error of a file that could not be used.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
