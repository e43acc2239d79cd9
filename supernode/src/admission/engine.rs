//! Admission as one state machine: it is told what happens, and says whom to let through and whom to refuse.
//!
//! Must not know sockets, tasks, the directory or the clock: time and randomness are handed in, and nothing waits here.
//! Who lets a request through claims its key after that, so what waits owns nothing.

mod admit;
mod dispatch;
mod early;
mod permits;
mod queue;
mod side;
mod status;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flotilla_api::{
    ClusterName, RequestId,
    explain::{Claimed, Explanation, Refusal, Routed},
    peer::{NodeReport, Offer},
    queue::Lane,
};
use tokio::time::Instant;

use self::{early::Shut, queue::Spot, side::Side};
use super::{
    class::Ask,
    fair::{Item, PRINCIPALS_MAX},
    record::{RECORDS_MAX, Records},
};

/// The most requests that wait for one cluster: 5 s of a cluster that serves 200 a second.
const QUEUE_MAX: usize = 1024;
/// The most requests that wait in all: half of the connections. Each is its head, 32 KiB at most, and a task.
const WAITING_MAX: usize = 4096;
/// The most bytes that are announced by those that wait for one cluster, but for tickets: some 30 s of its uploads. None of
/// them is here yet.
const QUEUE_BYTES_MAX: u64 = 16 << 30;
/// What one request counts of them at the most, or nothing could wait beside a huge upload, and it beside nothing.
const COUNTED_BYTES_MAX: u64 = 1 << 30;
/// The most lists under way: each asks every cluster, so that no one cluster's credits bound them.
const LISTS_MAX: u32 = 32;
/// A waiting big request is let through after so many small ones, less one.
const BIG_EVERY: u32 = 8;
/// A request that would wait longer than this share of its patience is refused at once: estimates err, and half of
/// those that would wait just as long as they may would wait in vain.
const ADMITTED_WITHIN: f64 = 0.9;
/// When a client should come again that was refused by this supernode and not by a queue: another one takes it at once.
const AWAY_FOR: Duration = Duration::from_secs(1);
/// Answers up to this length are over soon after their heads; longer ones are streams.
const STREAM_FROM_BYTES: u64 = 1 << 20;
/// The most requests that are remembered as refused at once: those whose clients may ask why right away.
const EARLY_RECORDS_MAX: usize = 1024;
/// How often [`Event::Tick`] is due: a request waits too long by so much at the most.
pub const TICK_EVERY: Duration = Duration::from_millis(100);

/// A request that waits, or wants to; numbered by whoever tells of it, never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// The right to send a request to a cluster. It has the number of its waiter, so that whoever goes away need not know
/// which of the two it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermitId(pub u64);

/// What can be set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a request may wait.
    pub queue_wait: Duration,
    /// Whether idle clusters take from the queues of others.
    pub stealing: bool,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A request came.
    Arrived(WaiterId, Ask),
    /// Whoever asked has gone before it took its answer, granted or not.
    Left(WaiterId),
    /// The head of the answer to a read has come, with the length of what follows, if it is known.
    Headed(PermitId, Option<u64>),
    /// The body of a request hardly moves, and it is the client that it waits for.
    Rested(PermitId),
    /// The directory has answered for a new key.
    Claimed(PermitId, Claimed),
    /// The request has followed its key to another cluster; it can't wait any more.
    Moved(PermitId, ClusterName),
    /// The request is over.
    Ended(PermitId, Outcome),
    /// A cluster's report came; a leader that is new offers nothing yet.
    Heard(ClusterName, Option<Offer>, Arc<[NodeReport]>),
    /// A cluster gets no new keys from now on, or gets some again; what is at home there goes on.
    Retires(ClusterName, bool),
    /// Time has passed; due every [`TICK_EVERY`].
    Tick,
    /// This supernode stops.
    Closing,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With this status.
    Answered(u16),
    /// Another claim of its key was earlier; it asks again, for that home.
    LostClaim,
    /// Its client went away.
    Gone,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Let a request through.
    Grant {
        /// The request.
        to: WaiterId,
        /// Its permit, which must come back as [`Event::Ended`] (or as [`Event::Left`], if nobody took it).
        permit: PermitId,
        /// Where it goes; none for a list.
        cluster: Option<ClusterName>,
        /// Why there.
        why: Routed,
        /// Whose queue it was taken from.
        stolen_from: Option<ClusterName>,
        /// How long it has waited since it first came.
        waited: Duration,
    },
    /// Refuse a request.
    Refuse {
        /// The request.
        to: WaiterId,
        /// Why.
        why: Refusal,
        /// When it should come again.
        after: Duration,
    },
}

