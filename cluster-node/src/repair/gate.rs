//! Keeps two things apart on one disk: a copy that becomes visible because nothing says that it is to go, and a copy that goes
//! because it was said.
//!
//! Both look into the metadata and then act on the disk. Between look and act the other one must not act: a copy would be unlinked
//! on the strength of what was said of an earlier one.

use std::sync::Arc;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The gate of a node's disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<RwLock<()>>);

impl Gate {
    /// Held from the look to the end of a copy; there may be many.
    pub async fn copy(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().await
    }

    /// Held from the look to the end of an unlink.
    pub async fn unlink(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().await
    }
}
