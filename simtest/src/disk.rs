//! A process's view of its machine's disk: it ends with the process, and syncs take their time.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_env::{
    Disk, DiskFile, blocking,
    disk::{Entry, PowerOff, Space},
};
use tokio::time::Instant;

use crate::{host::DATA_DIR, lock, power::Power};

/// How long a machine's disk takes for a sync.
#[derive(Debug)]
pub struct Speed(AtomicU64);

impl Default for Speed {
    fn default() -> Self {
        Self(AtomicU64::new(500))
    }
}

impl Speed {
    /// Changes it.
    pub fn set(&self, sync: Duration) {
        self.0.store(u64::try_from(sync.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Gives it.
    #[must_use]
    pub fn sync(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// What becomes of a machine's syncs.
#[derive(Debug, Default)]
pub struct Syncs {
    /// Whether the next one of the database fails.
    pub fail_next: AtomicBool,
    /// When one of the database failed in the process that runs.
    pub database_failed: Mutex<Option<Instant>>,
    /// When one of a chunk store's file or folder failed in the process that runs.
    pub file_failed: Mutex<Option<Instant>>,
}

impl Syncs {
    /// The process has ended.
    pub fn forget(&self) {
        *lock(&self.database_failed) = None;
        *lock(&self.file_failed) = None;
    }
}

/// The disk of one process.
#[derive(Debug, Clone)]
pub struct ProcessDisk {
    inner: Arc<dyn Disk>,
    power: Arc<Power>,
    speed: Arc<Speed>,
    syncs: Arc<Syncs>,
}

#[derive(Debug)]
struct ProcessFile {
    inner: Arc<dyn DiskFile>,
    disk: ProcessDisk,
    chunks: bool,
}

impl ProcessDisk {
    /// Gives a process its disk.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, power: Arc<Power>, speed: Arc<Speed>, syncs: Arc<Syncs>) -> Self {
        Self { inner, power, speed, syncs }
    }

    fn read<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.power.is_off() { Err(io::Error::other(PowerOff)) } else { act() }
    }

    fn change<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.power.step() { act() } else { Err(io::Error::other(PowerOff)) }
    }

    fn sync<T>(&self, chunks: bool, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        blocking::owe(self.speed.sync());
        let result = self.change(act);
        if result.is_err() && chunks {
            lock(&self.syncs.file_failed).get_or_insert(Instant::now());
        }
        result
    }

    fn file(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(ProcessFile { inner, disk: self.clone(), chunks: is_of_chunks(path) })
    }
}

/// Whether a path is the chunk store's. Of a snapshot that arrives, what could not be synced is written again.
fn is_of_chunks(path: &Path) -> bool {
    path.starts_with(Path::new(DATA_DIR).join("chunks"))
}

impl Disk for ProcessDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(|| self.inner.create_dir_all(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.change(|| self.inner.create(path)).map(|file| self.file(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.read(|| self.inner.open(path)).map(|file| self.file(path, file))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.read(|| self.inner.open_rw(path)).map(|file| self.file(path, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|| self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|| self.inner.remove(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.read(|| self.inner.list(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync(is_of_chunks(path), || self.inner.sync_dir(path))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.read(|| self.inner.space(path))
    }
}

impl DiskFile for ProcessFile {
    fn write_at(&self, offset: u64, parts: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.disk.change(|| self.inner.write_at(offset, parts))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.read(|| self.inner.read_at(offset, out))
    }

    fn read_at_nowait(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.read(|| self.inner.read_at_nowait(offset, out))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.disk.change(|| self.inner.allocate(length))
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.disk.change(|| self.inner.punch(offset, length))
    }

    fn read_past_cache(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.read(|| self.inner.read_past_cache(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.change(|| self.inner.set_len(length))
    }

    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk.change(|| self.inner.start_writeback(offset, length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(self.chunks, || self.inner.sync_data())
    }

    fn length(&self) -> io::Result<u64> {
        self.disk.read(|| self.inner.length())
    }
}
