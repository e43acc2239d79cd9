//! What happened over time: steps of a bounded series, and the gaps in which nothing succeeded. Pure.

use serde::{Deserialize, Serialize};

/// Steps that are kept; beyond, two neighbours become one.
const STEPS_MAX: usize = 7_200;

/// What happened in one step of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) at_s: f64,
    #[serde(default)]
    pub(crate) lasts_s: f64,
    pub(crate) started: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// At its end: requests that are under way, and those whose time has come but that wait for a connection.
    pub(crate) in_flight: u64,
    pub(crate) waiting: u64,
}

/// A time in which nothing succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
}

/// The steps of a run: one for each second, or for more of a long one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    steps: Vec<Step>,
    /// Less than so many seconds after the last one, a step becomes part of it.
    step_s: f64,
}

impl Series {
    /// Adds a step that follows the others.
    pub(crate) fn push(&mut self, step: Step) {
        match self.steps.last_mut() {
            Some(last) if step.at_s - last.at_s < self.step_s => last.join(&step),
            _ => self.steps.push(step),
        }
        if self.steps.len() > STEPS_MAX {
            self.halve();
        }
    }

    /// Gives the steps in their order.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn halve(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        self.step_s = steps.get(2).zip(steps.first()).map_or(0.0, |(second, first)| second.at_s - first.at_s) * 0.999;
        for pair in steps.chunks(2) {
            let mut joined = pair[0].clone();
            pair[1..].iter().for_each(|step| joined.join(step));
            self.steps.push(joined);
        }
    }
}

impl Step {
    /// Takes the next step in.
    fn join(&mut self, next: &Self) {
        let (in_flight, waiting) = (self.in_flight.max(next.in_flight), self.waiting.max(next.waiting));
        let lasts_s = self.lasts_s + next.lasts_s;
        self.add(next);
        self.lasts_s = lasts_s;
        (self.in_flight, self.waiting) = (in_flight, waiting);
    }

    /// Takes in what another runner did at the same time. Of quantiles the worse one stays: what users saw is not to be averaged
    /// away.
    pub(crate) fn add(&mut self, other: &Self) {
        let worse = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.lasts_s = self.lasts_s.max(other.lasts_s);
        self.started += other.started;
        self.ok += other.ok;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.p50_ms = worse(self.p50_ms, other.p50_ms);
        self.p99_ms = worse(self.p99_ms, other.p99_ms);
        self.max_ms = worse(self.max_ms, other.max_ms);
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
    }
}

/// Gives the times that are in a gap of both lists, each of which is in order.
pub(crate) fn both(one: &[Gap], other: &[Gap]) -> Vec<Gap> {
    let end = |gap: &Gap| gap.at_s + gap.seconds;
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut common = Vec::new();
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let (at_s, to_s) = (a.at_s.max(b.at_s), end(a).min(end(b)));
        if to_s > at_s {
            common.push(Gap { at_s, seconds: to_s - at_s });
        }
        if end(a) < end(b) {
            one.next().is_some()
        } else {
            other.next().is_some()
        };
    }
    common
}

#[cfg(test)]
mod tests {
    use super::{Gap, STEPS_MAX, Series, Step, both};

    fn step(at_s: f64, ok: u64, max_ms: f64) -> Step {
        Step { at_s, started: ok, ok, max_ms: Some(max_ms), in_flight: 2, ..Step::default() }
    }

    #[test]
    fn series_is_bounded_and_keeps_the_worst() {
        let mut series = Series::default();
        for second in 0..50_000_u32 {
            series.push(step(f64::from(second), 1, if second == 33_333 { 2000.0 } else { 1.0 }));
        }
        let steps = series.steps();
        assert!(steps.len() <= STEPS_MAX && steps.is_sorted_by(|a, b| a.at_s < b.at_s));
        assert_eq!(steps.iter().map(|step| step.ok).sum::<u64>(), 50_000);
        assert!(steps.iter().any(|step| step.max_ms.is_some_and(|ms| ms > 1999.0)));
        assert!(steps.iter().all(|step| step.in_flight == 2));
    }

    #[test]
    fn common_gaps_are_where_both_are() {
        let gap = |at_s, seconds| Gap { at_s, seconds };
        let one = [gap(1.0, 4.0), gap(10.0, 2.0), gap(20.0, 1.0)];
        let other = [gap(2.0, 1.0), gap(4.0, 7.0), gap(22.0, 1.0)];
        assert_eq!(both(&one, &other), [gap(2.0, 1.0), gap(4.0, 1.0), gap(10.0, 1.0)]);
        assert_eq!(both(&one, &[]), []);
    }
}
