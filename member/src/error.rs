//! Why a member could not start or had to end, and the exit code that says so.

/// Exit code: a disk failed, or carries the mark of an earlier failure.
pub const EXIT_DISK: u8 = 74;
/// Exit code: identity or configuration.
pub const EXIT_CONFIG: u8 = 78;

/// Why a process ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting has no sense.
    #[error("setting '{name}' {why}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What is wrong and how to mend it.
        why: String,
    },
    /// The fleet's secret is missing or exposed.
    #[error(transparent)]
    Secret(#[from] flotilla_http_server::secret::Error),
    /// The folder can't be used.
    #[error(transparent)]
    Identity(#[from] flotilla_raft_store::identity::Error),
    /// The folder has no place in the group.
    #[error(transparent)]
    Formation(#[from] flotilla_raft_store::formation::Error),
    /// A listener can't be opened.
    #[error(transparent)]
    Bind(#[from] flotilla_http_server::BindError),
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// The Raft group failed.
    #[error(transparent)]
    Raft(#[from] flotilla_raft_store::Error),
    /// The metadata's disk failed while the node was running.
    #[error("metadata failed: {0}")]
    Metadata(String),
    /// The disk that holds the chunks failed, or is marked.
    #[error("chunk store failed: {0}")]
    Chunks(String),
    /// An earlier failure left its mark.
    #[error(
        "'{0}' says that this disk failed; replace it, or run 'flotilla node accept-disk' on the data folder if you trust it"
    )]
    Marked(String),
    /// The group has no place for this process and its folder.
    #[error("{0}")]
    Refused(String),
    /// A listener failed.
    #[error("listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

impl Error {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting { .. }
            | Self::Secret(_)
            | Self::Identity(_)
            | Self::Formation(_)
            | Self::Refused(_)
            | Self::Bind(_) => EXIT_CONFIG,
            Self::Kv(flotilla_kv::Error::Locked) => EXIT_CONFIG,
            Self::Kv(_) | Self::Raft(_) | Self::Metadata(_) | Self::Chunks(_) | Self::Marked(_) => EXIT_DISK,
            Self::Listener(_) => 1,
        }
    }
}
