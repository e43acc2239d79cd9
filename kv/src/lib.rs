//! One key-value database and one write-ahead log per process, with group-committed sync.
//!
//! The crate knows families, keys and bytes; it knows nothing of Raft or files.

mod batch;
mod error;
mod group_commit;
mod mem;
mod options;
mod rocks;

pub use batch::{Batch, Op};
pub use error::Error;
pub use mem::MemKv;
pub use options::{FamilyKind, FamilySpec, MemoryBudget, Options};
pub use rocks::{Memory, RocksKv};

/// The name of a column family.
pub type Family = &'static str;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// What is called when a sync is over.
pub type SyncDone = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Reads of one consistent state.
pub trait View: Send + Sync {
    /// Reads one value.
    ///
    /// # Errors
    /// See [`Error`]; none of them goes away by trying again.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Reads several values of one family; the answer has the order of `keys`.
    ///
    /// # Errors
    /// As [`View::get`].
    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        keys.iter().map(|key| self.get(family, key)).collect()
    }

    /// Reads at most `limit` rows with `from <= key` and, where given, `key < to`, in the order of their keys.
    ///
    /// # Errors
    /// As [`View::get`].
    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error>;

    /// Reads the last row of a family.
    ///
    /// # Errors
    /// As [`View::get`].
    fn last(&self, family: Family) -> Result<Option<Row>, Error>;
}

/// The process's database.
///
/// Writes are ordered: what a sync covers is every write that returned before the sync was asked for. A crash keeps a prefix of
/// the writes, never a later one without an earlier one, and a batch whole or not at all; [`Kv::drop_range`] is the exception.
pub trait Kv: View {
    /// Applies a batch atomically. Readable at once, durable after a later sync.
    ///
    /// # Errors
    /// [`Error::Poisoned`] after a failed write or sync; [`Error::Engine`] when this write is the one that fails, and, with nothing
    /// written and nothing poisoned, when the batch names a family that isn't there.
    fn write(&self, batch: Batch) -> Result<(), Error>;

    /// Asks for a sync and calls `done`, in the order of the calls, when every earlier write is durable.
    ///
    /// Waiting requests share one sync (group commit). A failed sync poisons the database: this and every later call gets
    /// [`Error::Poisoned`] or [`Error::Sync`], and nothing more is written. Blocks while
    /// [`SYNC_QUEUE_MAX`] requests wait.
    ///
    /// `done` runs on the sync thread, so everybody else waits for it: it must be short, and must not ask for a sync itself.
    fn sync_then(&self, done: SyncDone);

    /// Removes every key with `from <= key < to` and frees its space as soon as it can, out of the order of the other writes:
    /// after a crash each row may be gone although earlier writes are gone too, or be back as any of its earlier versions.
    /// Make whatever says that the rows are not needed durable first, and don't read them after a crash.
    ///
    /// # Errors
    /// As [`Kv::write`].
    fn drop_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<(), Error>;

    /// Takes a consistent view of all families.
    fn snapshot(&self) -> Box<dyn View + '_>;

    /// How many syncs were carried out.
    fn syncs(&self) -> u64;
}

/// How many sync requests may wait; a full queue blocks the asker (Raft's append, in practice one or two at a time).
pub const SYNC_QUEUE_MAX: usize = 4096;

/// Waits for a sync that covers every write that returned before the call.
///
/// # Errors
/// As [`Kv::sync_then`].
///
/// # Cancel safety
/// A dropped future leaves the sync under way; nothing is lost.
pub async fn sync(kv: &dyn Kv) -> Result<(), Error> {
    let (done, wait) = tokio::sync::oneshot::channel();
    kv.sync_then(Box::new(move |result| {
        let _ = done.send(result); // the asker may have gone
    }));
    wait.await.unwrap_or(Err(Error::Closed))
}
