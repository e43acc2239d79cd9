//! When the leader moves the cluster clock, and how far. Pure: it is given the time.
//!
//! The clock moves only while something waits for it, so an idle cluster writes nothing. It never runs ahead of the leader's own
//! clock: time that nobody measured (no leader, a tick that got lost, nothing to wait for) is not counted, so what waits may wait
//! longer, never shorter.

use std::time::Duration;

use flotilla_member::Period;
use tokio::time::Instant;

use crate::metadata::life::clock::TICK_MAX_MS;

/// Ticks per period that is waited for: what expires is late by some hundredths of it, and a version that lingers for 15 minutes
/// costs 60 small writes.
const TICKS_PER_PERIOD: u32 = 60;
/// The shortest time between two ticks.
const EVERY_MIN: Duration = Duration::from_millis(250);
/// The longest between two ticks that leases wait for.
const EVERY_LEASE: Duration = Duration::from_secs(1);
/// The longest.
const EVERY_MAX: Duration = Duration::from_millis(TICK_MAX_MS / 2);

/// The rhythm of ticks for the periods that a cluster waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticker {
    every: Duration,
    measured_from: Option<Instant>,
}

/// A step of the cluster clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Where it is.
    pub from_ms: u64,
    /// Where it goes.
    pub to_ms: u64,
}

impl Ticker {
    /// Makes a ticker for the shortest of some periods.
    #[must_use]
    pub fn new(shortest: Period) -> Self {
        let every = (shortest.0 / TICKS_PER_PERIOD).clamp(EVERY_MIN, EVERY_MAX);
        Self { every, measured_from: None }
    }

    /// The time between two ticks.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Forgets what was measured: this node does not lead, or nothing waits.
    pub fn rest(&mut self) {
        self.measured_from = None;
    }

    /// Gives the next tick if its time has come; sooner where leases wait for it.
    pub fn step(&mut self, clock_ms: u64, now: Instant, leases: bool) -> Option<Tick> {
        let every = if leases { self.every.min(EVERY_LEASE) } else { self.every };
        let Some(from) = self.measured_from else {
            self.measured_from = Some(now);
            return None;
        };
        let measured = now.duration_since(from);
        if measured < every {
            return None;
        }
        self.measured_from = Some(now);
        // A process that slept wakes up with hours: they are not counted.
        let counted = measured.min(2 * every);
        let by_ms = u64::try_from(counted.as_millis()).unwrap_or(0).min(TICK_MAX_MS);
        Some(Tick { from_ms: clock_ms, to_ms: clock_ms + by_ms })
    }

    /// Gives the time of the cluster clock up to which what waits for `period` has waited for it.
    ///
    /// What was queued between two ticks carries the time of the earlier one, so the longest tick is added.
    #[must_use]
    pub fn due(&self, clock_ms: u64, period: Period) -> u64 {
        let slack = u64::try_from(2 * self.every.as_millis()).unwrap_or(u64::MAX);
        clock_ms.saturating_sub(period.as_ms().saturating_add(slack))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_rare_for_long_periods_and_never_run_ahead() {
        let mut ticker = Ticker::new(Period::secs(15 * 60));
        assert_eq!(ticker.every(), EVERY_MAX, "900 s in 60 steps would be 15 s");
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(ticker.step(1000, begin, false), None, "nothing is measured yet");
        assert_eq!(ticker.step(1000, at(7000), false), None);
        assert_eq!(ticker.step(1000, at(7600), false), Some(Tick { from_ms: 1000, to_ms: 8600 }));
        assert_eq!(ticker.step(8600, at(9000), false), None);
        let slept = ticker.step(8600, at(3_600_000), false).expect("its time has come");
        assert_eq!(slept.to_ms - slept.from_ms, TICK_MAX_MS, "an hour of sleep is not counted");
        ticker.rest();
        assert_eq!(ticker.step(23_600, at(3_700_000), false), None, "what was not measured is not counted");
    }

    #[test]
    fn leases_are_waited_for_in_short_steps() {
        let mut ticker = Ticker::new(Period::secs(15 * 60));
        let begin = Instant::now();
        assert_eq!(ticker.step(1000, begin, true), None);
        assert_eq!(
            ticker.step(1000, begin + Duration::from_millis(1100), true),
            Some(Tick { from_ms: 1000, to_ms: 2100 })
        );
        let slept = ticker.step(2100, begin + Duration::from_secs(60), true).expect("its time has come");
        assert_eq!(slept.to_ms, 4100, "a lease does not run out because the leader slept");
    }

    #[test]
    fn what_is_due_has_waited_the_whole_period_whenever_it_was_queued() {
        let ticker = Ticker::new(Period::secs(1));
        assert_eq!(ticker.every(), EVERY_MIN);
        // Queued at the time of an earlier tick, just before the next one of at most 500 ms.
        assert_eq!(ticker.due(2500, Period::secs(1)), 1000);
        assert_eq!(ticker.due(900, Period::secs(1)), 0, "only what need not wait");
    }
}