/// What bounds those that wait; the constants above, and less in tests.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    queue: usize,
    waiting: usize,
    bytes: u64,
    lines: usize,
}

const BOUNDS: Bounds = Bounds { queue: QUEUE_MAX, waiting: WAITING_MAX, bytes: QUEUE_BYTES_MAX, lines: PRINCIPALS_MAX };

/// Where a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Door {
    Lists,
    Cluster(ClusterName),
}

impl Door {
    fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Lists => None,
            Self::Cluster(name) => Some(name),
        }
    }
}

#[derive(Debug, Clone)]
struct Waiting {
    ask: Ask,
    /// When it first came.
    at: Instant,
    door: Door,
}

/// A permit that is out.
#[derive(Debug)]
struct Held {
    request: RequestId,
    door: Door,
    lane: Lane,
    holds: Holds,
    /// Whether it is about to claim its key.
    claims: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Credit,
    Stream,
    Nothing,
}

/// One event under way: what it may use, and what follows from it.
struct Turn<'a> {
    now: Instant,
    random: &'a mut dyn FnMut() -> u64,
    actions: Vec<Action>,
}

/// The state of admission at one supernode.
///
/// # Bounds
/// Of each cluster no more is in flight than it offered, and what was moved there or let through elsewhere besides;
/// those that wait are bounded by number, by announced bytes and, but for tickets, by time. Whoever arrived is granted
/// or refused, once, unless it leaves before.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    bounds: Bounds,
    sides: BTreeMap<ClusterName, Side>,
    lists: Side,
    waiting: BTreeMap<WaiterId, Waiting>,
    held: BTreeMap<PermitId, Held>,
    records: Records,
    /// Whom every cluster would refuse.
    shut: Shut,
    /// Those of whom no more is known than that they were refused at once: the others stay remembered in a flood of
    /// them.
    early: Records,
    closing: bool,
}

