//! A machine's clock: the run's virtual time, and a wall clock that goes its own way.

use flotilla_env::Clock;
use tokio::time::Instant;

/// The wall clock at the time 0 of every run, in milliseconds since 1970.
const WALL_BEGIN_MS: u64 = 1_800_000_000_000;

/// A clock whose wall time is off by some.
#[derive(Debug)]
pub struct Skewed {
    begun: Instant,
    ahead_ms: u64,
}

impl Skewed {
    /// Makes a clock that is `ahead_ms` ahead at the time 0.
    #[must_use]
    pub fn new(begun: Instant, ahead_ms: u64) -> Self {
        Self { begun, ahead_ms }
    }
}

impl Clock for Skewed {
    fn wall_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        WALL_BEGIN_MS + self.ahead_ms + elapsed
    }
}
