//! Looks at the servers once a second while a load runs: processors and memory from `/proc`, the rest from their metrics.
//!
//! A server that does not answer in time is left out of the step, so a stopped one never slows the watch down.

mod metrics;
#[cfg(test)]
pub(super) mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flotilla_env::Clock;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::metrics::Figures;
pub(super) use self::metrics::{IS_LEADER, metric, scrape};
use crate::dev::{Dev, Process, Resident};

/// The first distance between two samples: fine enough to see a fail-over, which takes some seconds.
const STEP_FIRST: Duration = Duration::from_secs(1);
/// How long a server may take for its metrics; half a step, so that a slow one does not shift the next sample.
const SCRAPE_WITHIN: Duration = Duration::from_millis(500);
/// The servers during one step; a figure that nobody told is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The end of the step, in seconds since the load began.
    pub(crate) at_s: f64,
    /// Processors that all servers together kept busy over the step.
    pub(crate) cpu_cores: Option<f64>,
    /// Resident memory of all servers at the end of the step; of merged steps, the most.
    pub(crate) rss_bytes: Option<u64>,
    /// Resident memory of the largest server, likewise.
    pub(crate) largest_rss_bytes: Option<u64>,
    /// Requests that waited at the end of the step; of merged steps, the mean.
    pub(crate) queued: Option<f64>,
    /// Requests under way; none as long as no server publishes their number.
    pub(crate) in_flight: Option<f64>,
    /// Share of the step's cache lookups that were hits.
    pub(crate) cache_hit_share: Option<f64>,
    /// How many entries of its log the slowest member of any group had not applied at the end of the step; of merged steps, the most.
    #[serde(default)]
    pub(crate) lag_entries: Option<f64>,
    /// Who led a group at the end of the step.
    #[serde(default)]
    pub(crate) leaders: Vec<String>,
}

/// A watch under way; ends when it is dropped.
pub(crate) struct Watch {
    series: Arc<Mutex<Series>>,
    task: JoinSet<()>,
}

impl Watch {
    /// Begins to look, every second; the times of samples count from `start`.
    ///
    /// # Bounds
    /// Beyond `samples_max`, neighbours are merged pairwise and the step doubles.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(dev: Arc<Dev>, clock: Arc<dyn Clock>, start: Instant, samples_max: usize) -> Self {
        let series = Arc::new(Mutex::new(Series::new(samples_max)));
        let mut task = JoinSet::new();
        task.spawn(look(dev, clock, start, series.clone()));
        Self { series, task }
    }

    /// Ends it and gives what was seen; the step under way is left out.
    pub(crate) fn stop(self) -> Vec<Sample> {
        let Self { series, task } = self;
        drop(task);
        let mut seen = series.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen.steps).into_iter().map(|step| step.sample).collect()
    }
}

async fn look(dev: Arc<Dev>, clock: Arc<dyn Clock>, start: Instant, series: Arc<Mutex<Series>>) {
    let mut last = Reading::take(&dev, &*clock).await;
    let mut due = last.at + STEP_FIRST;
    loop {
        sleep_until(due).await;
        let now = Reading::take(&dev, &*clock).await;
        let next = Step::between(start, &last, &now);
        let step = series.lock().unwrap_or_else(PoisonError::into_inner).push(next);
        // Steps that were missed, on a machine that slept, are not made up for.
        due = (due + step).max(clock.now());
        last = now;
    }
}

/// What is known at one moment; per process, in the order of `dev.json`.
struct Reading {
    at: Instant,
    cpu: Vec<Option<Duration>>,
    resident: Resident,
    figures: Vec<Option<Figures>>,
    lag_entries: Option<f64>,
    leaders: Vec<String>,
}

impl Reading {
    async fn take(dev: &Dev, clock: &dyn Clock) -> Self {
        let at = clock.now();
        // Of each by itself: [`Dev::cpu`] needs all of them to be there.
        let cpu = dev.processes.iter().map(Process::cpu).collect();
        let resident = dev.resident();
        let asked = dev.processes.iter().map(|process| scrape(&process.ops, SCRAPE_WITHIN));
        let pages = join_all(asked).await;
        let figures: Vec<_> = pages.iter().map(|page| page.as_deref().map(Figures::of)).collect();
        let named = || dev.processes.iter().zip(&figures);
        let leads = |(process, figures): (&Process, &Option<Figures>)| {
            figures.as_ref().is_some_and(Figures::leads).then(|| process.name.clone())
        };
        let leaders = named().filter_map(leads).collect();
        let lag_entries = metrics::lag(figures.iter().flatten().flat_map(|figures| &figures.members));
        Self { at, cpu, resident, figures, lag_entries, leaders }
    }
}

