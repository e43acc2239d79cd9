//! A model of a cluster behind its supernodes: processor sharing under a cfs quota, and waiting that depends on nobody.
//!
//! Windows are told one look late, and what is felt is off by up to 40 % in each. There is no logarithm and no
//! exponential in it, so that a port to another language gives the same numbers.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use flotilla_api::peer::{Answered, Offer};

use super::super::{Control, Load, Probing, Want, Window, float, half_of_unqueued, next_with, split, whole};

/// A quota is spent and filled again so often.
const PERIOD_MS: u64 = 10;
pub const WINDOW_MS: u64 = 500;
/// Windows in a minute.
pub const MINUTE: usize = 120;
/// More than so many wait at no supernode.
const QUEUE_MAX: u32 = 1024;
const NOISE: f64 = 0.4;
pub const SEEDS: u64 = 4;
/// Milliseconds of a processor and of waiting for anything else that most requests of the model take.
pub const USUAL: (f64, f64) = (1.2, 3.8);
/// How much of the demand one, two and three supernodes have.
const SHARES: [&[f64]; 3] = [&[1.0], &[0.7, 0.3], &[0.6, 0.3, 0.1]];
/// The kind of a big one, behind reads and writes.
const BIG: usize = 2;
/// So many small ones go before a big one that waits.
const SMALL_FIRST: u32 = 7;

/// Splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        float((z ^ (z >> 31)) >> 11) / 9_007_199_254_740_992.0
    }
}

/// A request; the first of a heap is the one that is due first. Times are bits of floats that are never below 0, which
/// are in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    due: u64,
    seq: u64,
    kind: usize,
    /// None for one that a client brought to a node itself.
    supernode: Option<usize>,
    began: u64,
}

#[derive(Debug, Default)]
pub struct Supernode {
    pub per_ms: f64,
    offered: u32,
    in_flight: u32,
    big_in_flight: u32,
    pub waiting: u32,
    /// Big ones that wait; each that ends comes again.
    pub big: u32,
    since_big: u32,
    owed: f64,
    felt: Window,
    /// Requests under way and big ones of them, added up over the milliseconds of a window.
    held: [u64; 2],
}

/// What happened in a window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub done: u64,
    us: u64,
    pub big_done: u64,
    /// Big ones that were under way.
    pub big_held: f64,
    pub credits: f64,
}

enum Event {
    Tick,
    Waited,
    Spent,
    Worked,
}

pub struct Model {
    random: Random,
    noise: Random,
    /// Processors that the quota allows.
    pub cores: f64,
    /// Milliseconds of work and of waiting that a read, a write and a big one take.
    pub kinds: [(f64, f64); 3],
    /// The share of reads.
    pub reads: f64,
    /// The share of small ones that fail, and of those whose time says nothing.
    pub fails: f64,
    pub others: f64,
    /// Slow clients of the nodes themselves, who only hold their connection.
    pub slow_direct: u32,
    /// Plants a fault: reads are told as if they were writes.
    pub blurred: bool,
    pub probing: Probing,
    pub load: Load,
    pub control: Control,
    pub supernodes: Vec<Supernode>,
    /// Windows on their way to the leader.
    late: VecDeque<Window>,
    now_ms: u64,
    /// What each request has been given of a processor since the beginning, in milliseconds.
    given_ms: f64,
    /// What is left of the quota in this period, in milliseconds.
    budget_ms: f64,
    running: BinaryHeap<Reverse<Job>>,
    waiting: BinaryHeap<Reverse<Job>>,
    seq: u64,
    now: Seen,
    log: Vec<Seen>,
}

impl Model {
    pub fn new(seed: u64, cores: f64, count: usize, per_ms: f64) -> Self {
        let supernode = |share: &f64| Supernode { per_ms: per_ms * share, offered: 8, ..Supernode::default() };
        Self {
            random: Random(seed),
            noise: Random(seed + 1_000_000),
            cores,
            kinds: [USUAL; 3],
            reads: 0.0,
            fails: 0.0,
            others: 0.0,
            slow_direct: 0,
            blurred: false,
            probing: half_of_unqueued,
            load: Load::default(),
            control: Control::default(),
            supernodes: SHARES[count - 1].iter().map(supernode).collect(),
            late: VecDeque::from([Window::default()]),
            now_ms: 0,
            given_ms: 0.0,
            budget_ms: 0.0,
            running: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
            seq: 0,
            now: Seen::default(),
            log: Vec::new(),
        }
    }

    /// A model that is asked for so many times what it can do.
    pub fn asked(seed: u64, cores: f64, count: usize, times: f64) -> Self {
        Self::new(seed, cores, count, times * (cores / USUAL.0))
    }

