//! What a run counts: latencies by operation and size, failures by kind, and a line for every second. Pure.
//!
//! Memory does not grow with the number of requests: histograms have a fixed size, and seconds are merged beyond a day's worth.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::operation::Operation;

/// Digits that are kept of a latency.
const DIGITS: u8 = 3;
/// The longest latency that is told apart, in microseconds: a day.
const LATENCY_MAX_US: u64 = 86_400_000_000;
/// Steps that are kept of the time series; beyond, two neighbours become one.
const STEPS_MAX: usize = 7_200;
/// A gap of more seconds than this is kept, and how many are.
const GAP_NOTED_S: f64 = 0.5;
const GAPS_MAX: usize = 1_000;
/// The quantiles of the curve.
const CURVE: [f64; 16] =
    [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999, 0.99999, 0.999_999, 1.0];

/// How a request failed, as reports name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// No connection came about.
    Refused,
    /// The connection broke before the answer was whole.
    Broken,
    /// No answer in time.
    Timeout,
    /// 429 or 503 that says when to come again.
    BusyWithRetryAfter,
    /// 429 or 503 that does not.
    Busy,
    /// Any other 5xx.
    ServerError,
    /// A 4xx that was not expected.
    ClientError,
    /// An answer that can't be understood.
    Malformed,
    /// An acked file is not there, or not in its list.
    Lost,
    /// The body ended early and claimed to be whole.
    Short,
    /// Wrong bytes, too many of them, a wrong length or a wrong ETag.
    Wrong,
}

impl Failure {
    /// Whether it says that a file is lost.
    pub(crate) fn is_loss(self) -> bool {
        self == Self::Lost
    }

    /// Whether it says that a file is not what was acked.
    pub(crate) fn is_corruption(self) -> bool {
        matches!(self, Self::Short | Self::Wrong)
    }
}

/// One request, done.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) operation: Operation,
    /// The class of its size, for operations that have one.
    pub(crate) class: Option<usize>,
    /// When it was to be sent, since the start.
    pub(crate) intended: Duration,
    /// When it was sent.
    pub(crate) sent: Duration,
    /// When the head of the answer was there.
    pub(crate) head: Option<Duration>,
    /// When all was there.
    pub(crate) ended: Duration,
    /// Content that was sent or received.
    pub(crate) bytes: u64,
    pub(crate) failure: Option<(Failure, String)>,
}

/// Counts of one kind of request.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    latency: Histogram<u32>,
    service: Histogram<u32>,
    first_byte: Histogram<u32>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { ok: 0, failed: 0, bytes: 0, latency: histogram(), service: histogram(), first_byte: histogram() }
    }
}

fn histogram() -> Histogram<u32> {
    let mut histogram = Histogram::new(DIGITS).expect("3 digits are allowed");
    histogram.auto(true);
    histogram
}

fn record(histogram: &mut Histogram<u32>, time: Duration) {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LATENCY_MAX_US);
    histogram.record(us).expect("it grows by itself");
}

/// Latencies, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

impl Latencies {
    fn of(histogram: &Histogram<u32>) -> Option<Self> {
        let ms = |quantile| at_ms(histogram, quantile);
        (!histogram.is_empty()).then(|| Self {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p999: ms(0.999),
            max: ms(1.0),
            mean: histogram.mean() / 1e3,
        })
    }
}

fn at_ms(histogram: &Histogram<u32>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile).min(histogram.max()) as f64 / 1e3
}

