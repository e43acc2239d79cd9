//! Something that a router needs and that is there only later in the process's start.

use std::sync::{Arc, OnceLock};

use flotilla_api::Code;

use crate::problem::ApiError;

/// A value that is set once. Cheap to clone.
#[derive(Debug)]
pub struct Late<T>(Arc<OnceLock<T>>);

impl<T> Clone for Late<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Late<T> {
    /// Sets the value; a second time changes nothing.
    pub fn set(&self, value: T) {
        let _ = self.0.set(value); // the first one stays
    }

    /// Gives the value, if it is there.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Gives the value, or the answer that the process is starting.
    ///
    /// # Errors
    /// 503 `not_ready`.
    pub fn ready(&self) -> Result<&T, ApiError> {
        let starting = || ApiError::new(Code::NotReady, "the process is starting; it has not joined its group yet");
        self.0.get().ok_or_else(starting)
    }
}
