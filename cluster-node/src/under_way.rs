//! Counts the requests of clients that are under way on this node, from the head's arrival to the answer's last byte, and takes no
//! more once the node stops.

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// The count. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(TaskTracker);

/// A request that is counted until this is dropped.
#[derive(Debug)]
pub struct Counted(#[allow(dead_code)] TaskTrackerToken); // held for its drop

/// The node stops, and begins nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping;

impl UnderWay {
    /// Counts one request more until the answer is dropped.
    ///
    /// # Errors
    /// [`Stopping`], after [`UnderWay::end`] was called.
    pub fn count_one(&self) -> Result<Counted, Stopping> {
        let counted = Counted(self.0.token());
        if self.0.is_closed() { Err(Stopping) } else { Ok(counted) }
    }

    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Takes no more, and waits until those that are under way have ended.
    ///
    /// # Cancel safety
    /// Dropped, it no longer waits; nothing is taken any more all the same.
    pub async fn end(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_has_begun_ends_and_nothing_more_begins() {
        let under_way = UnderWay::default();
        let counted = under_way.count_one().expect("it is not stopping");
        let mut end = Box::pin(under_way.end());
        assert!((&mut end).now_or_never().is_none(), "a request is under way");
        assert!(under_way.count_one().is_err());
        assert_eq!(under_way.count(), 1);
        drop(counted);
        assert!((&mut end).now_or_never().is_some());
        assert_eq!(under_way.count(), 0);
    }
}
