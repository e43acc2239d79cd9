//! When the power of a [`super::MemDisk`] goes, and what a power cut keeps.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::disk::PowerOff;

/// Counts operations and fails all that come after the last allowed one.
#[derive(Debug)]
pub(super) struct Power {
    ops: AtomicU64,
    stop_at: AtomicU64,
}

impl Default for Power {
    fn default() -> Self {
        Self { ops: AtomicU64::new(0), stop_at: AtomicU64::new(u64::MAX) }
    }
}

impl Power {
    pub(super) fn ops(&self) -> u64 {
        self.ops.load(Ordering::SeqCst)
    }

    pub(super) fn stop_after(&self, count: u64) {
        self.stop_at.store(self.ops().saturating_add(count), Ordering::SeqCst);
    }

    /// Counts an operation that changes or syncs something, if it may still happen.
    pub(super) fn step(&self) -> io::Result<()> {
        let number = self.ops.fetch_add(1, Ordering::SeqCst);
        if number < self.stop_at.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other(PowerOff)) }
    }

    /// Checks that a read may still happen.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.ops() < self.stop_at.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other(PowerOff)) }
    }
}

/// The coin that decides what a power cut keeps of what was not synced.
#[derive(Debug)]
pub(super) struct Fate {
    rng: StdRng,
    kept_share: f64,
}

impl Fate {
    pub(super) fn new(seed: u64) -> Self {
        let kept_share = match seed {
            0 => 0.0,
            1 => 1.0,
            _ => 0.5,
        };
        Self { rng: StdRng::seed_from_u64(seed), kept_share }
    }

    pub(super) fn keeps(&mut self) -> bool {
        self.rng.random_bool(self.kept_share)
    }

    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        self.rng.random_range(low..=high)
    }
}