    /// Adds clients of the nodes themselves, each of which always has one read under way.
    pub fn add_direct(&mut self, count: u32) {
        (0..count).for_each(|_| self.begin(0, None, float(self.now_ms)));
    }

    /// Another leader goes on from what was offered; it has felt nothing yet.
    pub fn elect(&mut self) {
        let offers: Vec<Offer> =
            self.supernodes.iter().map(|supernode| self.control.offer(supernode.offered)).collect();
        self.control = Control::resume(&offers);
        self.late = VecDeque::from([Window::default()]);
    }

    pub fn run(&mut self, windows: usize) -> &mut Self {
        (0..windows).for_each(|_| self.window());
        self
    }

    /// Runs and gives what happened meanwhile.
    pub fn log_of(&mut self, windows: usize) -> Vec<Seen> {
        let begun = self.log.len();
        self.run(windows);
        self.log[begun..].to_vec()
    }

    fn window(&mut self) {
        for _ in 0..WINDOW_MS {
            (0..self.supernodes.len()).for_each(|n| self.arrive(n));
            self.tick();
        }
        let factor = 1.0 + NOISE * (2.0 * self.noise.unit() - 1.0);
        let mut windows = Vec::new();
        let mut wants = BTreeMap::new();
        for (n, supernode) in self.supernodes.iter_mut().enumerate() {
            let felt = std::mem::take(&mut supernode.felt);
            let [held, big] = std::mem::take(&mut supernode.held).map(|held| held * 1000 / WINDOW_MS);
            self.now.big_held += float(big) / 1000.0;
            windows.push(Window {
                span_ms: WINDOW_MS,
                supernodes: 1,
                small: felt.small.map(|a| Answered { count: a.count, us: floor(float(a.us) * factor) }),
                in_flight_milli: held,
                in_flight_big_milli: big,
                // All that moved; what is under way moves all the time.
                bytes: big + u64::from(felt.done()),
                ..felt
            });
            let big_in_flight = supernode.big_in_flight;
            let small = supernode.waiting + supernode.in_flight - big_in_flight;
            wants.insert(n.to_string(), Want { small, big: supernode.big + big_in_flight, big_in_flight });
        }
        self.now.credits = self.control.credits;
        self.log.push(std::mem::take(&mut self.now));
        let direct = self.slow_direct + self.direct();
        self.late.push_back(Window::gather(windows, direct));
        let told = self.late.pop_front().expect("one was put in");
        self.control = next_with(&self.control, &told, self.load, self.probing);
        for (n, share) in split(self.control.offered(), direct, &wants).into_values().enumerate() {
            self.supernodes[n].offered = share;
            self.dispatch(n, float(self.now_ms));
        }
    }

    fn direct(&self) -> u32 {
        let jobs = self.running.iter().chain(&self.waiting);
        jobs.filter(|Reverse(job)| job.supernode.is_none()).fold(0, |count, _| count + 1)
    }

    fn arrive(&mut self, n: usize) {
        let chance = self.random.unit();
        let supernode = &mut self.supernodes[n];
        supernode.owed += supernode.per_ms * 2.0 * chance;
        let count = whole(supernode.owed);
        supernode.owed -= f64::from(count);
        supernode.waiting = (supernode.waiting + count).min(QUEUE_MAX);
        self.dispatch(n, float(self.now_ms));
        let supernode = &mut self.supernodes[n];
        supernode.felt.saturated_ms += u64::from(supernode.waiting + supernode.big > 0);
        supernode.held[0] += u64::from(supernode.in_flight);
        supernode.held[1] += u64::from(supernode.big_in_flight);
    }

    fn dispatch(&mut self, n: usize, at: f64) {
        loop {
            let supernode = &mut self.supernodes[n];
            let Supernode { offered, in_flight, big_in_flight, waiting, big, since_big, .. } = *supernode;
            let takes_big = big > 0 && big_in_flight < (offered / 2).max(1);
            if in_flight >= offered || (waiting == 0 && !takes_big) {
                return;
            }
            supernode.in_flight += 1;
            if takes_big && (waiting == 0 || since_big >= SMALL_FIRST) {
                (supernode.big, supernode.big_in_flight, supernode.since_big) = (big - 1, big_in_flight + 1, 0);
                self.begin(BIG, Some(n), at);
            } else {
                (supernode.waiting, supernode.since_big) = (waiting - 1, since_big + 1);
                let kind = usize::from(self.random.unit() >= self.reads);
                self.begin(kind, Some(n), at);
            }
        }
    }

    fn begin(&mut self, kind: usize, supernode: Option<usize>, at: f64) {
        self.seq += 1;
        let due = self.given_ms + self.kinds[kind].0 * (0.5 + self.random.unit());
        self.running.push(Reverse(Job { due: due.to_bits(), seq: self.seq, kind, supernode, began: at.to_bits() }));
    }

