//! Counts the requests of clients that are under way on this node, from the head's arrival to the answer's last byte.

use std::sync::Arc;

use tokio::sync::watch;

/// Who brought a request to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client itself.
    Client,
    /// A supernode, which holds a credit for it.
    Supernode,
}

/// The count, by who brought them. Clones share it.
#[derive(Debug, Clone)]
pub struct UnderWay(Arc<watch::Sender<[u32; 2]>>);

/// A request that is counted until this is dropped.
#[derive(Debug)]
pub struct Counted(Arc<watch::Sender<[u32; 2]>>, By);

impl Default for UnderWay {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new([0; 2])))
    }
}

impl UnderWay {
    /// Counts one request more until the answer is dropped.
    #[must_use]
    pub fn count_one(&self, by: By) -> Counted {
        self.0.send_modify(|counts| counts[by as usize] += 1);
        Counted(Arc::clone(&self.0), by)
    }

    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.borrow().iter().sum()
    }

    /// How many of them came without a supernode.
    #[must_use]
    pub fn direct(&self) -> u32 {
        self.0.borrow()[By::Client as usize]
    }

    /// Waits until there is none. More may begin meanwhile, and are waited for: supernodes go on sending requests until they have
    /// heard nothing of a node for a while, and one that is refused after its body was begun can't go elsewhere.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn none(&self) {
        // The sender is held here, so that this never fails.
        let _ = self.0.subscribe().wait_for(|counts| *counts == [0; 2]).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts[self.1 as usize] -= 1);
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
        let first = under_way.count_one(By::Supernode);
        let mut none = Box::pin(under_way.none());
        assert!((&mut none).now_or_never().is_none(), "one is under way");
        let second = under_way.count_one(By::Client);
        assert_eq!((under_way.count(), under_way.direct()), (2, 1));
        drop(first);
        assert!((&mut none).now_or_never().is_none());
        assert_eq!((under_way.count(), under_way.direct()), (1, 1));
        drop(second);
        assert!((&mut none).now_or_never().is_some());
        assert_eq!((under_way.count(), under_way.direct()), (0, 0));
    }
}
