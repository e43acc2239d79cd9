//! One lane of one cluster: who waits there, how fast it is served, and who was told to come again when.

use std::time::Duration;

use tokio::time::Instant;

use super::{Turn, WaiterId};
use crate::admission::{
    estimate::{Book, Rate, wait},
    fair::{Ahead, Fair, Item, Measure},
};

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub waiter: WaiterId,
    /// Whether another cluster could serve it.
    pub movable: bool,
    /// Whether it waits as long as it takes.
    pub patient: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    fair: Fair<Spot>,
    rate: Rate,
    book: Book,
    movable: u32,
    /// The rate before any was measured.
    likely: f64,
    /// How many wait for a bounded time.
    hurried: u32,
    /// Since when there is one of them at every moment.
    stands: Option<Instant>,
}

/// What is left of the time that a request may wait, in a queue that was not empty for as long as that: whatever it
/// serves then has waited in vain for most of it. A burst may use all of the time; a queue that stands is nothing but
/// delay.
const STANDING_PART: u32 = 5;

impl Queue {
    pub(super) fn new(lines_max: usize, likely: f64) -> Self {
        let (fair, rate, book) = (Fair::new(lines_max), Rate::default(), Book::default());
        Self { fair, rate, book, movable: 0, likely, hurried: 0, stands: None }
    }

    pub(super) fn fair(&self) -> &Fair<Spot> {
        &self.fair
    }

    /// How many wait that other clusters could serve.
    pub(super) fn movable(&self) -> u32 {
        self.movable
    }

    /// How long a request may wait here now, of the time that it may wait anywhere.
    pub(super) fn patience(&self, queue_wait: Duration, now: Instant) -> Duration {
        let stands = self.stands.is_some_and(|since| now.duration_since(since) >= queue_wait);
        if stands { queue_wait / STANDING_PART } else { queue_wait }
    }

    pub(super) fn set_likely(&mut self, likely: f64) {
        self.likely = likely;
    }

    pub(super) fn per_second(&self) -> f64 {
        self.rate.per_second(self.likely)
    }

    /// How long one waits that has so much before it.
    pub(super) fn wait(&self, ahead: Ahead) -> Duration {
        wait(ahead.units, self.per_second())
    }

    /// How long it takes until so much is done that is under way, whether or not anybody waits.
    pub(super) fn under_way(&self, units: u32, now: Instant) -> Duration {
        wait(units.into(), self.rate.lately(self.likely, now))
    }

    /// How long it takes to serve all that wait.
    pub(super) fn wait_for_all(&self) -> Duration {
        wait(self.fair.units(), self.per_second())
    }

    pub(super) fn push(&mut self, item: Item<Spot>, now: Instant) {
        self.movable += u32::from(item.what.movable);
        if !item.what.patient {
            self.hurried += 1;
            self.stands.get_or_insert(now);
        }
        self.fair.push(item);
        self.rate.begin(now);
    }

    /// Takes the next one that fits; it is served.
    pub(super) fn pop(&mut self, fit: impl Fn(&Spot) -> bool, now: Instant) -> Option<Item<Spot>> {
        let item = self.fair.pop(fit)?;
        // Before the queue is empty, which ends the measurement.
        self.rate.served(item.units);
        self.took(&item, now);
        Some(item)
    }

    /// Takes the next one that fits for another cluster, which says nothing of how fast this one is.
    pub(super) fn give(&mut self, fit: impl Fn(&Spot) -> bool, now: Instant) -> Option<Item<Spot>> {
        let item = self.fair.pop(fit)?;
        self.took(&item, now);
        Some(item)
    }

    /// One was served that did not have to wait.
    pub(super) fn served(&mut self, units: u32) {
        self.rate.served(units);
    }

    pub(super) fn remove(&mut self, principal: &str, spot: Spot, now: Instant) {
        if let Some(item) = self.fair.remove(principal, &spot) {
            self.took(&item, now);
        }
    }

    /// Takes the newest out of a line that [`Queue::longest`] named; no ticket, as long as there is anything else: it would
    /// be passed by requests of its own principal, and stand at the end again each time.
    pub(super) fn drop_newest(&mut self, line: &str, now: Instant) -> Option<Item<Spot>> {
        let item = self.fair.drop_newest(line, |spot| spot.patient)?;
        self.took(&item, now);
        Some(item)
    }

    pub(super) fn drain(&mut self, leaves: impl Fn(&Item<Spot>) -> bool, now: Instant) -> Vec<Item<Spot>> {
        let out = self.fair.drain(leaves);
        out.iter().for_each(|item| self.took(item, now));
        out
    }

    pub(super) fn longest(&self, by: Measure) -> Option<(&str, u64)> {
        self.fair.longest(by)
    }

    pub(super) fn sample(&mut self, now: Instant) {
        self.rate.sample(now, self.likely);
    }

    /// When a request of so many units should come again.
    pub(super) fn appoint(&mut self, units: u32, turn: &mut Turn<'_>) -> Duration {
        let (backlog, per_second) = (self.fair.units(), self.per_second());
        self.book.appoint(backlog, units, per_second, turn.now, (turn.random)())
    }

    fn took(&mut self, item: &Item<Spot>, now: Instant) {
        self.movable -= u32::from(item.what.movable);
        self.hurried -= u32::from(!item.what.patient);
        if self.hurried == 0 {
            self.stands = None;
        }
        if self.fair.is_empty() {
            self.rate.pause(now, self.likely);
        }
    }
}