    fn tick(&mut self) {
        if self.now_ms.is_multiple_of(PERIOD_MS) {
            self.budget_ms = self.cores * float(PERIOD_MS);
        }
        let mut now = float(self.now_ms);
        let end = now + 1.0;
        loop {
            let (at, event) = self.run_until(now, end);
            now = at;
            match event {
                Event::Tick => break,
                Event::Waited => self.answer(now),
                Event::Spent => self.budget_ms = 0.0,
                Event::Worked => {
                    let Reverse(job) = self.running.pop().expect("it was seen");
                    self.given_ms = f64::from_bits(job.due);
                    let due = now + self.kinds[job.kind].1 * (0.5 + self.random.unit());
                    self.waiting.push(Reverse(Job { due: due.to_bits(), ..job }));
                }
            }
        }
        self.now_ms += 1;
    }

    /// Lets time pass until something happens.
    fn run_until(&mut self, now: f64, end: f64) -> (f64, Event) {
        let (mut at, mut event) = (end, Event::Tick);
        if let Some(Reverse(job)) = self.waiting.peek() {
            let due = f64::from_bits(job.due);
            if due < at {
                (at, event) = (due, Event::Waited);
            }
        }
        let Some(Reverse(job)) = self.running.peek().filter(|_| self.budget_ms > 0.0) else { return (at, event) };
        let count = float(self.running.len() as u64);
        let speed = ((1.5 * self.cores).max(1.0) / count).min(1.0);
        let spent = now + self.budget_ms / (speed * count);
        if spent < at {
            (at, event) = (spent, Event::Spent);
        }
        let worked = now + (f64::from_bits(job.due) - self.given_ms) / speed;
        if worked <= at {
            (at, event) = (worked, Event::Worked);
        }
        self.given_ms += speed * (at - now);
        self.budget_ms -= speed * count * (at - now);
        (at, event)
    }

    fn answer(&mut self, now: f64) {
        let Reverse(job) = self.waiting.pop().expect("it was seen");
        let Some(n) = job.supernode else { return self.begin(job.kind, None, now) };
        let chance = if self.fails + self.others > 0.0 { self.random.unit() } else { 1.0 };
        let us = floor((now - f64::from_bits(job.began)) * 1000.0);
        let supernode = &mut self.supernodes[n];
        supernode.in_flight -= 1;
        if job.kind == BIG {
            (supernode.big, supernode.big_in_flight) = (supernode.big + 1, supernode.big_in_flight - 1);
            supernode.felt.others += 1;
            self.now.big_done += 1;
        } else if chance < self.fails {
            supernode.felt.failed += 1;
        } else {
            (self.now.done, self.now.us) = (self.now.done + 1, self.now.us + us);
            if chance < self.fails + self.others {
                supernode.felt.others += 1;
            } else {
                let answered = &mut supernode.felt.small[if self.blurred { 1 } else { job.kind }];
                (answered.count, answered.us) = (answered.count + 1, answered.us + us);
            }
        }
        self.dispatch(n, now);
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // microseconds of a model
fn floor(value: f64) -> u64 {
    value as u64
}

/// Small requests that were answered per millisecond.
pub fn per_ms(log: &[Seen]) -> f64 {
    float(log.iter().map(|seen| seen.done).sum()) / float(log.len() as u64 * WINDOW_MS)
}

/// How long an answer to a small one took in the mean.
pub fn mean_ms(log: &[Seen]) -> f64 {
    let done: u64 = log.iter().map(|seen| seen.done).sum();
    float(log.iter().map(|seen| seen.us).sum()) / 1000.0 / float(done.max(1))
}

/// How long an answer takes while each supernode has one request under way: less can't be offered.
pub fn alone_ms((work, wait): (f64, f64), cores: f64, supernodes: usize) -> f64 {
    wait + work * (float(supernodes as u64) / cores).max(1.0)
}

/// How long answers took, as a share of what is promised: four times as long as alone from 12 credits on, eight times
/// below.
pub fn of_bound(log: &[Seen], kind: (f64, f64), cores: f64, supernodes: usize) -> f64 {
    let credits = log.iter().map(|seen| seen.credits).sum::<f64>() / float(log.len() as u64);
    mean_ms(log) / alone_ms(kind, cores, supernodes) / if credits >= 12.0 { 4.0 } else { 8.0 }
}

/// The first of four windows in a row that serve nearly all that can be served; none if there are none.
pub fn recovered(log: &[Seen], capacity: f64) -> Option<usize> {
    log.windows(4).position(|four| per_ms(four) >= 0.95 * capacity)
}
