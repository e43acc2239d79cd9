//! A timer that runs only while something is waited for; it must not know for what.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Measures one wait at a time.
///
/// The runtime's timer is touched only when a wait begins while an older timer has run out, not at every step of progress: a
/// body of ten thousand frames costs a few timer operations.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: None }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Ends the wait.
    pub(crate) fn progress(&mut self) {
        self.since = None;
    }

    /// Begins or goes on with a wait; ready when it has lasted longer than the limit.
    pub(crate) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            // The timer was set for an earlier wait that ended well.
            timer.as_mut().reset(end);
        }
    }
}
