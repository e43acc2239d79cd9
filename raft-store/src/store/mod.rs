//! What a group keeps in the database: its log, its vote, its applied state and the results of its last commands.
//!
//! Nothing here sends a message.

pub(crate) mod codec;
pub(crate) mod dedup;
pub(crate) mod envelope;
mod error;
pub(crate) mod keys;
pub(crate) mod log_reader;
pub(crate) mod log_store;
pub(crate) mod overlay;
pub(crate) mod ring;
pub(crate) mod rules;
pub(crate) mod state_machine;
pub(crate) mod types;

pub use dedup::RESULTS_KEPT;
pub use envelope::COMMAND_BYTES_MAX;
pub use error::StoreError;
pub use keys::{DEDUP as RESULTS_FAMILY, LOG as LOG_FAMILY, applied_index, families};

use std::sync::{Mutex, MutexGuard, PoisonError};

use flotilla_kv::Kv;

/// Locks `mutex`; its holders don't panic halfway through a change, so a poisoned lock still guards a whole value.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on this thread for a sync that covers every write that returned before the call. Not for an async task.
pub(crate) fn sync_blocking(kv: &dyn Kv) -> Result<(), flotilla_kv::Error> {
    // Not tokio's: in a simulation blocking work runs on the runtime's thread, where that refuses to wait.
    let (done, wait) = std::sync::mpsc::sync_channel(1);
    kv.sync_then(Box::new(move |result| {
        let _ = done.send(result); // the asker may have gone
    }));
    wait.recv().unwrap_or(Err(flotilla_kv::Error::Closed))
}
