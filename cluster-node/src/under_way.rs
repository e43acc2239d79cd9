//! Counts the requests of clients that are under way on this node, from the head's arrival to the answer's last byte.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// The count. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<AtomicU32>);

/// A request that is counted until this is dropped.
#[derive(Debug)]
pub struct Counted(Arc<AtomicU32>);

impl UnderWay {
    /// Counts one request more until the answer is dropped.
    #[must_use]
    pub fn count_one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }

    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
