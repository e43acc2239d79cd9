//! Time: monotonic for decisions, wall clock for display and signatures only.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// A source of time. Tests run the real one on a paused tokio runtime, or a [`FixedWall`].
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Gives the monotonic time; tokio's, so a paused runtime moves it.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Gives the wall clock in milliseconds since 1970. Never decides anything but display and the window of signatures.
    fn wall_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    #[allow(clippy::disallowed_methods)] // the one place where the wall clock is read
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock whose wall time is set by a test.
#[derive(Debug, Default)]
pub struct FixedWall(pub std::sync::atomic::AtomicU64);

impl Clock for FixedWall {
    fn wall_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Gives the machine's clock as a seam.
#[must_use]
pub fn system() -> Arc<dyn Clock> {
    Arc::new(System)
}
