//! Counts the requests of clients that are under way on this node, from the head's arrival to the answer's last byte.

use std::sync::Arc;

use tokio::sync::watch;

/// The count. Clones share it.
#[derive(Debug, Clone)]
pub struct UnderWay(Arc<watch::Sender<u32>>);

/// A request that is counted until this is dropped.
#[derive(Debug)]
pub struct Counted(Arc<watch::Sender<u32>>);

impl Default for UnderWay {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl UnderWay {
    /// Counts one request more until the answer is dropped.
    #[must_use]
    pub fn count_one(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(Arc::clone(&self.0))
    }

    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> u32 {
        *self.0.borrow()
    }

    /// Waits until there is none. More may begin meanwhile, and are waited for: supernodes go on sending requests until they have
    /// heard nothing of a node for a while, and one that is refused after its body was begun can't go elsewhere.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn none(&self) {
        // The sender is held here, so that this never fails.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn there_is_none_when_all_have_ended_also_those_that_began_meanwhile() {
        let under_way = UnderWay::default();
        assert!(under_way.none().now_or_never().is_some());
        let first = under_way.count_one();
        let mut none = Box::pin(under_way.none());
        assert!((&mut none).now_or_never().is_none(), "one is under way");
        let second = under_way.count_one();
        drop(first);
        assert!((&mut none).now_or_never().is_none());
        assert_eq!(under_way.count(), 1);
        drop(second);
        assert!((&mut none).now_or_never().is_some());
    }
}