/// A sample, and what its means weigh when it is merged.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    sample: Sample,
    seconds: f64,
    lookups: f64,
}

impl Step {
    fn between(start: Instant, last: &Reading, now: &Reading) -> Self {
        let seconds = now.at.saturating_duration_since(last.at).as_secs_f64();
        let busy = busy(&last.cpu, &now.cpu).filter(|_| seconds > 0.0);
        let hits = grown(&last.figures, &now.figures, |figures| figures.hits).unwrap_or(0.0);
        let misses = grown(&last.figures, &now.figures, |figures| figures.misses).unwrap_or(0.0);
        let lookups = hits + misses;
        let known = |bytes: u64| Some(bytes).filter(|bytes| *bytes > 0);
        let sample = Sample {
            at_s: now.at.saturating_duration_since(start).as_secs_f64(),
            cpu_cores: busy.map(|busy| busy.as_secs_f64() / seconds),
            rss_bytes: known(now.resident.sum_bytes),
            largest_rss_bytes: known(now.resident.largest_bytes),
            queued: now.figures.iter().flatten().filter_map(|figures| figures.queued).reduce(|sum, one| sum + one),
            in_flight: None,
            cache_hit_share: (lookups > 0.0).then(|| hits / lookups),
            lag_entries: now.lag_entries,
            leaders: now.leaders.clone(),
        };
        Self { sample, seconds, lookups }
    }

    /// Makes one of two that follow each other. Memory keeps the larger figure, so that no peak vanishes.
    fn merge(self, next: Self) -> Self {
        let (old, new) = (self.sample, next.sample);
        let over_time = |old, new| mean((old, self.seconds), (new, next.seconds));
        let sample = Sample {
            at_s: new.at_s,
            cpu_cores: over_time(old.cpu_cores, new.cpu_cores),
            rss_bytes: old.rss_bytes.max(new.rss_bytes),
            largest_rss_bytes: old.largest_rss_bytes.max(new.largest_rss_bytes),
            queued: over_time(old.queued, new.queued),
            in_flight: over_time(old.in_flight, new.in_flight),
            cache_hit_share: mean((old.cache_hit_share, self.lookups), (new.cache_hit_share, next.lookups)),
            lag_entries: [old.lag_entries, new.lag_entries].into_iter().flatten().reduce(f64::max),
            leaders: new.leaders,
        };
        Self { sample, seconds: self.seconds + next.seconds, lookups: self.lookups + next.lookups }
    }
}

/// Gives the mean of two figures with their weights; one that is not known counts as nothing.
fn mean(old: (Option<f64>, f64), new: (Option<f64>, f64)) -> Option<f64> {
    let weight = old.1 + new.1;
    match (old.0, new.0) {
        (Some(one), Some(other)) if weight > 0.0 => Some((one * old.1 + other * new.1) / weight),
        (one, other) => other.or(one),
    }
}

/// Gives the processor time that was used in between by those that were there at both moments; none if nobody was.
fn busy(last: &[Option<Duration>], now: &[Option<Duration>]) -> Option<Duration> {
    let used = last.iter().zip(now).filter_map(|(last, now)| Some((*now)?.saturating_sub((*last)?)));
    used.reduce(|sum, one| sum + one)
}

/// Gives how much a counter grew over all servers that answered at both moments; none if nobody has it.
fn grown(last: &[Option<Figures>], now: &[Option<Figures>], counter: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
    let growth = last.iter().zip(now).filter_map(|(last, now)| {
        let before = counter(last.as_ref()?).unwrap_or(0.0);
        let after = counter(now.as_ref()?)?;
        // A counter that fell began again at nothing, with its process.
        Some(if after < before { after } else { after - before })
    });
    growth.reduce(|sum, one| sum + one)
}

/// The steps so far.
struct Series {
    steps: Vec<Step>,
    max: usize,
    step: Duration,
}

impl Series {
    fn new(max: usize) -> Self {
        Self { steps: Vec::new(), max: max.max(1), step: STEP_FIRST }
    }

    /// Adds a step and gives the length of the next one.
    fn push(&mut self, step: Step) -> Duration {
        self.steps.push(step);
        if self.steps.len() > self.max {
            let mut steps = std::mem::take(&mut self.steps).into_iter();
            while let Some(one) = steps.next() {
                self.steps.push(match steps.next() {
                    Some(next) => one.merge(next),
                    None => one,
                });
            }
            self.step = self.step.saturating_mul(2);
        }
        self.step
    }
}
