//! Probes: for some windows so little is offered that nothing can queue, and what is felt then is how long answers take
//! alone.

use super::{CREDITS_MIN, Control, SAMPLES_NEW, TOLERANCE, Window, whole};

/// After how much saturated time there is a probe, in milliseconds. One costs 1.5 s at half of the throughput, so 1.3
/// %.
const PROBE_AFTER_MS: u64 = 60_000;
/// The least time between two probes, in milliseconds; twice as long as credits take to follow a change.
const PROBE_APART_MS: u64 = 5_000;
/// The same where early ones found nothing, one after the other.
const PROBE_APART_MAX_MS: u64 = 60_000;
/// Windows until nothing of before the probe is under way: one is told late, one has to drain, two are for slow answers
/// and lost reports. A probe that is held up for longer is given up.
const DRAINING_MAX: u32 = 4;
/// Credits that have fallen to this share of what they were, least credits apart, ask for a probe: more load makes an
/// answer slower, and so does a slower disk, but only the first is a reason for fewer credits.
const FALLEN_SHARE: f64 = 0.4;
/// What a probe may serve of what was served before it; more than half says that requests waited for each other in the
/// probe too, and half as much again is for noise.
const SERVED_SHARE: f64 = 0.75;

/// What is done just now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Credits are offered and judged.
    Free,
    /// Little is offered, and what is from before comes back.
    Draining {
        /// What is offered.
        probe: f64,
        /// Windows so far.
        windows: u32,
    },
    /// Little is offered, and how long answers take is how long they take alone.
    Measuring {
        /// What is offered.
        probe: f64,
    },
    /// Credits are offered again, and the window that is told next is still one of the probe.
    Settling,
}

/// Gives what a probe offers; none if there is to be none.
pub(super) type Probing = fn(&Control) -> Option<f64>;

/// Offers half of what the cluster can hold without waiting: half of the credits would measure the very queue that they
/// made.
pub(super) fn half_of_unqueued(control: &Control) -> Option<f64> {
    control.unqueued().map(|unqueued| 0.5 * unqueued)
}

impl Phase {
    /// Gives the phase after a window of draining. It is over by what is under way, not by time: offers take a window to
    /// be felt, and how long old requests take is not known. Big ones take as long as they like, and are measured with.
    pub(super) fn drained(probe: f64, windows: u32, window: &Window) -> Self {
        if window.held() - window.held_big() <= (1.25 * probe).max(CREDITS_MIN) {
            Self::Measuring { probe }
        } else if windows >= DRAINING_MAX {
            Self::Settling
        } else {
            Self::Draining { probe, windows }
        }
    }
}

impl Control {
    /// Begins a probe if one is due after this window, which was judged.
    pub(super) fn probe(&mut self, seen: &Window, probing: Probing) {
        self.saturated_ms += if seen.saturated() { seen.span_ms } else { 0 };
        self.since_ms += seen.span_ms;
        self.settle();
        let asked = self.since_ms >= self.apart_ms && (self.alone.guessed || self.has_fallen());
        if !seen.saturated() || !(asked || self.saturated_ms >= PROBE_AFTER_MS) {
            return;
        }
        self.apart_ms =
            if asked { (2 * self.apart_ms).clamp(PROBE_APART_MS, PROBE_APART_MAX_MS) } else { PROBE_APART_MS };
        (self.saturated_ms, self.since_ms) = (0, 0);
        (self.reference, self.settled) = (self.credits, false);
        self.drain(seen.supernodes, f64::INFINITY, probing);
    }

    /// Takes what a probe of this size measured. If a queue was in it, the next one follows at once and offers less.
    pub(super) fn learn(&mut self, seen: &Window, probe: f64, probing: Probing) {
        let before = self.unqueued().unwrap_or(f64::INFINITY);
        let queued = self.alone.in_flight(seen.rates()) > SERVED_SHARE * before;
        // Big ones make answers slow, and with more credits there would be more of them; a few are always let through.
        let may_raise = seen.held_big() <= CREDITS_MIN.max(f64::from(seen.supernodes));
        if self.alone.learn(seen.small, may_raise) {
            self.apart_ms = PROBE_APART_MS;
        }
        self.phase = Phase::Settling;
        if seen.done() >= SAMPLES_NEW {
            self.alone.guessed = queued && self.drain(seen.supernodes, probe, probing);
        }
    }

    /// Offers little from now on, and less than `below`. Tells whether that is possible.
    fn drain(&mut self, supernodes: u32, below: f64, probing: Probing) -> bool {
        // Each supernode has one at least.
        let probe = probing(self).map(|probe| probe.max(f64::from(supernodes)).min(self.credits));
        let Some(probe) = probe.filter(|probe| whole(*probe) < whole(below)) else { return false };
        self.phase = Phase::Draining { probe, windows: 0 };
        true
    }

    /// Takes what came of the last probe as what credits fall from, unless answers are slow just then: a fall has begun
    /// already.
    fn settle(&mut self) {
        if !self.settled && self.since_ms >= PROBE_APART_MS && self.strain < 2.0 * TOLERANCE {
            self.settled = true;
            self.reference = self.credits;
        }
    }

    /// Tells whether credits have fallen so far that it may be the cluster that has become slower.
    fn has_fallen(&self) -> bool {
        self.credits - CREDITS_MIN <= FALLEN_SHARE * (self.reference - CREDITS_MIN)
    }
}
