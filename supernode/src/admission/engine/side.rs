//! One cluster as admission sees it: its account, its two queues, and its last report. The lists are one, too, without
//! a report.

use std::{sync::Arc, time::Duration};

use flotilla_api::{
    ClusterName,
    explain::{Considered, Seen},
    peer::{NodeReport, Offer},
    queue::Lane,
};
use tokio::time::Instant;

use super::{BIG_EVERY, queue::Queue};
use crate::{
    admission::{limits::Account, record::millis},
    route::{self, Candidate},
};

/// Units that wait count for routing like so many fewer requests under way: they are not there yet.
const UNITS_PER_QUEUED: u64 = 4;

#[derive(Debug)]
pub(super) struct Side {
    pub account: Account,
    queues: [Queue; 2],
    /// The last report, with what this supernode adds to it.
    candidate: Option<Candidate>,
    takes_new: bool,
    /// Whether it gets no new keys, whatever its reports say.
    retires: bool,
    /// Small ones that were let through since the last big one.
    since_big: u32,
    /// Requests that were redirected since the last report, which the next one counts.
    redirected: u32,
    /// Requests that it took from the queues of others.
    pub taken: u64,
    /// Requests that others took from its queues.
    pub given: u64,
}

impl Side {
    /// Makes a cluster that has not reported yet.
    pub(super) fn new(lines_max: usize, now: Instant) -> Self {
        Self::of(Account::new(now), lines_max, now)
    }

    /// Makes the lists' own side.
    pub(super) fn of_lists(at_once: u32, lines_max: usize, now: Instant) -> Self {
        Self::of(Account::fixed(at_once, now), lines_max, now)
    }

    fn of(account: Account, lines_max: usize, now: Instant) -> Self {
        let likely = account.likely_rate(now);
        let queues = [Queue::new(lines_max, likely), Queue::new(lines_max, likely)];
        Self {
            account,
            queues,
            candidate: None,
            takes_new: false,
            retires: false,
            since_big: 0,
            redirected: 0,
            taken: 0,
            given: 0,
        }
    }

    pub(super) fn queue(&self, lane: Lane) -> &Queue {
        &self.queues[lane as usize]
    }

    pub(super) fn queue_mut(&mut self, lane: Lane) -> &mut Queue {
        &mut self.queues[lane as usize]
    }

    /// Takes a report.
    pub(super) fn heard(&mut self, cluster: ClusterName, offer: Option<Offer>, nodes: Arc<[NodeReport]>, now: Instant) {
        self.account.heard(offer, now);
        let likely = self.account.likely_rate(now);
        self.queues.iter_mut().for_each(|queue| queue.set_likely(likely));
        self.candidate = Some(Candidate { cluster, nodes, retires: self.retires, dispatched: 0, queued: 0 });
        self.judge();
        self.redirected = 0;
    }

    /// Notes whether it gets no new keys; tells whether that is news.
    pub(super) fn set_retires(&mut self, on: bool) -> bool {
        let news = std::mem::replace(&mut self.retires, on) != on;
        if let Some(candidate) = &mut self.candidate {
            candidate.retires = on;
        }
        self.judge();
        news
    }

    fn judge(&mut self) {
        // Of one cluster that one is chosen, if it can be chosen at all.
        let one = self.candidate.as_slice();
        self.takes_new = route::cluster(one, || 0).is_some();
    }

    /// Counts a request that was redirected to a node: routing knows of it before the next report tells.
    pub(super) fn note_redirect(&mut self) {
        self.redirected = self.redirected.saturating_add(1);
    }

    /// Whether it takes new keys, or did when it was heard last.
    pub(super) fn takes_new(&self) -> bool {
        self.takes_new
    }

