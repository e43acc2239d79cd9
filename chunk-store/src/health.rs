//! Syncs, how long they take, and the end of all writing after one failed.
//!
//! Linux drops the dirty pages of a failed sync and lets the next one succeed, so a second try would be a lie. The first failure
//! poisons the store for the life of the process, and a marker keeps the next process from trusting the disk.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use flotilla_env::{
    Clock,
    disk::{Cause, Disk, DiskFile},
};
use metrics::{Counter, Histogram};

use crate::error::Error;

/// How slowly the smoothed sync time follows: a new sample weighs one eighth, so some ten syncs show a change.
const SMOOTHING: u64 = 8;

/// The health of a store's disk.
#[derive(Debug)]
pub(crate) struct Health {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    root: PathBuf,
    marker: PathBuf,
    poisoned: AtomicBool,
    sync_us: AtomicU64,
    file_syncs: Meter,
    dir_syncs: Meter,
    volume_syncs: Meter,
}

struct Meter {
    count: Counter,
    seconds: Histogram,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meter")
    }
}

impl Meter {
    fn new(store: &'static str) -> Self {
        Self {
            count: metrics::counter!("flotilla_syncs_total", "store" => store),
            seconds: metrics::histogram!("flotilla_sync_seconds", "store" => store),
        }
    }
}

impl Health {
    pub(crate) fn new(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, root: PathBuf, marker: PathBuf) -> Self {
        Self {
            disk,
            clock,
            root,
            marker,
            poisoned: AtomicBool::new(false),
            sync_us: AtomicU64::new(0),
            file_syncs: Meter::new("file"),
            dir_syncs: Meter::new("dir"),
            volume_syncs: Meter::new("volume"),
        }
    }

    pub(crate) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Refuses to go on writing once the store is poisoned.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Gives the smoothed time of a file's sync in microseconds.
    pub(crate) fn sync_us(&self) -> u64 {
        self.sync_us.load(Ordering::Relaxed)
    }

    /// Syncs a file's data. A full disk costs this one chunk, anything else poisons the store.
    pub(crate) fn sync_file(&self, file: &dyn DiskFile) -> Result<(), Error> {
        self.timed_file(&self.file_syncs, file).map_err(|error| self.judge("sync a chunk", error))
    }

    /// Syncs a volume. Any failure poisons the store: all chunks of a group hang on it.
    pub(crate) fn sync_volume(&self, file: &dyn DiskFile) -> Result<(), Error> {
        self.timed_file(&self.volume_syncs, file).map_err(|error| self.poison("sync a volume", &error))
    }

    /// Syncs the names in a folder. Any failure poisons the store: names of several chunks hang on it.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), Error> {
        flotilla_env::failpoint!("chunks.dir_sync", |_| Ok(())); // a planted fault
        self.timed(&self.dir_syncs, || self.disk.sync_dir(path)).0.map_err(|error| self.poison("sync a folder", &error))
    }

    /// Turns a failed change of the disk into what the caller gets, and poisons the store where bytes are in doubt.
    pub(crate) fn judge(&self, what: &'static str, error: io::Error) -> Error {
        match Cause::of(&error) {
            Cause::Full => Error::Full,
            Cause::Exhausted => Error::Io { what, source: error },
            // A folder or file of ours that is gone is as bad as a device that fails.
            Cause::Missing | Cause::Exists | Cause::WouldBlock | Cause::PowerOff | Cause::Failing => {
                self.poison(what, &error)
            }
        }
    }

    /// Ends all writing of this process and the next.
    pub(crate) fn poison(&self, what: &'static str, error: &dyn std::error::Error) -> Error {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(what, %error, dir = %self.root.display(), "chunk store poisoned, nothing is written any more");
            if let Err(error) = self.mark(&format!("{what}: {error}\n")) {
                tracing::error!(%error, marker = %self.marker.display(), "no marker left on the failed disk");
            }
        }
        Error::Poisoned
    }

    /// Leaves the marker; on a failed disk this may fail too, and nothing depends on it within this process.
    fn mark(&self, reason: &str) -> io::Result<()> {
        let file = self.disk.create(&self.marker)?;
        file.write_at(0, &[IoSlice::new(reason.as_bytes())])?;
        file.sync_data()?;
        self.disk.sync_dir(&self.root)
    }

    /// Syncs a file's data and lets the smoothed time follow.
    fn timed_file(&self, meter: &Meter, file: &dyn DiskFile) -> io::Result<()> {
        let (result, took_us) = self.timed(meter, || file.sync_data());
        let smooth = |old: u64| Some(if old == 0 { took_us } else { (old * (SMOOTHING - 1) + took_us) / SMOOTHING });
        let _ = self.sync_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smooth); // the closure never declines
        result
    }

    fn timed(&self, meter: &Meter, sync: impl FnOnce() -> io::Result<()>) -> (io::Result<()>, u64) {
        let start = self.clock.now();
        let result = sync();
        let took = self.clock.now() - start;
        meter.count.increment(1);
        meter.seconds.record(took.as_secs_f64());
        (result, u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1))
    }
}
