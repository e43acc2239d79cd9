//! A database in memory, for tests: it knows synced writes from unsynced ones and can crash.
//!
//! It must not know files.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    Batch, Error, Family, Kv, Row, SyncDone, View,
    group_commit::{Engine, GroupCommit},
};

mod tree;

use tree::Tree;

/// A database in memory that keeps the promises of [`Kv`], and no more than them.
///
/// # Bounds
/// Holds everything twice, and every batch since the last sync once more: a fake for tests.
pub struct MemKv {
    commit: GroupCommit,
    store: Arc<Store>,
}

impl MemKv {
    /// Makes an empty database whose syncs run on a thread of their own, as the real one's do.
    #[must_use]
    pub fn new(families: &[Family]) -> Self {
        Self::threaded(Tree::new(families))
    }

    /// Makes an empty database whose syncs run, with their `done`, on the thread of the asker: for simulations, where a second
    /// thread would make the order of events depend on the machine.
    #[must_use]
    pub fn inline(families: &[Family]) -> Self {
        Self::unthreaded(Tree::new(families))
    }

    /// Gives the database as the harshest crash leaves it: only synced writes survive. This handle stays as it was.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// Gives the database as a crash leaves it that happens to keep the first `unsynced` batches since the last sync.
    #[must_use]
    pub fn crash_keeping(&self, unsynced: usize) -> Self {
        let state = self.store.read();
        let mut tree = state.synced.clone();
        for batch in state.unsynced.iter().take(unsynced) {
            tree.apply(batch);
        }
        if self.commit.is_inline() { Self::unthreaded(tree) } else { Self::threaded(tree) }
    }

    /// Makes the next sync fail, which poisons the database.
    pub fn fail_next_sync(&self) {
        self.store.fail_next_sync.store(true, Ordering::SeqCst);
    }

    fn threaded(tree: Tree) -> Self {
        let store = Arc::new(Store::new(tree));
        let commit = GroupCommit::start(store.clone()).expect("a test's machine has a thread to give");
        Self { commit, store }
    }

    fn unthreaded(tree: Tree) -> Self {
        let store = Arc::new(Store::new(tree));
        Self { commit: GroupCommit::inline(store.clone()), store }
    }
}

impl View for MemKv {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.store.read().current.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.store.read().current.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        self.store.read().current.scan(family, from, to, limit)
    }

    fn last(&self, family: Family) -> Result<Option<Row>, Error> {
        self.store.read().current.last(family)
    }
}

impl Kv for MemKv {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        self.commit.check()?;
        let mut state = self.store.write();
        state.current.check(&batch)?;
        state.current.apply(&batch);
        state.unsynced.push(batch);
        Ok(())
    }

    fn sync_then(&self, done: SyncDone) {
        self.commit.sync_then(done);
    }

    fn drop_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.delete_range(family, from, to);
        self.write(batch.clone())?;
        self.store.write().synced.apply(&batch); // files are unlinked at once, before any sync
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(self.store.read().current.clone())
    }

    fn syncs(&self) -> u64 {
        self.commit.syncs()
    }
}

struct Store {
    state: RwLock<State>,
    fail_next_sync: AtomicBool,
}

struct State {
    /// What is read.
    current: Tree,
    /// What survives a crash for certain.
    synced: Tree,
    /// The batches between the two.
    unsynced: Vec<Batch>,
}

impl Store {
    fn new(tree: Tree) -> Self {
        let state = State { current: tree.clone(), synced: tree, unsynced: Vec::new() };
        Self { state: RwLock::new(state), fail_next_sync: AtomicBool::new(false) }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Store {
    fn sync(&self) -> Result<(), Arc<str>> {
        if self.fail_next_sync.swap(false, Ordering::SeqCst) {
            return Err("injected failure".into());
        }
        let State { synced, unsynced, .. } = &mut *self.write();
        for batch in unsynced.drain(..) {
            synced.apply(&batch);
        }
        Ok(())
    }
}