    /// Whether new keys may go there.
    pub(super) fn is_able(&self, now: Instant) -> bool {
        self.takes_new && self.account.is_fresh(now)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.fair().len()).sum()
    }

    /// Bytes of those that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.queues.iter().map(|queue| queue.fair().bytes()).sum()
    }

    /// Units of those that wait.
    pub(super) fn units(&self) -> u64 {
        self.queues.iter().map(|queue| queue.fair().units()).sum()
    }

    /// The lane that is served next; none if nobody waits that can be served now.
    pub(super) fn next_lane(&self, now: Instant) -> Option<Lane> {
        let (small, big) = (self.can_serve(Lane::Small, now), self.can_serve(Lane::Big, now));
        if big && (!small || self.since_big >= BIG_EVERY - 1) {
            Some(Lane::Big)
        } else if small {
            Some(Lane::Small)
        } else {
            None
        }
    }

    /// Whether somebody waits in a lane that can be served now. New keys wait for a cluster that takes them, and for the
    /// directory.
    fn can_serve(&self, lane: Lane, now: Instant) -> bool {
        self.waits_for_credit(lane, now) && self.account.free(lane, now) > 0
    }

    fn waits_for_credit(&self, lane: Lane, now: Instant) -> bool {
        let (queue, able) = (self.queue(lane), self.can_claim(now));
        queue.fair().len() > if able { 0 } else { queue.movable() as usize }
    }

    /// Whether one more new key may be claimed for it now.
    pub(super) fn can_claim(&self, now: Instant) -> bool {
        self.is_able(now) && self.account.free_for_claims(now) > 0
    }

    /// How many more requests of a lane could be sent now, of those for new keys or of others.
    pub(super) fn free(&self, lane: Lane, new: bool, now: Instant) -> u32 {
        let free = self.account.free(lane, now);
        match new {
            true if self.is_able(now) => free.min(self.account.free_for_claims(now)),
            true => 0,
            false => free,
        }
    }

    /// Tells the account whether somebody waits, after whatever has happened.
    pub(super) fn note_waiting(&mut self, now: Instant) {
        let waits = Lane::ALL.iter().any(|lane| self.waits_for_credit(*lane, now));
        self.account.set_waits(waits, now);
    }

    /// Uses a credit for a request of a lane.
    pub(super) fn take(&mut self, lane: Lane, now: Instant) {
        self.account.take(lane, now);
        self.since_big = match lane {
            Lane::Small => self.since_big.saturating_add(1),
            Lane::Big => 0,
        };
    }

    /// Whether somebody waits here in vain whom another cluster could serve; as `Seen` tells it.
    pub(super) fn is_stuck(&self, lane: Lane, now: Instant) -> bool {
        self.is_able(now) && self.queue(lane).movable() > 0 && self.free(lane, true, now) == 0
    }

    /// Whether it could serve one more, and nobody waits; as `Seen` tells it.
    pub(super) fn is_idle(&self, lane: Lane, now: Instant) -> bool {
        self.len() == 0 && self.free(lane, true, now) > 0
    }

    /// How long it takes until those small ones are done that are under way, in milliseconds; as `Seen` tells it.
    pub(super) fn small_under_way_ms(&self, now: Instant) -> Option<u64> {
        let (small, all) = (self.account.small_under_way(), self.account.in_flight());
        (small > 0 && small >= all / 2).then(|| millis(self.queue(Lane::Small).under_way(small, now)))
    }

    /// How long it takes until those of a lane are done that wait here or are under way. Big ones that are under way do
    /// not count: what is left of them is not known.
    pub(super) fn done(&self, lane: Lane, now: Instant) -> Duration {
        let under_way = match lane {
            Lane::Small => self.queue(lane).under_way(self.account.small_under_way().max(1), now),
            Lane::Big => Duration::ZERO,
        };
        self.queue(lane).wait_for_all().saturating_add(under_way)
    }

    /// What routing compares, as of now; none before the first report.
    pub(super) fn candidate(&mut self) -> Option<&Candidate> {
        let dispatched = u64::from(self.account.in_flight() + self.account.streams() + self.redirected);
        let queued = self.units() / UNITS_PER_QUEUED;
        let candidate = self.candidate.as_mut()?;
        (candidate.dispatched, candidate.queued) = (dispatched, queued);
        Some(candidate)
    }

    /// How good it is for a new key; higher is better.
    fn score(&mut self) -> f64 {
        self.candidate().map_or(0.0, route::score)
    }

    pub(super) fn seen(&mut self, cluster: &ClusterName, now: Instant) -> Seen {
        let oldest = Lane::ALL.iter().filter_map(|lane| self.queue(*lane).fair().oldest(|spot| spot.movable)).min();
        Seen {
            cluster: cluster.clone(),
            fresh: self.account.is_fresh(now),
            age_ms: self.account.age(now).map(millis),
            takes_new: self.takes_new,
            free_small: self.free(Lane::Small, true, now),
            free_big: self.free(Lane::Big, true, now),
            waiting_small: self.waiting(Lane::Small),
            waiting_big: self.waiting(Lane::Big),
            movable_small: self.queue(Lane::Small).movable(),
            movable_big: self.queue(Lane::Big).movable(),
            units: self.units(),
            oldest_movable_ms: oldest.map_or(0, |at| millis(now.duration_since(at))),
            under_way_small_ms: self.small_under_way_ms(now),
            score_milli: milli(self.score()),
        }
    }

    pub(super) fn considered(&mut self, cluster: &ClusterName, lane: Lane, now: Instant) -> Considered {
        let score_milli = milli(self.score());
        let nodes = self.candidate.as_ref().map(|candidate| &*candidate.nodes).unwrap_or_default();
        let alive = || nodes.iter().filter(|node| node.alive).map(|node| &node.stats);
        let (count, busy) = alive().fold((0.0f32, 0.0f32), |(count, busy), stats| (count + 1.0, busy + stats.cpu_busy));
        let (free, total) = alive().fold((0.0f64, 0.0f64), |(free, total), stats| {
            (free + bytes(stats.disk_free_bytes), total + bytes(stats.disk_total_bytes))
        });
        Considered {
            cluster: cluster.clone(),
            takes_new: self.is_able(now),
            score_milli,
            age_ms: self.account.age(now).map(millis),
            credits: self.account.credits(now),
            in_flight: self.account.in_flight(),
            queued_units: self.units(),
            wait_ms: millis(self.queue(lane).wait_for_all()),
            done_ms: millis(self.done(lane, now)),
            cpu_milli: if count > 0.0 { milli(f64::from(busy / count)) } else { 0 },
            disk_free_milli: if total > 0.0 { milli(free / total) } else { 0 },
        }
    }

    pub(super) fn waiting(&self, lane: Lane) -> u32 {
        u32::try_from(self.queue(lane).fair().len()).unwrap_or(u32::MAX)
    }
}

#[allow(clippy::cast_precision_loss)] // a share needs no more digits than a float has
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}

/// In thousandths.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares and scores are small, and never below 0
fn milli(value: f64) -> u32 {
    (value * 1000.0) as u32
}
