//! Volumes: chunks of up to a megabyte as records in large files, so that many of them share one write and one sync.
//!
//! Must not know chunks that are files of their own, nor what a chunk is for.
//!
//! What makes it safe, in the order in which things become durable:
//!
//! - A record is acked once it is synced. The index row is written after that and never synced for its own sake: the mark that is
//!   written with it tells a later start from where to read the volumes again.
//! - A volume is appended to by one process and in one go. A start, a failed write and a full volume seal it, so what a torn or
//!   unacked write left in a volume is never followed by anything else in the same epoch.
//! - A volume is written over only after its live records were copied and synced, the index points to the copies, the database was
//!   synced, and the volume's row says free in a synced database.
//! - Space is punched out only of records whose removal is synced.

mod commit;
mod index;
mod keeper;
mod one_thread;
mod pool;
mod put;
mod queue;
mod read;
mod record;
mod recover;
mod scan;
mod space;
mod volume;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use flotilla_api::ChunkId;
use flotilla_env::{Entropy, blocking, disk::Disk};
use flotilla_kv::Kv;
use metrics::Gauge;
use tokio::sync::oneshot;

use self::{
    index::{Index, Place},
    keeper::{Chores, Keeper},
    one_thread::OneThread,
    pool::Pool,
    queue::{Job, Queue},
};
use crate::{buffers::Buffers, error::Error, health::Health};

pub use self::{index::FAMILIES, pool::VolumeUsage, record::RECORD_BYTES_MAX};
pub(crate) use self::{put::RecordWriter, record::record_bytes, recover::Rescan};

/// The size of a volume: a thousand records of common size, so that what a volume costs once is little for each, and small enough
/// to be read again at a start within a moment.
pub const VOLUME_BYTES: u64 = 64 << 20;

/// The volumes of a store and the two threads that work on them. Dropped, it lets them end what they have begun.
#[derive(Debug)]
pub(crate) struct Volumes {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What both threads and all readers see.
#[derive(Debug)]
pub(crate) struct Shared {
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    entropy: Arc<dyn Entropy>,
    index: Index,
    dir: PathBuf,
    buffers: Arc<Buffers>,
    capacity: u64,
    /// Free space that no volume is made from in advance.
    reserve_free_bytes: u64,
    pool: Pool,
    queue: Queue,
    chores: Chores,
    one_thread: OneThread,
    promised_bytes: Arc<AtomicU64>,
    gauges: Gauges,
}

/// What volumes are made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) health: Arc<Health>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) index: IndexHandle,
    pub(crate) dir: PathBuf,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) capacity: u64,
    pub(crate) reserve_free_bytes: u64,
}

/// The database that the index lies in.
#[derive(Clone)]
pub(crate) struct IndexHandle(pub(crate) Arc<dyn Kv>);

impl std::fmt::Debug for IndexHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexHandle")
    }
}

/// Room in volumes that is set aside for a chunk; given back when dropped.
#[derive(Debug)]
pub(crate) struct Promise {
    promised: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Gauges {
    chunks: Gauge,
    live: Gauge,
    dead: Gauge,
    punched: Gauge,
    free: Gauge,
    open: Gauge,
    sealed: Gauge,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gauges")
    }
}

