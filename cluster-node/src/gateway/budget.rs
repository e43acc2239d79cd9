//! The memory that bodies hold on this node: big ones share one budget and small ones another, so that however many big ones wait
//! for slow clients, a small one never waits behind them. Of the big ones, what is read ahead for downloads and changes has a
//! share, so that clients that take nothing leave some for uploads; downloads beyond the share go on in small steps.
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
/// Bytes of the big bodies that are held by changes for what they read: each needs memory for the chunks that it writes as well, and
/// if they held all of it, each would wait for the others.
const CHANGES_BYTES: usize = 32 << 20;
/// Bytes of the big bodies that are held by downloads that read ahead.
const AHEAD_BYTES: usize = 32 << 20;
/// Bytes of all downloads that go on in steps: hundreds of clients that take nothing.
const STEPS_BYTES: usize = 16 << 20;
/// What a download holds at most that reads ahead.
pub const DOWNLOAD_BYTES: u32 = 4 << 20;
/// What a download holds that goes on in steps; blocks of 64 KiB are verified as a whole.
pub const STEP_BYTES: u32 = 64 << 10;
/// How long a body waits for memory while nobody gets any, before it is refused. A crowd is served in turn, however long it is.
const WAIT: Duration = Duration::from_secs(10);

/// The budgets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    big: Lane,
    small: Lane,
    changes: Lane,
    ahead: Lane,
    steps: Lane,
}

/// Memory out of a share of the big bodies'.
#[derive(Debug)]
pub struct Shared {
    _share: OwnedSemaphorePermit,
    _held: OwnedSemaphorePermit,
}

/// Memory for a download.
#[derive(Debug)]
pub enum ReadHold {
    /// For all of a small one.
    Small(OwnedSemaphorePermit),
    /// For pieces that are fetched ahead.
    Ahead(Shared),
    /// For one step of [`STEP_BYTES`] at a time.
    Steps(OwnedSemaphorePermit),
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

    async fn acquire(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        let mut acquire = pin!(Arc::clone(&self.free).acquire_many_owned(bytes));
        loop {
            let before = self.granted.load(Ordering::Relaxed);
            match tokio::time::timeout(WAIT, &mut acquire).await {
                Ok(permit) => {
                    self.granted.fetch_add(1, Ordering::Relaxed);
                    return permit.ok();
                }
                Err(_) if self.granted.load(Ordering::Relaxed) == before => return None,
                Err(_) => {}
            }
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        let [big, small, changes, ahead, steps] =
            [BIG_BYTES, SMALL_BYTES, CHANGES_BYTES, AHEAD_BYTES, STEPS_BYTES].map(Lane::new);
        Self { big, small, changes, ahead, steps }
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
        lane.acquire(length.min(held_max)).await
    }

    /// Waits for memory for what a change reads, so that however many there are, what they write has some too.
    ///
    /// # Errors
    /// As [`Budget::acquire`].
    ///
    /// # Cancel safety
    /// A dropped future holds nothing.
    pub async fn acquire_to_change(&self, held: u32) -> Option<Shared> {
        let share = self.changes.acquire(held).await?;
        Some(Shared { _share: share, _held: self.big.acquire(held).await? })
    }

    /// Waits for memory for a download of `length` bytes: to read ahead if there is some at once, else to go on in steps.
    ///
    /// # Errors
    /// As [`Budget::acquire`].
    ///
    /// # Cancel safety
    /// A dropped future holds nothing.
    pub async fn acquire_to_read(&self, length: u64) -> Option<ReadHold> {
        if length <= u64::from(SMALL_BODY_MAX) {
            return self.acquire(Some(length), SMALL_BODY_MAX).await.map(ReadHold::Small);
        }
        match self.try_read_ahead(length) {
            Some(hold) => Some(hold),
            None => self.steps.acquire(STEP_BYTES).await.map(ReadHold::Steps),
        }
    }

    /// Gives memory to read ahead if there is some at once.
    #[must_use]
    pub fn try_read_ahead(&self, length: u64) -> Option<ReadHold> {
        let bytes = u32::try_from(length).unwrap_or(u32::MAX).clamp(1, DOWNLOAD_BYTES);
        let take = |lane: &Lane| Arc::clone(&lane.free).try_acquire_many_owned(bytes).ok();
        let share = take(&self.ahead)?;
        Some(ReadHold::Ahead(Shared { _share: share, _held: take(&self.big)? }))
    }

    /// How many bytes are held now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let free = [&self.big, &self.small, &self.steps].map(|lane| lane.free.available_permits()).iter().sum();
        (BIG_BYTES + SMALL_BYTES + STEPS_BYTES).saturating_sub(free) as u64
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

    #[tokio::test(start_paused = true)]
    async fn changes_never_hold_what_they_wait_for() {
        const PART: u32 = 4 << 20;
        let budget = Budget::default();
        let change = || async {
            let _read = budget.acquire_to_change(PART).await?;
            tokio::task::yield_now().await;
            budget.acquire(None, PART).await.map(drop)
        };
        let crowd = (0..3 * BIG_BYTES / PART as usize).map(|_| change());
        assert!(futures::future::join_all(crowd).await.iter().all(Option::is_some));
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn downloads_that_rest_leave_memory_for_uploads_and_for_other_downloads() {
        let budget = Budget::default();
        let mut resting = Vec::new();
        for _ in 0..STEPS_BYTES / STEP_BYTES as usize {
            resting.push(budget.acquire_to_read(1 << 40).await.expect("there is room for hundreds"));
        }
        let ahead = resting.iter().filter(|hold| matches!(hold, ReadHold::Ahead(_))).count();
        assert_eq!(ahead, AHEAD_BYTES / DOWNLOAD_BYTES as usize);
        let begun = tokio::time::Instant::now();
        for _ in 0..(BIG_BYTES - AHEAD_BYTES) / DOWNLOAD_BYTES as usize {
            std::mem::forget(budget.acquire(None, DOWNLOAD_BYTES).await.expect("uploads have the rest"));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(budget.try_read_ahead(1 << 40).is_none());
        resting.remove(0);
        assert!(budget.try_read_ahead(1 << 40).is_some());
    }
}
