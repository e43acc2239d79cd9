//! The first fatal error of a group, for whoever has to end the process.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::{Error, marks};

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

    /// Ends a process in which an error may have been raised: then its folder is marked. Not to be asked of a process whose group has
    /// ended: that is raised as well.
    ///
    /// # Errors
    /// What was raised.
    pub fn end(&self, dir: &Path) -> Result<(), Error> {
        let raised = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(why) = raised else { return Ok(()) };
        marks::leave(dir, &why);
        Err(Error::Metadata(why))
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
