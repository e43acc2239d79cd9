//! The search for the highest rate that a store bears: trials at constant rates, doubled until one fails, then in between. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{profile::duration, report::LAG_MAX_MS, stats::Trial};

/// Trials at most: a doubling over six powers of ten and a search to a thousandth, each twice.
const TRIALS_MAX: usize = 64;
/// So many times longer than its warm-up is a trial.
const WARM_UP: u32 = 5;
/// What is over the limit of a 99th percentile.
const OVER_SHARE: f64 = 0.01;

/// What is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Knee {
    /// The first rate, per second.
    pub(crate) from: f64,
    /// The highest.
    pub(crate) to: f64,
    /// How long each trial lasts; the first fifth warms up and does not count.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub(crate) lasts: Duration,
    /// A rate is borne if the 99th percentile of its latencies is at most this, in milliseconds,
    pub(crate) p99_ms: f64,
    /// and at most so many of its requests fail, in percent.
    #[serde(default)]
    pub(crate) failed_percent: f64,
    /// The search ends when the lowest rate that is too high is at most so much higher than the highest that is borne.
    #[serde(default = "default_precision")]
    pub(crate) precision_percent: f64,
}

fn default_precision() -> f64 {
    5.0
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrialRow {
    /// When it began, in seconds since the run did, and when its last answer was there.
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    /// Requests per second that were to be sent.
    pub(crate) rate: f64,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) borne: bool,
    /// Whether the runner itself was too late, so that a failure says nothing of the store.
    pub(crate) runner_late: bool,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) p99_limit_ms: f64,
    /// The highest rate that was borne; none if not even the first was.
    pub(crate) highest_borne: Option<f64>,
    /// The lowest that was not; none if all were.
    pub(crate) lowest_too_high: Option<f64>,
    pub(crate) trials: Vec<TrialRow>,
}

impl Found {
    /// Says whether the store was what gave way.
    pub(crate) fn invalid_because(&self) -> Option<String> {
        let lowest = self.lowest_too_high?;
        let mut failed = self.trials.iter().filter(|trial| trial.rate.to_bits() == lowest.to_bits() && !trial.borne);
        failed.all(|trial| trial.runner_late).then(|| {
            format!("at {lowest:.0} per second the runner itself was too late: the knee may be its own; hold the servers back")
        })
    }
}

/// A search under way.
#[derive(Debug)]
pub(crate) struct Search {
    knee: Knee,
    good: Option<f64>,
    bad: Option<f64>,
    /// A rate that failed once: once may be chance.
    doubted: Option<f64>,
    trials: Vec<TrialRow>,
}

impl Search {
    /// Begins one.
    pub(crate) fn new(knee: Knee) -> Self {
        Self { knee, good: None, bad: None, doubted: None, trials: Vec::new() }
    }

    /// Gives the rate of the next trial; none when the search is over.
    pub(crate) fn next(&self) -> Option<f64> {
        let Knee { from, to, precision_percent, .. } = self.knee;
        if self.trials.len() >= TRIALS_MAX {
            return None;
        }
        if self.doubted.is_some() {
            return self.doubted;
        }
        match (self.good, self.bad) {
            (None, None) => Some(from),
            (None, Some(_)) => None,
            (Some(good), None) => (good < to).then(|| (good * 2.0).min(to)),
            (Some(good), Some(bad)) => (bad > good * (1.0 + precision_percent / 100.0)).then(|| (good * bad).sqrt()),
        }
    }

    /// Takes the outcome of the trial that [`Search::next`] asked for.
    pub(crate) fn tell(&mut self, row: TrialRow) {
        let rate = row.rate;
        if row.borne {
            (self.good, self.doubted) = (Some(rate), None);
        } else if self.doubted.take().is_some() {
            self.bad = Some(rate);
        } else {
            self.doubted = Some(rate);
        }
        self.trials.push(row);
    }

    /// Gives what was found so far.
    pub(crate) fn found(&self) -> Found {
        Found {
            p99_limit_ms: self.knee.p99_ms,
            highest_borne: self.good,
            lowest_too_high: self.bad.or(self.doubted),
            trials: self.trials.clone(),
        }
    }

    /// Says whether a trial can't be borne any more, whatever comes.
    pub(crate) fn is_lost(&self, rate: f64, trial: &Trial) -> bool {
        let all = rate * (self.knee.lasts - self.knee.warm_up()).as_secs_f64();
        let over = trial.counts.latency.over(self.limit()) as f64;
        // Twice the share, since arrivals at random may be more than expected.
        over > 2.0 * OVER_SHARE * all + 1.0
            || trial.counts.failed as f64 > 2.0 * self.knee.failed_percent / 100.0 * all + 1.0
    }

    /// Judges a trial that lasted from `from_s` to `to_s`; `lost` is one that was ended early.
    pub(crate) fn judge(&self, rate: f64, from_s: f64, to_s: f64, trial: &Trial, lost: bool) -> TrialRow {
        let Trial { counts, lag } = trial;
        let latency = counts.latency.latencies();
        let requests = counts.ok + counts.failed;
        let failed_percent = counts.failed as f64 * 100.0 / requests.max(1) as f64;
        let p99_ms = latency.map(|latency| latency.p99);
        let borne = !lost
            && p99_ms.is_some_and(|p99_ms| p99_ms <= self.knee.p99_ms)
            && failed_percent <= self.knee.failed_percent;
        TrialRow {
            from_s,
            to_s,
            rate,
            requests,
            failed: counts.failed,
            p50_ms: latency.map(|latency| latency.p50),
            p99_ms,
            borne,
            runner_late: lag.at_ms(0.99) > LAG_MAX_MS,
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.knee.p99_ms / 1e3)
    }
}

