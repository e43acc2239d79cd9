//! What people and reports are told: who waits where, for how long, and what is in flight. Changes nothing but its own
//! readings.

use flotilla_api::{
    ClusterName, RequestId,
    peer::Felt,
    queue::{EntryStatus, Lane, LaneStatus, QueueCounts, SideStatus},
};
use tokio::time::Instant;

use super::{Door, Engine, WaiterId, Waiting, side::Side};
use crate::admission::{limits::Reading, record::millis};

/// The most waiting requests that one answer names: a page for people.
const ENTRIES_MAX: usize = 256;

impl Engine {
    /// Whether any cluster takes new keys now.
    #[must_use]
    pub fn takes_new(&self, now: Instant) -> bool {
        self.sides.values().any(|side| side.is_able(now))
    }

    /// Tells of all queues: the lists' first, then those of the clusters by name.
    #[must_use]
    pub fn status(&self, now: Instant) -> Vec<SideStatus> {
        let clusters = self.sides.iter().map(|(name, side)| side.status(Some(name.clone()), now));
        std::iter::once(self.lists.status(None, now)).chain(clusters).collect()
    }

    /// Tells of one cluster; none if nothing is known of it.
    #[must_use]
    pub fn counts(&self, cluster: &ClusterName, now: Instant) -> Option<QueueCounts> {
        let side = self.sides.get(cluster)?;
        Some(QueueCounts::from(&side.status(Some(cluster.clone()), now)))
    }

    /// Tells of those that wait, of one principal or of all: the first to come first, [`ENTRIES_MAX`] of them at most.
    #[must_use]
    pub fn entries(&self, principal: Option<&str>, now: Instant) -> Vec<EntryStatus> {
        let asked = |waiting: &Waiting| principal.is_none_or(|principal| *waiting.ask.principal == *principal);
        let found = self.waiting.iter().filter(|(_, waiting)| asked(waiting));
        found.take(ENTRIES_MAX).filter_map(|(waiter, waiting)| self.entry_status(*waiter, waiting, now)).collect()
    }

    /// Tells of one that waits; none if it doesn't.
    #[must_use]
    pub fn entry(&self, request: &RequestId, now: Instant) -> Option<EntryStatus> {
        let (waiter, waiting) = self.waiting.iter().find(|(_, waiting)| waiting.ask.request == *request)?;
        self.entry_status(*waiter, waiting, now)
    }

    /// What was under way and waited in a cluster since this was asked last, for the answer to its leader. Asked before
    /// the leader's report is told, since the offer that stood until then goes along.
    ///
    /// What was answered, failed and moved is not known here, and left at 0.
    pub fn felt(&mut self, cluster: &ClusterName, now: Instant) -> Felt {
        self.open(cluster, now);
        let side = self.side_mut(&Door::Cluster(cluster.clone()));
        let Reading { window_ms, in_flight_milli, in_flight_big_milli, saturated_ms } = side.account.read(now);
        Felt {
            window_ms,
            in_flight_milli,
            in_flight_big_milli,
            saturated_ms,
            waiting_small: side.waiting(Lane::Small),
            waiting_big: side.waiting(Lane::Big),
            offer: side.account.offer(),
            ..Felt::default()
        }
    }

    fn entry_status(&self, waiter: WaiterId, waiting: &Waiting, now: Instant) -> Option<EntryStatus> {
        let queue = self.side(&waiting.door).queue(waiting.ask.class.lane);
        let ahead = queue.fair().before(&waiting.ask.principal, &waiting.spot(waiter))?;
        Some(EntryStatus {
            request: waiting.ask.request.clone(),
            principal: String::from(&*waiting.ask.principal),
            cluster: waiting.door.cluster().cloned(),
            class: waiting.ask.class,
            waited_ms: millis(now.duration_since(waiting.at)),
            position: ahead.requests as u64 + 1,
            wait_ms: millis(queue.wait(ahead)),
        })
    }
}

impl Side {
    fn status(&self, cluster: Option<ClusterName>, now: Instant) -> SideStatus {
        let lane = |lane: Lane| {
            let queue = self.queue(lane);
            let oldest = queue.fair().oldest(|_| true);
            LaneStatus {
                lane,
                waiting: self.waiting(lane),
                units: queue.fair().units(),
                bytes: queue.fair().bytes(),
                oldest_ms: oldest.map_or(0, |at| millis(now.duration_since(at))),
                per_second: queue.per_second(),
                wait_ms: millis(queue.wait_for_all()),
            }
        };
        SideStatus {
            fresh: cluster.is_none() || self.account.is_fresh(now),
            cluster,
            credits: self.account.credits(now),
            in_flight: self.account.in_flight(),
            streams: self.account.streams(),
            taken: self.taken,
            given: self.given,
            lanes: Lane::ALL.into_iter().map(lane).collect(),
        }
    }
}
