//! How many requests a cluster takes at once, and how many of them come from each supernode. Pure.
//!
//! The leader looks at what supernodes felt twice a second. Credits follow `credits * 2 * alone / felt +
//! sqrt(credits)`: they fall when small answers take more than twice as long as they do alone, and rise while somebody
//! waits for more. How long answers take alone is measured while little is asked; where much is asked all the time, by
//! a probe: for some windows so little is offered that nothing can queue. It must not know how its facts are gathered.
//!
//! # Source
//! Envoy's adaptive concurrency, Netflix' Gradient2, and brpc's limiter, whose lack of a probe under load lets it
//! drift; Breakwater (OSDI 2020) for credits that the server offers and demand that comes back with the answers.

mod alone;
mod probe;
mod split;
mod window;

use alone::{Alone, SAMPLES_NEW};
use flotilla_api::peer::Offer;
use probe::{Phase, Probing, half_of_unqueued};

pub use split::{Want, split, unheard};
pub use window::Window;

/// The least credits. With these a headroom of `sqrt(credits)` is just what the steepest fall takes away.
const CREDITS_MIN: f64 = 4.0;
/// The first credits of a cluster that nobody knows anything of: enough for three processors, and 0.4 s of waiting for
/// a tenth of one.
const CREDITS_FIRST: f64 = 32.0;
/// The most credits: what one cluster's nodes hold in memory and sockets without noticing.
const CREDITS_MAX: f64 = 1024.0;
/// The credits up to which big requests ask for more: nothing tells of their delay, and as many streams keep any disk
/// busy.
const BULK_MAX: f64 = 128.0;
/// How many times longer than alone an answer may take before credits fall. Below 1.5 a busy processor counts as
/// overloaded.
const TOLERANCE: f64 = 2.0;
/// How far one look goes to where it wants to be: half way, since one window's mean is off by up to 40 %.
const SMOOTHING: f64 = 0.5;
/// What credits are multiplied with while answers take about as long as alone: they were far too few. Never reached by
/// noise, since a cluster at its limit answers two and a half times slower than alone.
const STEEP: f64 = 1.5;
/// Up to which strain that holds.
const STEEP_BELOW: f64 = 1.25;
/// What is left of the credits after a look at a failing or clogged cluster.
const CUT: f64 = 0.7;
/// Above this share of a processor there is nothing to gain from more big requests.
const CPU_BUSY: f32 = 0.9;
/// Small answers that a look needs to say something; fewer are kept for the next one.
const SAMPLES_MIN: u32 = 16;
/// How long they are waited for, in milliseconds.
const SAMPLES_WAIT_MS: u64 = 2000;
/// What one window weighs in the rates: they are those of the last ten saturated ones.
const RATE_SMOOTHING: f64 = 0.1;
/// As many requests hardly wait for each other on any cluster, as long as it is not known how many do not.
const QUIET: f64 = 4.0;

/// What the nodes say that supernodes can't see.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Share of its processors that the busiest node uses, 0 to 1.
    pub busiest_cpu: f32,
    /// Whether bodies wait for memory on a node.
    pub memory_short: bool,
}

/// The credits of a cluster, and what they are judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    credits: f64,
    alone: Alone,
    /// How many reads and writes per second are answered while more are wanted.
    rates: Option<[f64; 2]>,
    /// How many times longer than alone answers took last.
    strain: f64,
    phase: Phase,
    /// Saturated time since the last probe, and all of it.
    saturated_ms: u64,
    since_ms: u64,
    /// How long it has to be until a fall asks for another one.
    apart_ms: u64,
    /// The credits that a fall is measured from: those at the last probe, or those that came of it.
    reference: f64,
    settled: bool,
    /// Windows with too few answers to say something.
    pending: Window,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            credits: CREDITS_FIRST,
            alone: Alone::default(),
            rates: None,
            strain: 1.0,
            phase: Phase::Free,
            saturated_ms: 0,
            since_ms: 0,
            apart_ms: 0,
            reference: CREDITS_FIRST,
            settled: false,
            pending: Window::default(),
        }
    }
}

impl Control {
    /// Goes on from what the supernodes were offered last, by whatever leader it was; else begins anew.
    #[must_use]
    pub fn resume(heard: &[Offer]) -> Self {
        let credits = median(heard.iter().map(|offer| offer.total));
        let credits = credits.map_or(CREDITS_FIRST, |total| total.clamp(CREDITS_MIN, CREDITS_MAX));
        let reads = median(heard.iter().filter_map(|offer| offer.read_us));
        let writes = median(heard.iter().filter_map(|offer| offer.write_us));
        let alone = Alone { us: [reads, writes], guessed: false };
        Self { credits, reference: credits, alone, ..Self::default() }
    }

    /// Gives what supernodes are offered together; see [`split()`].
    #[must_use]
    pub fn offered(&self) -> u32 {
        match self.phase {
            Phase::Free | Phase::Settling => whole(self.credits),
            Phase::Draining { probe, .. } | Phase::Measuring { probe } => whole(probe),
        }
    }

    /// Gives the message to a supernode that has this share.
    #[must_use]
    pub fn offer(&self, share: u32) -> Offer {
        let [read_us, write_us] = self.alone.us.map(|us| us.map(whole));
        let strain_milli = whole(self.strain * 1000.0);
        Offer { credits: share, total: whole(self.credits), read_us, write_us, strain_milli }
    }

