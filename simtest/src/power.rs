//! One life of a process: everything it does to the world goes through here, and stops at once when it ends.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

/// No cut is planned.
const NEVER: i64 = i64::MIN;

/// Whether a process still lives. Its tasks may linger for a while after its end, but nobody notices.
#[derive(Debug)]
pub struct Power {
    off: AtomicBool,
    steps_left: AtomicI64,
    went: Notify,
}

impl Default for Power {
    fn default() -> Self {
        Self { off: AtomicBool::new(false), steps_left: AtomicI64::new(NEVER), went: Notify::new() }
    }
}

impl Power {
    /// Whether the process has ended.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::SeqCst)
    }

    /// Ends the process now.
    pub fn cut(&self) {
        self.off.store(true, Ordering::SeqCst);
        self.went.notify_waiters();
        self.went.notify_one();
    }

    /// Ends the process in the middle of what it does, at its `steps`-th change or sync of disk or database from now.
    pub fn cut_after(&self, steps: u32) {
        self.steps_left.store(i64::from(steps), Ordering::SeqCst);
    }

    /// Counts a change or sync that is about to happen; tells whether it may.
    pub fn step(&self) -> bool {
        if self.is_off() {
            return false;
        }
        let left = self.steps_left.load(Ordering::SeqCst);
        if left == NEVER {
            return true;
        }
        self.steps_left.store(left - 1, Ordering::SeqCst);
        if left <= 0 {
            self.cut();
        }
        left > 0
    }

    /// Waits for the end.
    ///
    /// # Cancel safety
    /// Safe for one waiter.
    pub async fn off(&self) {
        while !self.is_off() {
            self.went.notified().await;
        }
    }
}
