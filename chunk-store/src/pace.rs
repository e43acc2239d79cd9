//! How fast the device gives bytes: whether what is read often is worth a place in the page cache.
//!
//! Must not know what is read.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flotilla_env::Clock;

/// From this rate on a read from the device costs no more than its copy from the page cache, so that copy gains nothing: both are
/// bound by memory, and the device does its part without a processor.
const FAST_BYTES_PER_SECOND: u64 = 1 << 30;

/// Shorter reads tell of the wait for the device, not of its rate.
const TELLING_BYTES: usize = 256 << 10;

/// A read may wait for a processor, which says nothing of the device: the best rate counts, and is forgotten by this share at each
/// read.
const FORGOTTEN_SHARE: u64 = 128;

/// The rate of reads past the page cache.
#[derive(Debug)]
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    best_bytes_per_second: AtomicU64,
    reads_now: AtomicU64,
}

impl Pace {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, best_bytes_per_second: AtomicU64::new(0), reads_now: AtomicU64::new(0) }
    }

    /// Whether the last reads came as fast as from memory.
    pub(crate) fn is_fast(&self) -> bool {
        self.best_bytes_per_second.load(Ordering::Relaxed) >= FAST_BYTES_PER_SECOND
    }

    /// Reads past the page cache, and learns from it.
    pub(crate) fn measure(&self, read: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        let together = self.reads_now.fetch_add(1, Ordering::Relaxed) + 1;
        let start = self.clock.now();
        let read = read();
        let took = self.clock.now() - start;
        self.reads_now.fetch_sub(1, Ordering::Relaxed);
        let count = read?;
        // A clock that stands still is one of a test.
        if count >= TELLING_BYTES && !took.is_zero() {
            // Reads at the same time share the device.
            let bytes = count as u128 * u128::from(together);
            let rate = u64::try_from(bytes * 1_000_000_000 / took.as_nanos()).unwrap_or(u64::MAX);
            let follow = |best: u64| Some(rate.max(best - best / FORGOTTEN_SHARE));
            // The closure never declines.
            let _ = self.best_bytes_per_second.fetch_update(Ordering::Relaxed, Ordering::Relaxed, follow);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    /// A clock that is moved by hand.
    #[derive(Debug)]
    struct Hand(Instant, AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Instant {
            self.0 + Duration::from_micros(self.1.load(Ordering::Relaxed))
        }

        fn wall_ms(&self) -> u64 {
            0
        }
    }

    #[test]
    fn the_best_rate_counts_and_is_forgotten_in_time() {
        let clock = Arc::new(Hand(flotilla_env::clock::system().now(), AtomicU64::new(0)));
        let pace = Pace::new(clock.clone());
        let read = |bytes: usize, micros: u64| {
            let read = || {
                clock.1.fetch_add(micros, Ordering::Relaxed);
                Ok(bytes)
            };
            assert_eq!(pace.measure(read).ok(), Some(bytes));
            pace.is_fast()
        };
        assert!(!pace.is_fast(), "nothing is known yet");
        assert!(!read(4096, 1), "a short read tells nothing");
        assert!(!read(1 << 20, 0), "nor does a clock that stands still");
        assert!(!read(1 << 20, 2000));
        assert!(read(1 << 20, 500));
        assert!(read(1 << 20, 5000), "one that waited for a processor");
        assert!((0..200).any(|_| !read(1 << 20, 5000)), "a device that has become slow");
        let inner = |pace: &Pace| {
            pace.measure(|| {
                clock.1.fetch_add(900, Ordering::Relaxed);
                Ok(1 << 20)
            })
        };
        assert!(pace.measure(|| inner(&pace)).is_ok() && pace.is_fast(), "two share the device");
        assert!(pace.measure(|| Err(io::Error::other("gone"))).is_err());
    }
}
