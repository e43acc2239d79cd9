//! How long a request would wait, and when one that can't should come again. Must not know queues, only how much stands
//! in them.

use std::time::Duration;

use tokio::time::Instant;

/// The time over which the rate is smoothed. A spike takes this supernode's own processor away within a second: an
/// estimate that is slower lets thousands wait in vain, and each of them costs more than one that is refused at once.
const SMOOTHED_OVER: Duration = Duration::from_secs(1);
/// What was guessed counts like a measurement of this length: it is wrong by ten times where a cluster is slow.
const LIKELY_FOR: Duration = Duration::from_millis(100);
/// Where nobody waits for so long, a rate counts no more: what was measured in an outage says nothing of a later day.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);
/// The least rate that is believed, in units per second: estimates stay finite where nothing comes back.
const RATE_MIN: f64 = 0.01;
/// The soonest and the latest appointment: below a second the header can't tell it, and nobody plans half a minute
/// ahead.
const AFTER_MIN: Duration = Duration::from_secs(1);
/// As above.
const AFTER_MAX: Duration = Duration::from_secs(30);

/// The rate at which a queue is served.
///
/// It is measured only while somebody waits: what is served while nobody does is what was asked for, not what can be
/// served.
///
/// # Units
/// Units of requests per second, which are 1 for a small request.
#[derive(Debug, Default)]
pub struct Rate {
    per_second: Option<f64>,
    /// Since when somebody waits and nothing was measured.
    since: Option<Instant>,
    /// Since when nobody waits.
    paused: Option<Instant>,
    units: u64,
    /// Seconds that it was measured for.
    measured: f64,
}

impl Rate {
    /// The rate; `likely` before anything was measured.
    #[must_use]
    pub fn per_second(&self, likely: f64) -> f64 {
        self.per_second.unwrap_or(likely).max(RATE_MIN)
    }

    /// The rate as of now, also where nobody waits: there it is forgotten by and by, so that a cluster that stood still is
    /// not slow for long.
    #[must_use]
    pub fn lately(&self, likely: f64, now: Instant) -> f64 {
        let (measured, likely) = (self.per_second(likely), likely.max(RATE_MIN));
        measured + self.forgotten(now) * (likely - measured)
    }

    /// The part of what was measured that counts no more: nothing while somebody waits, all of it, 1, in the end.
    fn forgotten(&self, now: Instant) -> f64 {
        match (self.since, self.paused) {
            (None, Some(paused)) => now.duration_since(paused).div_duration_f64(FORGOTTEN_AFTER).min(1.0),
            (Some(_), _) | (None, None) => 0.0,
        }
    }

    /// Somebody waits from now on, or still does.
    pub fn begin(&mut self, now: Instant) {
        if self.since.is_none() {
            if self.forgotten(now) >= 1.0 {
                (self.per_second, self.measured) = (None, 0.0);
            }
            self.since = Some(now);
            self.units = 0;
        }
    }

    /// Counts units that were served.
    pub fn served(&mut self, units: u32) {
        self.units += u64::from(units);
    }

    /// Takes what was served since the last sample into account, while somebody waits.
    #[allow(clippy::cast_precision_loss)] // a rate needs no more digits than a float has
    pub fn sample(&mut self, now: Instant, likely: f64) {
        let Some(since) = self.since else { return };
        let span = now.duration_since(since).as_secs_f64();
        if span > 0.0 {
            // What was guessed gives way to the mean of what was measured, as long as that is little.
            let so_far = LIKELY_FOR.as_secs_f64() + self.measured;
            let weight = (1.0 - (-span / SMOOTHED_OVER.as_secs_f64()).exp()).max(span / (so_far + span));
            let before = self.per_second(likely);
            self.per_second = Some(before + weight * (self.units as f64 / span - before));
            self.measured += span;
            self.since = Some(now);
            self.units = 0;
        }
    }

    /// Nobody waits any more.
    pub fn pause(&mut self, now: Instant, likely: f64) {
        self.sample(now, likely);
        self.since = None;
        self.paused = Some(now);
    }
}

/// How long so many units take.
#[must_use]
#[allow(clippy::cast_precision_loss)] // as `sample`
pub fn wait(units: u64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(units as f64 / per_second).unwrap_or(Duration::MAX)
}

/// When those that can't wait here should come again: one after the other, as fast as they can be served then. A fixed
/// time would bring them back all at once.
#[derive(Debug, Default)]
pub struct Book {
    /// The first time that is not promised to anybody.
    free: Option<Instant>,
}

