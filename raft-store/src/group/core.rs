//! What the handle of a group and its tasks share.

use std::{sync::Arc, time::Duration};

use flotilla_api::NodeId;
use flotilla_env::Clock;
use openraft::{Raft, async_runtime::WatchReceiver};
use tokio::{sync::watch, time::Instant};

use super::Status;
use crate::{
    network::{Link, Member},
    snapshot::Inbox,
    store::{
        state_machine::{Applied, Once, StateMachine},
        types::Types,
    },
};

/// The longest wait between two attempts to find a leader that answers: an election takes longer than some of these.
const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// The first such wait.
const BACKOFF_MIN: Duration = Duration::from_millis(5);

/// A running group without the types of its machine.
pub(super) struct Core {
    pub(super) id: u64,
    pub(super) raft: Raft<Types, StateMachine>,
    pub(super) link: Arc<Link>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) applied: Arc<Applied>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fatal: Arc<Once>,
    /// The newest command version of this build.
    pub(super) version: u8,
}

impl Core {
    /// Whether openraft has stopped, for whatever reason.
    pub(super) fn stopped(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_err()
    }

    pub(super) fn status_now(&self) -> Status {
        Status::new(&self.raft.metrics().borrow_watched(), &self.applied)
    }

    /// Who leads, as far as this node knows.
    pub(super) fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().current_leader
    }

    /// Looks a member's address up.
    pub(super) fn member(&self, id: u64) -> Option<Member> {
        self.raft.metrics().borrow_watched().membership_config.get_node(&id).cloned()
    }

    /// How long there is until `until`.
    pub(super) fn left(&self, until: Instant) -> Duration {
        until.saturating_duration_since(self.clock.now())
    }

    /// Waits before the next attempt: until the group's status changes, a backoff has passed, or `until`.
    pub(super) async fn back_off(&self, status: &mut watch::Receiver<Status>, attempt: u32, seed: u64, until: Instant) {
        let wait = backoff(attempt, seed).min(self.left(until));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = status.changed() => {
                if changed.is_err() {
                    tokio::time::sleep(wait).await; // the group is stopping; the next attempt will see it
                }
            }
        }
    }

    /// Waits until this node hears of a leader that is not `asked`.
    pub(super) async fn other_leader(&self, asked: u64) {
        let mut status = self.status.clone();
        let known = status.borrow().leader;
        let other = |leader: Option<NodeId>| leader.is_some() && leader != known && leader != Some(NodeId(asked));
        if status.wait_for(|status| other(status.leader)).await.is_err() {
            std::future::pending().await // the group is stopping; the caller has its own deadline
        }
    }
}

/// The wait before the next attempt: doubling, and between half and all of it by chance, so that callers spread.
fn backoff(attempt: u32, seed: u64) -> Duration {
    let full = BACKOFF_MIN.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX);
    // SplitMix64's finalizer: the chance need not be good, only different for each command and attempt.
    let mut mixed = seed.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let eighths = u32::try_from((mixed >> 32) % 5).unwrap_or(0);
    full / 2 + full / 8 * eighths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_limit_and_differs_by_seed() {
        for attempt in 0..64 {
            for seed in 0..50 {
                let wait = backoff(attempt, seed);
                assert!(wait >= BACKOFF_MIN / 2 && wait <= BACKOFF_MAX, "{wait:?}");
                assert!(attempt < 8 || wait >= BACKOFF_MAX / 2);
            }
        }
        let waits: std::collections::BTreeSet<_> = (0..50).map(|seed| backoff(3, seed)).collect();
        assert!(waits.len() > 3);
    }
}
