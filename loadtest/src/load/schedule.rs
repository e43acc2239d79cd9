//! When requests are to be sent: arrivals from the rates of phases. Pure; the same seed gives the same times.

use std::time::Duration;

use super::{
    profile::{Arrivals, Phase},
    random::Random,
};

/// The stream of random numbers that spaces arrivals.
const STREAM: u64 = 0x5CED;

/// A stretch with a rate that changes evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    from_s: f64,
    to_s: f64,
    rate_from: f64,
    rate_to: f64,
}

/// A phase in time, for reports.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PhaseSpan {
    pub(crate) name: String,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) rate_from: f64,
    pub(crate) rate_to: f64,
}

/// Names the phase at a time.
pub(crate) fn phase_at(phases: &[PhaseSpan], at_s: f64) -> &str {
    phases.iter().find(|phase| at_s < phase.to_s).map_or("last answers", |phase| &phase.name)
}

/// Says when the phases are.
pub(crate) fn spans(phases: &[Phase]) -> Vec<PhaseSpan> {
    let mut from_s = 0.0;
    let span = |phase: &Phase| {
        let (rate_from, rate_to) = phase.rate.ends();
        let to_s = from_s + phase.lasts.as_secs_f64();
        let span = PhaseSpan { name: phase.name.clone(), from_s, to_s, rate_from, rate_to };
        from_s = to_s;
        span
    };
    phases.iter().map(span).collect()
}

/// The arrivals of a run: times since its start, in order.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    segments: Vec<Segment>,
    segment: usize,
    at_s: f64,
    spacing: Arrivals,
    random: Random,
    /// What is missing to the first of evenly spaced arrivals, in arrivals.
    first: Option<f64>,
}

impl Schedule {
    /// Makes the arrivals of phases.
    pub(crate) fn new(phases: &[Phase], spacing: Arrivals, seed: u64) -> Self {
        let segments = segments(phases);
        Self { segments, segment: 0, at_s: 0.0, spacing, random: Random::of(seed, STREAM), first: None }
    }

    /// Lets evenly spaced arrivals begin after a part of a gap, so that those of several runners do not fall together.
    pub(crate) fn offset(self, part: f64) -> Self {
        Self { first: Some(part), ..self }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    /// Gives the next arrival: where the rates have added up to one more request (on average, of a Poisson process).
    fn next(&mut self) -> Option<Duration> {
        let mut left = match self.spacing {
            Arrivals::Even => self.first.take().unwrap_or(1.0),
            Arrivals::Poisson => -(1.0 - self.random.unit()).ln(),
        };
        loop {
            let Segment { from_s, to_s, rate_from, rate_to } = *self.segments.get(self.segment)?;
            let slope = (rate_to - rate_from) / (to_s - from_s);
            let rate = rate_from + slope * (self.at_s - from_s);
            let here = (rate + rate_to) / 2.0 * (to_s - self.at_s);
            // A hair of slack: sums of rates are not exact, and the last arrival often falls on the very end.
            if left > here + 1e-9 {
                left -= here;
                self.segment += 1;
                self.at_s = to_s;
                continue;
            }
            // The root of `rate x + slope x² / 2 = left`, in the form that is exact for small slopes too.
            let root = (rate * rate + 2.0 * slope * left).max(0.0).sqrt();
            self.at_s = (self.at_s + 2.0 * left / (rate + root)).min(to_s);
            return Some(Duration::from_secs_f64(self.at_s));
        }
    }
}

fn segments(phases: &[Phase]) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (phase, span) in phases.iter().zip(spans(phases)) {
        let PhaseSpan { from_s, to_s, rate_from, rate_to, .. } = span;
        let rate = |at_s: f64| rate_from + (rate_to - rate_from) * (at_s - from_s) / (to_s - from_s);
        let mut add = |segment: Segment| {
            if segment.to_s > segment.from_s {
                segments.push(segment);
            }
        };
        let mut at_s = from_s;
        if let Some(burst) = phase.burst {
            let mut begin = from_s + burst.every.as_secs_f64();
            while begin < to_s {
                add(Segment { from_s: at_s, to_s: begin, rate_from: rate(at_s), rate_to: rate(begin) });
                at_s = (begin + burst.lasts.as_secs_f64()).min(to_s);
                add(Segment { from_s: begin, to_s: at_s, rate_from: burst.rate, rate_to: burst.rate });
                begin += burst.every.as_secs_f64();
            }
        }
        add(Segment { from_s: at_s, to_s, rate_from: rate(at_s), rate_to });
    }
    segments
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Schedule;
    use crate::load::profile::{Arrivals, Burst, Phase, Rate};