/// Figures of one kind of request. MB = 10^6 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) started: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    /// Good ones per second of the run.
    pub(crate) per_second: f64,
    pub(crate) mb_per_second: f64,
    /// From the intended start, failed ones included: who waited for an error waited as well.
    pub(crate) latency_ms: Option<Latencies>,
    /// From the moment it was sent.
    pub(crate) service_ms: Option<Latencies>,
    /// From the moment it was sent to the head of the answer.
    pub(crate) first_byte_ms: Option<Latencies>,
    /// Quantile and latency in milliseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Counts {
    fn add(&mut self, done: &Done) {
        match done.failure {
            None => {
                self.ok += 1;
                self.bytes += done.bytes;
            }
            Some(_) => self.failed += 1,
        }
        record(&mut self.latency, done.ended.saturating_sub(done.intended));
        record(&mut self.service, done.ended.saturating_sub(done.sent));
        if let Some(head) = done.head {
            record(&mut self.first_byte, head.saturating_sub(done.sent));
        }
    }

    /// Makes figures of the counts of a run of so many seconds.
    pub(crate) fn figures(&self, seconds: f64) -> Figures {
        let seconds = seconds.max(1e-9);
        Figures {
            started: self.ok + self.failed,
            ok: self.ok,
            failed: self.failed,
            bytes: self.bytes,
            per_second: self.ok as f64 / seconds,
            mb_per_second: self.bytes as f64 / 1e6 / seconds,
            latency_ms: Latencies::of(&self.latency),
            service_ms: Latencies::of(&self.service),
            first_byte_ms: Latencies::of(&self.first_byte),
            curve: CURVE
                .iter()
                .filter(|_| !self.latency.is_empty())
                .map(|quantile| (*quantile, at_ms(&self.latency, *quantile)))
                .collect(),
        }
    }
}

/// What happened in one step of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) at_s: f64,
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

/// The longest time in which nothing succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
}

/// All counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) total: Counts,
    pub(crate) kinds: BTreeMap<(Operation, Option<usize>), Counts>,
    pub(crate) failures: BTreeMap<Failure, (u64, String)>,
    pub(crate) steps: Vec<Step>,
    step_s: f64,
    now: Step,
    now_latency: Option<Histogram<u32>>,
    last_ok: Duration,
    pub(crate) gap: Gap,
    /// Those that somebody would notice, the first ones.
    pub(crate) gaps: Vec<Gap>,
    /// How late the runner sent what was due.
    lag: Option<Histogram<u32>>,
}

impl Stats {
    /// Counts a request.
    pub(crate) fn done(&mut self, done: &Done) {
        self.total.add(done);
        self.kinds.entry((done.operation, done.class)).or_default().add(done);
        record(self.now_latency.get_or_insert_with(histogram), done.ended.saturating_sub(done.intended));
        match &done.failure {
            None => {
                self.now.ok += 1;
                self.now.bytes += done.bytes;
                self.succeeded(done.ended);
            }
            Some((failure, why)) => {
                self.now.failed += 1;
                self.failed(*failure, why);
            }
        }
    }

    /// Counts a failure that is no request's of the load: one of the check at the end.
    pub(crate) fn failed(&mut self, failure: Failure, why: &str) {
        let (count, _) = self.failures.entry(failure).or_insert_with(|| (0, why.to_owned()));
        *count += 1;
    }

    /// Counts a request that was sent.
    pub(crate) fn sent(&mut self) {
        self.now.started += 1;
    }

    /// Notes how late the runner itself was.
    pub(crate) fn late(&mut self, lag: Duration) {
        record(self.lag.get_or_insert_with(histogram), lag);
    }

    /// Gives a quantile of the runner's own lateness in milliseconds.
    pub(crate) fn lag_ms(&self, quantile: f64) -> f64 {
        self.lag.as_ref().map_or(0.0, |lag| at_ms(lag, quantile))
    }

    /// Ends a step of time: once a second.
    pub(crate) fn tick(&mut self, at: Duration, in_flight: u64, waiting: u64) -> Step {
        let latency = self.now_latency.as_ref().filter(|latency| !latency.is_empty());
        let ms = |quantile| latency.map(|latency| at_ms(latency, quantile));
        let (p50_ms, p99_ms, max_ms) = (ms(0.5), ms(0.99), ms(1.0));
        let step = Step { p50_ms, p99_ms, max_ms, in_flight, waiting, ..std::mem::take(&mut self.now) };
        self.now.at_s = at.as_secs_f64();
        if let Some(latency) = &mut self.now_latency {
            latency.reset();
        }
        match self.steps.last_mut() {
            Some(last) if step.at_s - last.at_s < self.step_s => last.join(&step),
            _ => self.steps.push(step.clone()),
        }
        if self.steps.len() > STEPS_MAX {
            self.halve();
        }
        step
    }

    /// Takes the end of the run into account: nothing succeeded any more after the last success.
    pub(crate) fn end(&mut self, at: Duration) {
        self.succeeded(at);
    }