impl Gauges {
    fn new() -> Self {
        Self {
            chunks: metrics::gauge!("flotilla_volume_chunks"),
            live: metrics::gauge!("flotilla_volume_bytes", "kind" => "live"),
            dead: metrics::gauge!("flotilla_volume_bytes", "kind" => "dead"),
            punched: metrics::gauge!("flotilla_volume_bytes", "kind" => "punched"),
            free: metrics::gauge!("flotilla_volumes", "state" => "free"),
            open: metrics::gauge!("flotilla_volumes", "state" => "open"),
            sealed: metrics::gauge!("flotilla_volumes", "state" => "sealed"),
        }
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats, and exact up to 8 PiB
    fn show(&self, usage: &VolumeUsage) {
        let all = [
            (&self.chunks, usage.chunks),
            (&self.live, usage.live_bytes),
            (&self.dead, usage.dead_bytes),
            (&self.punched, usage.punched_bytes),
            (&self.free, usage.free),
            (&self.open, usage.open),
            (&self.sealed, usage.sealed),
        ];
        all.into_iter().for_each(|(gauge, value)| gauge.set(value as f64));
    }
}

impl Volumes {
    /// Opens the volumes of a folder, reads again what the index may have missed, and starts the threads; blocks.
    pub(crate) fn open(parts: Parts) -> Result<(Self, Rescan), Error> {
        let index = Index::new(parts.index.0);
        let dir = parts.dir;
        let (pool, sealed, rescan) = recover::recover(&*parts.disk, &parts.health, &index, &dir, parts.capacity)?;
        let (chores, orders) = keeper::chores();
        let shared = Arc::new(Shared {
            disk: parts.disk,
            health: parts.health,
            entropy: parts.entropy,
            index,
            dir,
            buffers: parts.buffers,
            capacity: parts.capacity,
            reserve_free_bytes: parts.reserve_free_bytes,
            pool,
            queue: Queue::default(),
            chores,
            one_thread: OneThread::default(),
            promised_bytes: Arc::default(),
            gauges: Gauges::new(),
        });
        shared.gauges.show(&shared.pool.usage());
        sealed.into_iter().for_each(|number| shared.chores.sealed(number));
        let mut volumes = Self { shared: shared.clone(), threads: Vec::new() };
        let committer = commit::Committer::new(shared.clone());
        let keeper = Keeper::new(shared.clone());
        if blocking::is_simulated() {
            shared.one_thread.start(committer, keeper, orders);
            return Ok((volumes, rescan));
        }
        volumes.spawn("volume-writer", move || committer.run())?;
        volumes.spawn("volume-keeper", move || keeper.run(&orders))?;
        Ok((volumes, rescan))
    }

    pub(crate) fn usage(&self) -> VolumeUsage {
        self.shared.pool.usage()
    }

    pub(crate) fn find(&self, id: ChunkId) -> Result<Option<Place>, Error> {
        self.shared.index.find(id)
    }

    /// Lists the chunks of a shelf that have a record, in their order.
    pub(crate) fn list(&self, shelf: u8, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, Error> {
        self.shared.index.list(shelf, after, limit)
    }

    /// Sets room aside for a record, if the volumes that are there have it.
    pub(crate) fn promise(&self, bytes: u64) -> Option<Promise> {
        let unused = self.shared.pool.unused_bytes();
        let fits = |promised: u64| promised.checked_add(bytes).filter(|sum| *sum <= unused);
        self.shared.promised_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Promise { promised: self.shared.promised_bytes.clone(), bytes })
    }

    /// Sets room aside for a record in a volume that has still to be made.
    pub(crate) fn promise_anew(&self, bytes: u64) -> Promise {
        self.shared.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
        Promise { promised: self.shared.promised_bytes.clone(), bytes }
    }

    /// Gives how large the next volume will be.
    pub(crate) fn capacity(&self) -> u64 {
        self.shared.capacity
    }

    pub(crate) fn push(&self, job: Job) {
        self.shared.queue.push(job);
        self.shared.one_thread.wake();
    }

    /// Removes the chunks that have a record.
    pub(crate) async fn remove(&self, ids: Vec<ChunkId>) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        self.push(Job::Remove { ids, done });
        wait.await.unwrap_or(Err(Error::Closed))
    }

    /// Compacts all volumes that it pays for, and gives their number.
    pub(crate) async fn compact(&self) -> Result<u64, Error> {
        let (done, wait) = oneshot::channel();
        self.shared.chores.compact(done);
        self.shared.one_thread.wake();
        wait.await.unwrap_or(Err(Error::Closed))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(thread.map_err(|source| Error::Io { what: "start a thread for volumes", source })?);
        Ok(())
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        self.shared.chores.close();
        self.shared.queue.close();
        self.shared.one_thread.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the volumes ended by a panic");
            }
        }
    }
}