    fn phase(seconds: u64, rate: Rate) -> Phase {
        Phase { name: "p".to_owned(), lasts: Duration::from_secs(seconds), rate, burst: None }
    }

    fn count(times: &[Duration], from: f64, to: f64) -> usize {
        times.iter().filter(|at| (from..to).contains(&at.as_secs_f64())).count()
    }

    #[test]
    fn even_arrivals_have_equal_gaps() {
        let times: Vec<_> = Schedule::new(&[phase(2, Rate::Constant(10.0))], Arrivals::Even, 1).collect();
        assert_eq!(times.len(), 20);
        assert!((times[4].as_secs_f64() - 0.5).abs() < 1e-9, "{times:?}");
    }

    #[test]
    fn even_arrivals_of_several_runners_are_even_together() {
        let phases = [phase(2, Rate::Constant(10.0))];
        let of = |part| Schedule::new(&phases, Arrivals::Even, 1).offset(part);
        let mut times: Vec<_> = of(0.5).chain(of(1.0)).collect();
        times.sort();
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0]).as_millis().abs_diff(50) < 2), "{times:?}");
    }

    #[test]
    fn ramp_has_its_mean_rate_and_more_at_its_end() {
        let phases = [phase(10, Rate::Ramp([0.0, 100.0])), phase(5, Rate::Ramp([100.0, 0.0]))];
        let times: Vec<_> = Schedule::new(&phases, Arrivals::Even, 1).collect();
        assert_eq!((count(&times, 0.0, 10.01), count(&times, 10.01, 16.0)), (500, 250));
        assert!((count(&times, 0.0, 5.0)).abs_diff(125) < 2 && times.is_sorted());
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_their_kind() {
        let times: Vec<_> = Schedule::new(&[phase(1000, Rate::Constant(50.0))], Arrivals::Poisson, 7).collect();
        assert!(times.len().abs_diff(50_000) < 1000, "{}", times.len());
        let counts: Vec<f64> = (0..1000).map(|at| count(&times[..], at.into(), f64::from(at) + 1.0) as f64).collect();
        let mean = counts.iter().sum::<f64>() / 1000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((0.8..1.2).contains(&(variance / mean)), "of a Poisson process both are alike: {variance} and {mean}");
        let again: Vec<_> = Schedule::new(&[phase(1000, Rate::Constant(50.0))], Arrivals::Poisson, 7).collect();
        assert_eq!(times, again);
    }

    #[test]
    fn bursts_come_when_they_should() {
        let burst = Burst { rate: 1000.0, lasts: Duration::from_secs(1), every: Duration::from_secs(5) };
        let phases = [Phase { burst: Some(burst), ..phase(12, Rate::Constant(10.0)) }];
        let times: Vec<_> = Schedule::new(&phases, Arrivals::Even, 1).collect();
        let inside = count(&times, 5.0, 6.0) + count(&times, 10.0, 11.0);
        assert!(inside.abs_diff(2000) < 5 && (times.len() - inside).abs_diff(100) < 5, "{inside} of {}", times.len());
    }

    #[test]
    fn phase_without_requests_is_a_pause() {
        let phases = [phase(1, Rate::Constant(10.0)), phase(3, Rate::Constant(0.0)), phase(1, Rate::Constant(10.0))];
        let times: Vec<_> = Schedule::new(&phases, Arrivals::Even, 1).collect();
        assert_eq!((count(&times, 0.0, 1.01), count(&times, 1.01, 4.0), count(&times, 4.0, 6.0)), (10, 0, 10));
    }
}
