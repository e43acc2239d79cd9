//! The first fatal error of a group, for whoever has to end the process.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Keeps the first error that was raised. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fatal {
    why: Arc<Mutex<Option<String>>>,
    raised: Arc<Notify>,
}

impl Fatal {
    /// Raises an error; only the first one is kept.
    pub fn raise(&self, why: String) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.raised.notify_one();
    }

    /// Waits for an error.
    ///
    /// # Cancel safety
    /// Safe for one waiter.
    pub async fn wait(&self) -> String {
        self.raised.notified().await;
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }
}