impl Knee {
    /// Says what is wrong with it.
    pub(crate) fn check(&self, rate_max: f64) -> Result<(), String> {
        let Self { from, to, lasts, p99_ms, failed_percent, precision_percent } = *self;
        if !(from > 0.0 && from <= to && to <= rate_max) {
            return Err(format!(
                "[knee]: from is above 0, to is at least from and at most {rate_max}, not {from} and {to}"
            ));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&lasts) {
            return Err("[knee]: a trial lasts from 1s to 1h".to_owned());
        }
        if !(p99_ms > 0.0 && p99_ms <= 3_600_000.0 && (0.0..=100.0).contains(&failed_percent)) {
            return Err("[knee]: p99_ms is above 0, failed_percent from 0 to 100".to_owned());
        }
        if (0.1..=100.0).contains(&precision_percent) {
            Ok(())
        } else {
            Err(format!("[knee]: precision_percent is from 0.1 to 100, not {precision_percent}"))
        }
    }

    /// Gives the time at the beginning of each trial that does not count.
    pub(crate) fn warm_up(&self) -> Duration {
        self.lasts / WARM_UP
    }

    /// Gives the time that a search takes about, for the view; the most that it may take is far more.
    pub(crate) fn lasts_about(&self) -> Duration {
        let doublings = (self.to / self.from).log2().ceil() + 1.0;
        let halvings = (1.0 / (self.precision_percent / 100.0).ln_1p()).log2().ceil().max(0.0);
        self.lasts.mul_f64(doublings + halvings)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Knee, Search, TrialRow};
    use crate::load::{
        counts::{Counts, Done},
        operation::Operation,
        stats::Trial,
    };

    const KNEE: Knee = Knee {
        from: 10.0,
        to: 5000.0,
        lasts: Duration::from_secs(5),
        p99_ms: 50.0,
        failed_percent: 0.0,
        precision_percent: 5.0,
    };

    fn row(rate: f64, borne: bool) -> TrialRow {
        let (from_s, to_s, requests, failed, p50_ms, p99_ms) = (0.0, 1.0, 1, 0, None, None);
        TrialRow { from_s, to_s, rate, requests, failed, p50_ms, p99_ms, borne, runner_late: false }
    }

    /// Searches in a store that bears the rates of `bears`.
    fn search(mut bears: impl FnMut(f64) -> bool) -> (Option<f64>, Option<f64>, usize) {
        let mut search = Search::new(KNEE);
        while let Some(rate) = search.next() {
            search.tell(row(rate, bears(rate)));
        }
        let found = search.found();
        (found.highest_borne, found.lowest_too_high, found.trials.len())
    }

    #[test]
    fn the_knee_is_found_wherever_it_is() {
        for knee in [10.5, 77.0, 640.0, 3999.0] {
            let (good, bad, trials) = search(|rate| rate <= knee);
            let (good, bad) = (good.expect("some are borne"), bad.expect("some are not"));
            assert!(good <= knee && knee < bad && bad / good <= 1.05 && trials < 30, "{knee}: {good} {bad} {trials}");
        }
        assert_eq!(search(|_| true), (Some(5000.0), None, 10));
        assert_eq!(search(|_| false), (None, Some(10.0), 2));
    }

    #[test]
    fn one_bad_trial_may_be_chance() {
        let mut tries = 0;
        let (good, ..) = search(|rate| {
            tries += 1;
            rate < 2000.0 && tries != 3
        });
        assert!(good.is_some_and(|good| good > 1900.0), "{good:?}");
    }

    #[test]
    fn a_trial_is_judged_by_its_tail_and_given_up_when_it_is_lost() {
        let search = Search::new(KNEE);
        let (rate, mut trial) = (100.0, Trial { counts: Counts::default(), ..Trial::default() });
        let done = |ms: u64| Done {
            operation: Operation::Get,
            class: None,
            file: None,
            intended: Duration::ZERO,
            sent: Duration::ZERO,
            head: None,
            ended: Duration::from_millis(ms),
            bytes: 1,
            failure: None,
        };
        // 400 requests are expected after the warm-up: 1 % of them may be slow, and with more than twice as many all is lost.
        for slow in 0..=9 {
            (0..99).for_each(|_| trial.counts.add(&done(10)));
            assert!(search.judge(rate, 0.0, 5.0, &trial, false).borne, "1 % may be slow");
            assert!(!search.is_lost(rate, &trial), "{slow}");
            trial.counts.add(&done(60));
        }
        assert!(search.is_lost(rate, &trial), "of 400 expected requests 10 are slow");
        assert!(!search.judge(rate, 0.0, 5.0, &trial, true).borne);
    }

    #[test]
    fn a_knee_of_the_runner_is_told() {
        for (late, invalid) in [(true, true), (false, false)] {
            let mut search = Search::new(KNEE);
            // A rate that failed once, by the store and by chance, says nothing of the one that is too high.
            search.tell(row(10.0, false));
            search.tell(row(10.0, true));
            for _ in 0..2 {
                search.tell(TrialRow { runner_late: late, ..row(20.0, false) });
            }
            assert_eq!(search.found().invalid_because().is_some(), invalid);
        }
    }
}