    fn succeeded(&mut self, at: Duration) {
        let seconds = at.saturating_sub(self.last_ok).as_secs_f64();
        let gap = Gap { at_s: self.last_ok.as_secs_f64(), seconds };
        if seconds > self.gap.seconds {
            self.gap = gap;
        }
        if seconds > GAP_NOTED_S && self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        }
        self.last_ok = self.last_ok.max(at);
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
    /// Takes the next step in. Of quantiles the worse one stays: what users saw is not to be averaged away.
    fn join(&mut self, next: &Self) {
        let worse = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.started += next.started;
        self.ok += next.ok;
        self.failed += next.failed;
        self.bytes += next.bytes;
        self.p50_ms = worse(self.p50_ms, next.p50_ms);
        self.p99_ms = worse(self.p99_ms, next.p99_ms);
        self.max_ms = worse(self.max_ms, next.max_ms);
        self.in_flight = self.in_flight.max(next.in_flight);
        self.waiting = self.waiting.max(next.waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Done, Failure, STEPS_MAX, Stats};
    use crate::load::operation::Operation;

    fn done(intended: f64, sent: f64, ended: f64, failure: Option<Failure>) -> Done {
        Done {
            operation: Operation::Get,
            class: Some(0),
            intended: Duration::from_secs_f64(intended),
            sent: Duration::from_secs_f64(sent),
            head: None,
            ended: Duration::from_secs_f64(ended),
            bytes: 10,
            failure: failure.map(|failure| (failure, "because".to_owned())),
        }
    }

    #[test]
    fn latency_counts_from_the_intended_start_and_service_from_the_real_one() {
        let mut stats = Stats::default();
        stats.done(&done(1.0, 4.0, 4.5, None));
        let figures = stats.total.figures(10.0);
        let ms = |latencies: Option<super::Latencies>| latencies.expect("one request").max;
        assert!((ms(figures.latency_ms) - 3500.0).abs() < 4.0 && (ms(figures.service_ms) - 500.0).abs() < 1.0);
        assert!((figures.per_second - 0.1).abs() < 1e-9 && figures.first_byte_ms.is_none());
    }

    #[test]
    fn failures_are_counted_by_kind_and_a_gap_is_time_without_success() {
        let mut stats = Stats::default();
        stats.done(&done(0.0, 0.0, 1.0, None));
        for at in [2.0, 3.0, 4.0] {
            stats.done(&done(at, at, at, Some(Failure::Busy)));
        }
        stats.done(&done(5.0, 5.0, 6.5, None));
        stats.end(Duration::from_secs(7));
        assert_eq!(stats.failures[&Failure::Busy].0, 3);
        assert!((stats.gap.at_s - 1.0).abs() < 1e-9 && (stats.gap.seconds - 5.5).abs() < 1e-9, "{:?}", stats.gap);
        assert_eq!((stats.total.ok, stats.total.failed), (2, 3));
    }

    #[test]
    fn series_is_bounded_and_keeps_the_worst() {
        let mut stats = Stats::default();
        for second in 0..50_000_u32 {
            stats.sent();
            let took = if second == 33_333 { 2.0 } else { 0.001 };
            let at = f64::from(second);
            stats.done(&done(at, at, at + took, None));
            stats.tick(Duration::from_secs(u64::from(second) + 1), 1, 0);
        }
        assert!(stats.steps.len() <= STEPS_MAX);
        assert_eq!(stats.steps.iter().map(|step| step.ok).sum::<u64>(), 50_000);
        assert!(stats.steps.iter().any(|step| step.max_ms.is_some_and(|ms| ms > 1999.0)));
        assert!(stats.steps.is_sorted_by(|a, b| a.at_s < b.at_s));
    }

    #[test]
    fn ten_million_samples_take_a_few_megabytes() {
        let mut stats = Stats::default();
        // Four operations in three sizes, from microseconds to minutes: every bucket of every histogram that there can be.
        for class in 0..12 {
            for exponent in 0..27 {
                let sample = Done { class: Some(class), ..done(0.0, 0.0, f64::from(1_u32 << exponent) / 1e6, None) };
                stats.done(&sample);
            }
        }
        let buckets: usize = stats.kinds.values().map(|counts| counts.latency.len_buckets()).sum();
        assert!(buckets * 4 * 3 < 8 << 20, "{buckets}");
    }

    trait Buckets {
        fn len_buckets(&self) -> usize;
    }

    impl Buckets for hdrhistogram::Histogram<u32> {
        fn len_buckets(&self) -> usize {
            self.distinct_values()
        }
    }
}
