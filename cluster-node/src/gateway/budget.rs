//! The memory that bodies hold on this node: big ones share one budget and small ones another, so that however many big ones wait
//! for slow clients, a small one never waits behind them.
//!
//! It must not know what a body is for.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of all big bodies at once: with cache, database and code the node stays well below 400 MB.
const BIG_BYTES: usize = 80 << 20;
/// Bytes of all small bodies at once: 256 of the largest, thousands of the usual ones.
const SMALL_BYTES: usize = 16 << 20;
/// The largest small body.
const SMALL_BODY_MAX: u32 = 64 << 10;
/// How long a body waits for memory while nobody gets any, before it is refused. A crowd is served in turn, however long it is.
const WAIT: Duration = Duration::from_secs(10);

/// The budgets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    big: Lane,
    small: Lane,
}

/// One of the two. Cheap to clone.
#[derive(Debug, Clone)]
struct Lane {
    free: Arc<Semaphore>,
    /// How often memory was granted: whoever waits sees whether others get on.
    granted: Arc<AtomicU64>,
}

impl Lane {
    fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes)), granted: Arc::default() }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { big: Lane::new(BIG_BYTES), small: Lane::new(SMALL_BYTES) }
    }
}

impl Budget {
    /// Waits for memory for a body of `length` bytes (unknown if none), of which at most `held_max` are held at once.
    ///
    /// # Errors
    /// None when there is no memory in time; the client should come back later.
    ///
    /// # Cancel safety
    /// A dropped future holds nothing.
    pub async fn acquire(&self, length: Option<u64>, held_max: u32) -> Option<OwnedSemaphorePermit> {
        let length = length.and_then(|length| u32::try_from(length).ok()).unwrap_or(u32::MAX).max(1);
        let lane = if length <= SMALL_BODY_MAX { &self.small } else { &self.big };
        let mut acquire = pin!(Arc::clone(&lane.free).acquire_many_owned(length.min(held_max)));
        loop {
            let before = lane.granted.load(Ordering::Relaxed);
            match tokio::time::timeout(WAIT, &mut acquire).await {
                Ok(permit) => {
                    lane.granted.fetch_add(1, Ordering::Relaxed);
                    return permit.ok();
                }
                Err(_) if lane.granted.load(Ordering::Relaxed) == before => return None,
                Err(_) => {}
            }
        }
    }

    /// How many bytes are held now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let free = self.big.free.available_permits() + self.small.free.available_permits();
        (BIG_BYTES + SMALL_BYTES).saturating_sub(free) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn small_bodies_never_wait_behind_big_ones() {
        const HELD: u32 = 4 << 20;
        let budget = Budget::default();
        let mut held = Vec::new();
        for length in (0..BIG_BYTES / HELD as usize).map(|at| (at % 2 == 0).then_some(1 << 40)) {
            held.push(budget.acquire(length, HELD).await.expect("there is room"));
        }
        let begun = tokio::time::Instant::now();
        let small = budget.acquire(Some(u64::from(SMALL_BODY_MAX)), HELD).await.expect("the other budget is free");
        assert_eq!((begun.elapsed(), small.num_permits()), (Duration::ZERO, SMALL_BODY_MAX as usize));
        assert_eq!(budget.held_bytes(), (BIG_BYTES + SMALL_BODY_MAX as usize) as u64);
        assert!(budget.acquire(Some(1 << 20), HELD).await.is_none(), "the big ones hold everything");
        assert_eq!(begun.elapsed(), WAIT);
        held.pop();
        assert!(budget.acquire(Some(1 << 20), HELD).await.is_some());
    }
}
