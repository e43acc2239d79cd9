//! What a run counts: latencies by operation and size, failures by kind, and a line for every second. Pure.
//!
//! Memory does not grow with the number of requests: distributions have a fixed size, and of long runs seconds are joined.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    counts::{Counts, Done, Failure},
    operation::Operation,
    series::{Gap, Series, Step, both},
    times::Times,
};

/// A gap of more seconds than this is kept, and how many are: the longest.
const GAP_NOTED_S: f64 = 0.5;
const GAPS_MAX: usize = 1_000;

/// All counts of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) total: Counts,
    #[serde(with = "pairs")]
    pub(crate) kinds: BTreeMap<(Operation, Option<usize>), Counts>,
    pub(crate) failures: BTreeMap<Failure, (u64, String)>,
    /// Sent second by second where several runners are added up.
    #[serde(skip)]
    pub(crate) series: Series,
    pub(crate) gap: Gap,
    /// Those that somebody would notice, in their order.
    pub(crate) gaps: Vec<Gap>,
    /// How late the runner sent what was due.
    pub(crate) lag: Times,
    /// Since when, and what of it was counted: see [`Stats::begin_trial`].
    #[serde(skip)]
    trial: Option<(Duration, Trial)>,
    #[serde(skip)]
    now: Step,
    #[serde(skip)]
    now_latency: Times,
    #[serde(skip)]
    last_ok: Duration,
}

/// What was counted of the requests of one stretch of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trial {
    pub(crate) counts: Counts,
    pub(crate) lag: Times,
}

impl Stats {
    /// Counts a request.
    pub(crate) fn done(&mut self, done: &Done) {
        self.total.add(done);
        self.kinds.entry((done.operation, done.class)).or_default().add(done);
        self.now_latency.record(done.ended.saturating_sub(done.intended));
        if let Some((from, trial)) = &mut self.trial
            && done.intended >= *from
        {
            trial.counts.add(done);
        }
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

    /// Counts a request that was due so long ago and never sent.
    pub(crate) fn abandoned(&mut self, waited: Duration, why: &str) {
        self.total.failed += 1;
        self.total.latency.record(waited);
        self.now_latency.record(waited);
        if let Some((_, trial)) = &mut self.trial {
            trial.counts.failed += 1;
            trial.counts.latency.record(waited);
        }
        self.now.started += 1;
        self.now.failed += 1;
        self.failed(Failure::Abandoned, why);
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

    /// Takes the last [`Stats::sent`] back.
    pub(crate) fn not_sent(&mut self) {
        self.now.started = self.now.started.saturating_sub(1);
    }

    /// Notes how late the runner itself was.
    pub(crate) fn late(&mut self, lag: Duration) {
        self.lag.record(lag);
        if let Some((_, trial)) = &mut self.trial {
            trial.lag.record(lag);
        }
    }

    /// Begins to count apart what is to be sent from a moment on; what was counted apart till then is forgotten.
    pub(crate) fn begin_trial(&mut self, from: Duration) {
        self.trial = Some((from, Trial::default()));
    }

    /// Gives what was counted since [`Stats::begin_trial`].
    pub(crate) fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref().map(|(_, trial)| trial)
    }

    /// Ends a step of time, once a second, and gives it with its latencies.
    pub(crate) fn tick(&mut self, at: Duration, in_flight: u64, waiting: u64) -> (Step, Times) {
        let latency = std::mem::take(&mut self.now_latency);
        let ms = |quantile| (!latency.is_empty()).then(|| latency.at_ms(quantile));
        let (p50_ms, p99_ms, max_ms) = (ms(0.5), ms(0.99), ms(1.0));
        let now = std::mem::take(&mut self.now);
        let lasts_s = at.as_secs_f64() - now.at_s;
        let step = Step { lasts_s, p50_ms, p99_ms, max_ms, in_flight, waiting, ..now };
        self.now.at_s = at.as_secs_f64();
        self.series.push(step.clone());
        (step, latency)
    }

    /// Takes the end of the run into account: nothing succeeded any more after the last success.
    pub(crate) fn end(&mut self, at: Duration) {
        self.succeeded(at);
    }

    /// Counts all that another runner counted, which began so many seconds later; the series stays as it is.
    pub(crate) fn merge(&mut self, other: Self, later_s: f64) {
        self.total.merge(&other.total);
        for (kind, counts) in &other.kinds {
            self.kinds.entry(*kind).or_default().merge(counts);
        }
        for (failure, (count, example)) in other.failures {
            self.failures.entry(failure).or_insert((0, example)).0 += count;
        }
        // Nothing succeeded where nothing did for either. If no gap that was noted is common, the longest common one is at most as
        // long as one that is too short to be noted, and as the longest of either.
        let shifted = other.gaps.iter().map(|gap| Gap { at_s: gap.at_s + later_s, ..*gap }).collect::<Vec<_>>();
        let theirs = Gap { at_s: other.gap.at_s + later_s, ..other.gap };
        let shorter = if theirs.seconds < self.gap.seconds { theirs } else { self.gap };
        self.gaps = both(&self.gaps, &shifted);
        let longest = self.gaps.iter().copied().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
        self.gap = longest.unwrap_or(Gap { seconds: shorter.seconds.min(GAP_NOTED_S), ..shorter });
        self.lag.add(&other.lag);
    }

    fn succeeded(&mut self, at: Duration) {
        let seconds = at.saturating_sub(self.last_ok).as_secs_f64();
        let gap = Gap { at_s: self.last_ok.as_secs_f64(), seconds };
        if seconds > self.gap.seconds {
            self.gap = gap;
        }
        if seconds > GAP_NOTED_S {
            self.gaps.push(gap);
            if self.gaps.len() > GAPS_MAX {
                let shortest =
                    |gaps: &[Gap]| (0..gaps.len()).min_by(|a, b| gaps[*a].seconds.total_cmp(&gaps[*b].seconds));
                shortest(&self.gaps).map(|at| self.gaps.remove(at));
            }
        }
        self.last_ok = self.last_ok.max(at);
    }
}

/// Maps whose keys are no text, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Vec::deserialize(deserializer).map(|pairs| pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Done, Failure, Stats};
    use crate::load::{operation::Operation, times::Latencies};

