//! Why the database failed.

use std::sync::Arc;

/// A failure of the database; none of them goes away by trying again on this handle.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The engine failed to read or write.
    #[error("database failed: {0}")]
    Engine(Arc<str>),
    /// A sync failed; the database is poisoned from now on.
    #[error("database sync failed: {0}")]
    Sync(Arc<str>),
    /// An earlier write or sync failed, so nothing more is accepted; the process must end.
    #[error("database is poisoned by an earlier failed write or sync")]
    Poisoned,
    /// Another process has the database open.
    #[error("database is in use by another process")]
    Locked,
    /// The database is shut.
    #[error("database is closed")]
    Closed,
}
