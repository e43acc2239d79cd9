//! A timer that runs only while something is waited for; it must not know for what.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Measures waits: those between two steps of progress count together, so that a byte now and then buys no time.
///
/// The runtime's timer is touched only when a wait begins while an older timer has run out, not at every step of progress: a
/// body of ten thousand frames costs a few timer operations.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    step: u64,
    /// What came since the last whole step.
    moved: u64,
    /// What was waited since then, without the wait under way.
    spent: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Makes a measure that runs out after waiting for `limit` without `step` units (bytes, say) of progress.
    pub(crate) fn new(limit: Duration, step: u64) -> Self {
        Self { limit, step, moved: 0, spent: Duration::ZERO, since: None, timer: None }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Ends the wait with so many units of progress.
    pub(crate) fn progress(&mut self, units: u64) {
        let since = self.since.take();
        self.moved = self.moved.saturating_add(units);
        if self.moved >= self.step {
            (self.moved, self.spent) = (0, Duration::ZERO);
        } else if let Some(since) = since {
            self.spent += since.elapsed();
        }
    }

    /// Begins or goes on with a wait; ready when the limit is used up.
    pub(crate) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = *self.since.get_or_insert_with(Instant::now) + self.limit.saturating_sub(self.spent);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(cx));
            // No end lies before that of an earlier wait, since no more can be spent than the time between them.
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }
}