impl Book {
    /// Makes an appointment for a request of so many units behind the `backlog` that waits. It is blurred by a tenth,
    /// since clients round to seconds.
    ///
    /// # Bounds
    /// 1 to 30 s. The book is never full for longer than that: who is told 30 s may have to ask
    /// again.
    pub fn appoint(&mut self, backlog: u64, units: u32, per_second: f64, now: Instant, random: u64) -> Duration {
        let last = now + AFTER_MAX;
        let served = now + wait(backlog, per_second).min(AFTER_MAX);
        let slot = self.free.map_or(served, |free| free.max(served)).min(last);
        self.free = Some((slot + wait(units.into(), per_second).min(AFTER_MAX)).min(last));
        slot.duration_since(now).mul_f64(blur(random)).clamp(AFTER_MIN, AFTER_MAX)
    }
}

/// From 0.9 to 1.1.
fn blur(random: u64) -> f64 {
    0.9 + 0.2 * f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What blurs nothing.
    const MIDDLE: u64 = 1 << 63;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn the_rate_is_that_of_the_time_in_which_somebody_waits() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert!((rate.per_second(160.0) - 160.0).abs() < 1e-9);
        rate.served(1000);
        rate.sample(after(start, 100), 160.0);
        assert!((rate.per_second(160.0) - 160.0).abs() < 1e-9, "nobody waited");
        rate.begin(start);
        for n in 1..=300 {
            rate.served(4);
            rate.sample(after(start, n * 100), 160.0);
        }
        assert!((rate.per_second(160.0) - 40.0).abs() < 1.0, "{rate:?}");
        rate.pause(after(start, 30_000), 160.0);
        rate.begin(after(start, 34_000));
        rate.sample(after(start, 34_000), 160.0);
        assert!((rate.per_second(160.0) - 40.0).abs() < 1.0, "a moment without anybody says nothing: {rate:?}");
        rate.sample(after(start, 94_000), 160.0);
        assert!(rate.per_second(160.0) < 0.1, "a minute in which somebody waited in vain does: {rate:?}");
        rate.pause(after(start, 94_000), 160.0);
        rate.begin(after(start, 99_000));
        assert!((rate.per_second(160.0) - 160.0).abs() < 1e-9, "and not for ever: {rate:?}");
    }

    #[test]
    fn a_guess_gives_way_to_what_is_measured_within_a_second() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.begin(start);
        for (n, expect) in [(1, 840.0), (2, 587.0), (5, 333.0), (10, 218.0)] {
            while rate.since != Some(after(start, n * 100)) {
                let now = rate.since.expect("it is measured") + Duration::from_millis(100);
                rate.served(8);
                rate.sample(now, 1600.0);
            }
            let found = rate.lately(1600.0, after(start, n * 100));
            assert!((found - expect).abs() < 1.0, "{found} after {n}00 ms");
        }
        // Afterwards it is the last second that counts.
        for n in 11..=40 {
            rate.served(50);
            rate.sample(after(start, n * 100), 1600.0);
        }
        assert!(rate.per_second(1600.0) > 470.0, "{rate:?}");
        rate.pause(after(start, 4000), 1600.0);
        for (ms, expect) in [(4000, 486.0), (5000, 709.0), (6500, 1043.0), (9000, 1600.0), (60_000, 1600.0)] {
            let found = rate.lately(1600.0, after(start, ms));
            assert!((found - expect).abs() < 2.0, "{found} at {ms} ms");
        }
    }

    #[test]
    fn appointments_are_apart_by_what_they_take() {
        let now = Instant::now();
        let mut book = Book::default();
        let mut told = |units| book.appoint(400, units, 200.0, now, MIDDLE).as_secs_f64();
        for (units, expect) in [(1, 2.0), (10, 2.005), (100, 2.055), (2, 2.555), (1, 2.565)] {
            let told = told(units);
            assert!((told - expect).abs() < 1e-3, "{told} for {expect}");
        }
    }

    #[test]
    fn appointments_are_bounded_and_the_book_empties_itself() {
        let start = Instant::now();
        let mut book = Book::default();
        let seconds = |told: Duration| told.as_secs_f64();
        assert!((seconds(book.appoint(0, 1, 200.0, start, MIDDLE)) - 1.0).abs() < 1e-3);
        for _ in 0..100_000 {
            book.appoint(1000, 64, 200.0, start, MIDDLE);
        }
        assert!((seconds(book.appoint(1000, 64, 200.0, start, MIDDLE)) - 30.0).abs() < 1e-3);
        assert!((seconds(book.appoint(u64::MAX, 64, RATE_MIN, start, MIDDLE)) - 30.0).abs() < 1e-3);
        assert!(
            (seconds(book.appoint(0, 1, 200.0, after(start, 29_000), MIDDLE)) - 1.0).abs() < 1e-3,
            "soon free again"
        );
        assert!(seconds(book.appoint(0, 1, 200.0, after(start, 60_000), 0)) >= 0.9 - 1e-3);
        assert!(seconds(book.appoint(0, 1, 200.0, after(start, 90_000), u64::MAX)) <= 1.1 + 1e-3);
    }
}