    fn done(intended: f64, sent: f64, ended: f64, failure: Option<Failure>) -> Done {
        Done {
            operation: Operation::Get,
            class: Some(0),
            file: None,
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
        let ms = |latencies: Option<Latencies>| latencies.expect("one request").max;
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
    fn of_many_gaps_the_longest_are_kept() {
        let mut stats = Stats::default();
        let mut at = 0.0;
        for gap in 0..3_000_u32 {
            at += if gap == 2_500 { 60.0 } else { 1.0 };
            stats.done(&done(at, at, at, None));
        }
        assert_eq!(stats.gaps.len(), super::GAPS_MAX);
        assert!(stats.gaps.is_sorted_by(|a, b| a.at_s < b.at_s) && stats.gaps.iter().any(|gap| gap.seconds > 59.0));
    }

    #[test]
    fn a_trial_counts_what_was_to_be_sent_since_it_began() {
        let mut stats = Stats::default();
        stats.begin_trial(Duration::from_secs(2));
        stats.done(&done(1.9, 1.9, 3.0, None));
        stats.done(&done(2.0, 2.0, 3.0, None));
        assert_eq!(stats.trial().expect("it began").counts.ok, 1);
    }

    #[test]
    fn two_runners_add_up() {
        let (mut one, mut other) = (Stats::default(), Stats::default());
        // The store stood still from 2 to 6 for one, and, on the clock of the other, which began a second later, from 2 to 4.
        for at in [1.0, 2.0, 6.0, 7.0] {
            one.done(&done(at, at, at, None));
        }
        for at in [1.0, 2.0, 4.0, 5.0, 6.0] {
            other.done(&done(at, at, at, None));
        }
        other.done(&done(4.5, 4.5, 4.5, Some(Failure::Busy)));
        // As they come from another host.
        let other = serde_json::from_str(&serde_json::to_string(&other).expect("text")).expect("counts");
        one.merge(other, 1.0);
        assert_eq!((one.total.ok, one.total.failed, one.failures[&Failure::Busy].0), (9, 1, 1));
        assert_eq!(one.kinds[&(Operation::Get, Some(0))].ok, 9);
        let latencies =
            [&one.total, &one.kinds[&(Operation::Get, Some(0))]].map(|counts| counts.latency.histogram().len());
        assert_eq!(latencies, [10, 10]);
        assert!((one.gap.at_s - 3.0).abs() < 1e-9 && (one.gap.seconds - 2.0).abs() < 1e-9, "{:?}", one.gap);
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
        let buckets: usize = stats.kinds.values().map(|counts| counts.latency.buckets()).sum();
        assert!(buckets * 4 * 4 < 8 << 20, "{buckets}");
    }
}