impl Engine {
    /// Makes an engine that knows no cluster.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            bounds: BOUNDS,
            sides: BTreeMap::new(),
            lists: Side::of_lists(LISTS_MAX, BOUNDS.lines, now),
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
            records: Records::new(RECORDS_MAX),
            shut: Shut::default(),
            early: Records::new(EARLY_RECORDS_MAX),
            closing: false,
        }
    }

    /// Takes an event and gives what follows from it, in this order. `now` never goes back.
    #[must_use]
    pub fn apply(&mut self, event: Event, now: Instant, random: &mut dyn FnMut() -> u64) -> Vec<Action> {
        let mut turn = Turn { now, random, actions: Vec::new() };
        match event {
            Event::Arrived(waiter, ask) => self.arrived(waiter, ask, &mut turn),
            Event::Left(waiter) => self.left(waiter, &mut turn),
            Event::Headed(permit, length) => self.headed(permit, length, &mut turn),
            Event::Rested(permit) => self.rested(permit, &mut turn),
            Event::Claimed(permit, claimed) => self.claimed(permit, claimed, &mut turn),
            Event::Moved(permit, to) => self.moved(permit, to, &mut turn),
            Event::Ended(permit, outcome) => self.ended(permit, outcome, &mut turn),
            Event::Heard(cluster, offer, nodes) => self.heard(cluster, offer, nodes, &mut turn),
            Event::Retires(cluster, on) => self.retires(&cluster, on, &mut turn),
            Event::Tick => self.tick(&mut turn),
            Event::Closing => self.close(&mut turn),
        }
        self.steal(&mut turn);
        self.sides.values_mut().for_each(|side| side.note_waiting(now));
        turn.actions
    }

    /// What is remembered of requests; what happens to one after its grant is told here.
    pub fn records(&mut self) -> &mut Records {
        &mut self.records
    }

    /// Tells what became of a request, if it is remembered; of an id that was used twice, the last use.
    #[must_use]
    pub fn explain(&self, request: &RequestId, now: Instant) -> Option<Explanation> {
        let told = [self.records.explain(request, now), self.early.explain(request, now)];
        told.into_iter().flatten().min_by_key(|told| told.age_ms)
    }

    fn heard(&mut self, cluster: ClusterName, offer: Option<Offer>, nodes: Arc<[NodeReport]>, turn: &mut Turn<'_>) {
        self.open(&cluster, turn.now);
        let door = Door::Cluster(cluster.clone());
        self.side_mut(&door).heard(cluster, offer, nodes, turn.now);
        self.dispatch(&door, turn);
        self.rehouse(turn);
    }

    fn retires(&mut self, cluster: &ClusterName, on: bool, turn: &mut Turn<'_>) {
        self.open(cluster, turn.now);
        let door = Door::Cluster(cluster.clone());
        if self.side_mut(&door).set_retires(on) {
            self.dispatch(&door, turn);
            self.rehouse(turn);
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        for door in self.doors() {
            let lost = self.side(&door).account.is_lost(now);
            for lane in Lane::ALL {
                let queue_wait = self.settings.queue_wait;
                let queue = self.side_mut(&door).queue_mut(lane);
                queue.sample(now);
                let patience = queue.patience(queue_wait, now);
                let in_vain = |item: &Item<Spot>| lost && !item.what.movable;
                let late = |item: &Item<Spot>| !item.what.patient && now.duration_since(item.at) >= patience;
                for item in queue.drain(|item| in_vain(item) || late(item), now) {
                    let waiting = self.taken(item.what);
                    if lost {
                        self.turn_away(item.what.waiter, &waiting.ask.request, Refusal::Lost, AWAY_FOR, turn);
                    } else {
                        self.refuse(item.what.waiter, &waiting, Refusal::Waited, turn);
                    }
                }
            }
        }
        self.rehouse(turn);
        for door in self.doors() {
            self.dispatch(&door, turn);
        }
    }

    fn close(&mut self, turn: &mut Turn<'_>) {
        self.closing = true;
        for door in self.doors() {
            for lane in Lane::ALL {
                self.side_mut(&door).queue_mut(lane).drain(|_| true, turn.now);
            }
        }
        for (waiter, waiting) in std::mem::take(&mut self.waiting) {
            self.turn_away(waiter, &waiting.ask.request, Refusal::Closing, AWAY_FOR, turn);
        }
    }

    fn doors(&self) -> Vec<Door> {
        let clusters = self.sides.keys().cloned().map(Door::Cluster);
        std::iter::once(Door::Lists).chain(clusters).collect()
    }

    /// Makes a cluster known, before anybody waits for it.
    fn open(&mut self, cluster: &ClusterName, now: Instant) {
        let lines_max = self.bounds.lines;
        self.sides.entry(cluster.clone()).or_insert_with(|| Side::new(lines_max, now));
    }

    fn side(&self, door: &Door) -> &Side {
        match door {
            Door::Lists => &self.lists,
            Door::Cluster(name) => self.sides.get(name).expect("a cluster is made known before anybody waits for it"),
        }
    }

    fn side_mut(&mut self, door: &Door) -> &mut Side {
        match door {
            Door::Lists => &mut self.lists,
            Door::Cluster(name) => {
                self.sides.get_mut(name).expect("a cluster is made known before anybody waits for it")
            }
        }
    }
}