    /// Gives how many requests are under way where none waits; none if no saturated window was seen.
    fn unqueued(&self) -> Option<f64> {
        self.rates.map(|rates| self.alone.in_flight(rates))
    }

    /// Goes by the small answers of a window.
    fn judge(&mut self, seen: &Window, load: Load, probing: Probing) {
        if self.alone.meet(seen.small) {
            return;
        }
        if seen.saturated() {
            let now = seen.rates();
            let before = self.rates.unwrap_or(now);
            self.rates = Some([0_usize, 1].map(|k| before[k] + RATE_SMOOTHING * (now[k] - before[k])));
        }
        self.strain = self.alone.strain(seen.small).unwrap_or(self.strain);
        self.alone.follow(seen.small, self.is_quiet(seen));
        self.credits = self.judged(seen, load);
        self.probe(seen, probing);
    }

    /// Tells whether no more was under way than a probe would offer.
    fn is_quiet(&self, seen: &Window) -> bool {
        let most = self.unqueued().map_or((0.5 * self.credits).min(QUIET), |unqueued| (0.5 * unqueued).max(1.0));
        !seen.saturated() && seen.held() + f64::from(seen.direct) <= most
    }

    fn judged(&self, seen: &Window, load: Load) -> f64 {
        let (saturated, failing) = (seen.saturated(), seen.failing());
        let half = |used: f64| 2.0 * used >= self.credits.floor();
        let bound = if saturated {
            // Big ones use half of a share at most, and one half credit of each supernode is none.
            half(seen.held() + 0.5 * f64::from(seen.supernodes))
        } else {
            // Where nobody waits, requests that are still with a slow supernode, or with it again, load no node.
            half(seen.at_nodes())
        };
        let wanted = saturated && bound;
        if !wanted && !failing && self.strain <= STEEP_BELOW {
            return self.regained(load);
        }
        // With most credits unused, answers are slow for another reason. If that is the nodes' own clients, more would only join them.
        if !bound && !saturated && !failing {
            return if half(seen.at_nodes() + f64::from(seen.direct)) { self.credits } else { self.regained(load) };
        }
        let mut factor = (TOLERANCE / self.strain).clamp(0.5, 1.0);
        if failing {
            factor = factor.min(CUT);
        } else if self.strain <= STEEP_BELOW {
            factor = STEEP;
        }
        let most = if wanted { self.most(2.0 * seen.held_big() > seen.held(), load) } else { self.credits };
        let target = (self.credits * factor + self.credits.sqrt()).min(most);
        (self.credits + SMOOTHING * (target - self.credits)).clamp(CREDITS_MIN, CREDITS_MAX)
    }

    /// Goes by the nodes where hardly a small request was answered: nothing tells of delay.
    fn judge_bulk(&mut self, seen: &Window, load: Load) {
        if seen.failing() || (seen.saturated() && !seen.moves()) {
            self.credits = (self.credits * CUT).max(CREDITS_MIN);
        } else if !seen.saturated() && (seen.moves() || seen.in_flight_milli == 0) {
            self.credits = self.regained(load);
        } else if seen.saturated() {
            self.credits = (self.credits + 0.25 * self.credits.sqrt()).min(self.most(true, load));
        }
    }

    /// Gives what credits may grow to while more are wanted, for big requests or for small ones.
    fn most(&self, bulk: bool, load: Load) -> f64 {
        match bulk {
            _ if load.memory_short => self.credits,
            true if load.busiest_cpu >= CPU_BUSY => self.credits,
            true => self.credits.max(BULK_MAX),
            false => CREDITS_MAX,
        }
    }

    /// Gives back what was taken in worse times where nothing says that it is too much, asked for or not: bursts are over before a look.
    fn regained(&self, load: Load) -> f64 {
        if load.memory_short || self.credits >= CREDITS_FIRST {
            return self.credits;
        }
        (self.credits + 0.5 * self.credits.sqrt()).min(CREDITS_FIRST)
    }
}

/// Gives the control after a window.
#[must_use]
pub fn next(control: &Control, window: &Window, load: Load) -> Control {
    next_with(control, window, load, half_of_unqueued)
}

fn next_with(control: &Control, window: &Window, load: Load, probing: Probing) -> Control {
    let mut next = *control;
    if window.span_ms == 0 || window.supernodes == 0 {
        return next;
    }
    match control.phase {
        Phase::Free | Phase::Measuring { .. } => {}
        Phase::Draining { probe, windows } => {
            next.phase = Phase::drained(probe, windows + 1, window);
            return next;
        }
        Phase::Settling => {
            next.phase = Phase::Free;
            return next;
        }
    }
    let seen = control.pending.then(*window);
    if seen.done() < SAMPLES_MIN && seen.span_ms < SAMPLES_WAIT_MS {
        next.pending = seen;
        return next;
    }
    next.pending = Window::default();
    if let Phase::Measuring { probe } = control.phase {
        next.learn(&seen, probe, probing);
    } else if seen.done() == 0 || (seen.done() < SAMPLES_NEW && seen.in_flight_big_milli > 0) {
        next.judge_bulk(&seen, load);
    } else {
        next.judge(&seen, load, probing);
    }
    next
}

fn median(values: impl Iterator<Item = u32>) -> Option<f64> {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().map(f64::from)
}

#[allow(clippy::cast_precision_loss)] // microseconds and thousandths of one window stay far below 2^53
fn float(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // never below 0; too much becomes the most
fn whole(value: f64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests;
