//! Group commit: everybody who waits for a sync shares the next one.
//!
//! It knows an engine that can sync and the order of those who wait; it must not know keys, families or files.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use metrics::{Counter, Histogram};

use crate::{Error, SYNC_QUEUE_MAX, SyncDone};

#[cfg(test)]
mod metric_tests;
#[cfg(test)]
mod tests;

/// What can be synced.
pub(crate) trait Engine: Send + Sync + 'static {
    /// Makes every write durable that returned before the call; the error is a text for the log.
    fn sync(&self) -> Result<(), Arc<str>>;
}

/// The queue of those who wait, and the thread that syncs for them.
pub(crate) struct GroupCommit {
    core: Arc<Core>,
    sync_thread: Option<SyncThread>,
}

struct SyncThread {
    queue: SyncSender<SyncDone>,
    handle: JoinHandle<()>,
}

impl GroupCommit {
    /// Starts the thread `wal-sync`.
    ///
    /// # Errors
    /// [`Error::Engine`]: the system has no thread to give.
    pub(crate) fn start(engine: Arc<dyn Engine>) -> Result<Self, Error> {
        let core = Arc::new(Core::new(engine));
        let (queue, requests) = sync_channel(SYNC_QUEUE_MAX);
        let shared = Arc::clone(&core);
        let handle = thread::Builder::new()
            .name("wal-sync".to_owned())
            .spawn(move || shared.run(&requests))
            .map_err(|source| Error::Engine(format!("no thread for syncs: {source}").into()))?;
        Ok(Self { core, sync_thread: Some(SyncThread { queue, handle }) })
    }

    /// Syncs on the thread of the asker, one request at a time: for simulations, where a second thread would make the order
    /// of events depend on the machine.
    pub(crate) fn inline(engine: Arc<dyn Engine>) -> Self {
        Self { core: Arc::new(Core::new(engine)), sync_thread: None }
    }

    /// Carries out [`crate::Kv::sync_then`].
    pub(crate) fn sync_then(&self, done: SyncDone) {
        // A poisoned database answers from the queue too, so that answers keep the order of the calls.
        let Some(thread) = &self.sync_thread else { return self.core.commit([done]) };
        if let Err(refused) = thread.queue.send(done) {
            // The thread ends before its owner only by a panic in a `done`.
            refused.0(Err(Error::Closed));
        }
    }

    /// Whether it was made by [`GroupCommit::inline`].
    pub(crate) fn is_inline(&self) -> bool {
        self.sync_thread.is_none()
    }

    /// Refuses work on a poisoned database.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.core.check()
    }

    /// Lets nothing more be written or synced.
    pub(crate) fn poison(&self) {
        self.core.poison();
    }

    /// How many syncs were carried out, the failed one included.
    pub(crate) fn syncs(&self) -> u64 {
        self.core.syncs.load(Ordering::Relaxed)
    }
}

impl Drop for GroupCommit {
    /// Answers everybody who still waits, then ends the thread.
    fn drop(&mut self) {
        let Some(SyncThread { queue, handle }) = self.sync_thread.take() else { return };
        drop(queue);
        // A `done` may have held the last reference to the database; a thread cannot wait for its own end.
        if handle.thread().id() != thread::current().id() && handle.join().is_err() {
            tracing::error!("the sync thread ended by a panic");
        }
    }
}

struct Core {
    engine: Arc<dyn Engine>,
    poisoned: AtomicBool,
    syncs: AtomicU64,
    syncs_total: Counter,
    sync_seconds: Histogram,
}

impl Core {
    fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            poisoned: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            syncs_total: metrics::counter!("flotilla_syncs_total", "store" => "wal"),
            sync_seconds: metrics::histogram!("flotilla_sync_seconds", "store" => "wal"),
        }
    }

    fn run(&self, requests: &Receiver<SyncDone>) {
        let _guard = PoisonOnPanic(self);
        while let Ok(first) = requests.recv() {
            // Whoever came while the last sync ran shares this one. Nobody is waited for: an idle disk syncs at once. The
            // group is bounded, else askers who are faster than this loop would keep the first one waiting for ever.
            let group: Vec<SyncDone> =
                std::iter::once(first).chain(requests.try_iter().take(SYNC_QUEUE_MAX - 1)).collect();
            self.commit(group);
        }
    }

    /// Syncs once and answers the group in its order.
    fn commit(&self, group: impl IntoIterator<Item = SyncDone>) {
        let result = self.sync();
        for done in group {
            done(result.clone());
        }
    }

    fn sync(&self) -> Result<(), Error> {
        self.check()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "measured for a metric, decides nothing; this crate imports no Clock"
        )]
        let began = Instant::now();
        let result = self.engine.sync();
        self.sync_seconds.record(began.elapsed());
        self.syncs_total.increment(1);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        result.map_err(|why| {
            // Linux drops the dirty pages of a failed sync, so a second one would succeed without them: never retried. The
            // flag stands before anybody hears of the failure, so that whoever heard of it finds the database shut.
            self.poison();
            tracing::error!(why = %why, "database sync failed, the database is poisoned");
            Error::Sync(why)
        })
    }

    fn check(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// Without its sync thread a database can promise nothing more, so it takes nothing more.
struct PoisonOnPanic<'a>(&'a Core);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison();
        }
    }
}
