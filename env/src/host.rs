//! The machine under the process: processors and memory, as the process may use them.

mod cgroup;
mod system;

use std::sync::{Arc, Mutex, PoisonError};

/// A sample of the host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostStats {
    /// Share of the processors in use since the last sample, 0 to 1.
    pub cpu_busy: f32,
    /// Memory that the process could still use, in bytes.
    pub memory_free_bytes: u64,
    /// Memory in all, in bytes.
    pub memory_total_bytes: u64,
}

/// Samples the host; cgroup limits count where they are tighter.
pub trait HostProbe: Send + Sync + std::fmt::Debug {
    /// Takes a sample; blocks for some hundred microseconds at most.
    fn sample(&self) -> HostStats;
}

/// A probe whose answer a test sets.
#[derive(Debug, Default)]
pub struct Scripted(Mutex<HostStats>);

impl Scripted {
    /// Makes a probe that answers `stats`.
    #[must_use]
    pub fn new(stats: HostStats) -> Arc<Self> {
        Arc::new(Self(Mutex::new(stats)))
    }

    /// Changes the answer.
    pub fn set(&self, stats: HostStats) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

impl HostProbe for Scripted {
    fn sample(&self) -> HostStats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the machine's probe as a seam.
#[must_use]
pub fn system() -> Arc<dyn HostProbe> {
    Arc::new(system::System::new())
}
