//! Seconds of several runners, put together. Pure.

use std::collections::BTreeMap;

use crate::load::{series::Step, times::Times};

/// A second that not all have told of by then is given as it is.
const PENDING_MAX: usize = 5;

/// The seconds that not all runners have told of yet.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    /// With a bit for each runner that told.
    pending: BTreeMap<u64, (Step, Times, u64)>,
    /// All before it were given.
    next: u64,
}

impl Seconds {
    /// Adds a second of one runner. What comes after its second was given counts for the next one.
    pub(super) fn add(&mut self, runner: usize, step: &Step, latency: &Times) {
        let number = (step.at_s.max(0.0).round() as u64).max(self.next);
        let (sum, times, told) = self.pending.entry(number).or_default();
        sum.add(step);
        sum.at_s = number as f64;
        times.add(latency);
        *told |= 1 << runner;
    }

    /// Gives the next second if all of these runners (a bit for each) have told of it, or if that takes too long.
    pub(super) fn next(&mut self, runners: u64) -> Option<(Step, Times)> {
        let (number, (.., told)) = self.pending.first_key_value()?;
        if *told & runners != runners && self.pending.len() <= PENDING_MAX {
            return None;
        }
        self.next = number + 1;
        let (_, (step, times, _)) = self.pending.pop_first()?;
        let ms = |quantile| (!times.is_empty()).then(|| times.at_ms(quantile));
        let (p50_ms, p99_ms, max_ms) = (ms(0.5), ms(0.99), ms(1.0));
        Some((Step { p50_ms, p99_ms, max_ms, ..step }, times))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Seconds;
    use crate::load::{series::Step, times::Times};

    fn second(at_s: f64, ok: u64, ms: u64) -> (Step, Times) {
        let mut times = Times::default();
        (0..ok).for_each(|_| times.record(Duration::from_millis(ms)));
        (Step { at_s, ok, p99_ms: Some(0.0), ..Step::default() }, times)
    }

    #[test]
    fn quantiles_of_a_second_are_those_of_all_its_requests() {
        let mut seconds = Seconds::default();
        for (runner, at_s, ok, ms) in [(0, 0.0, 98, 10), (1, 0.004, 2, 500)] {
            assert!(seconds.next(0b11).is_none());
            let (step, times) = second(at_s, ok, ms);
            seconds.add(runner, &step, &times);
        }
        let (step, times) = seconds.next(0b11).expect("both have told");
        assert_eq!((step.ok, step.p50_ms.map(f64::round), step.p99_ms.map(f64::round)), (100, Some(10.0), Some(500.0)));
        assert!(times.at_ms(1.0) > 499.0 && seconds.next(0b11).is_none());
    }

    #[test]
    fn one_that_is_silent_does_not_hold_up_the_others() {
        let mut seconds = Seconds::default();
        let mut given = Vec::new();
        for at in 0..8_u32 {
            let (step, times) = second(f64::from(at), 1, 1);
            seconds.add(0, &step, &times);
            given.extend(seconds.next(0b11).map(|(step, _)| step.at_s as u64));
        }
        assert_eq!(given, [0, 1, 2]);
        let (step, times) = second(1.0, 5, 1);
        seconds.add(1, &step, &times);
        assert_eq!(
            seconds.next(0b11).map(|(step, _)| (step.at_s as u64, step.ok)),
            Some((3, 6)),
            "what comes late counts later"
        );
    }
}
