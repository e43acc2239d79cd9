//! Looks at the servers once a second while a load runs: processors and memory from `/proc`, the rest from their metrics.
//!
//! A server that does not answer in time is left out of the step, so a stopped one never slows the watch down.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flotilla_api::route;
use flotilla_env::Clock;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    dev::{Dev, Process, Resident},
    wire,
    wire::{Connection, Endpoint},
};

/// The first distance between two samples: fine enough to see a fail-over, which takes some seconds.
const STEP_FIRST: Duration = Duration::from_secs(1);
/// How long a server may take for its metrics; half a step, so that a slow one does not shift the next sample.
const SCRAPE_WITHIN: Duration = Duration::from_millis(500);
/// Requests that wait in a supernode's queues; servers without queues do not have it.
const QUEUED: &str = "flotilla_queue_depth";
/// Chunks that were found in a node's cache.
const HITS: &str = "flotilla_cache_hits_total";
/// Chunks that were not.
const MISSES: &str = "flotilla_cache_misses_total";

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
}

impl Reading {
    async fn take(dev: &Dev, clock: &dyn Clock) -> Self {
        let at = clock.now();
        // Of each by itself: [`Dev::cpu`] needs all of them to be there.
        let cpu = dev.processes.iter().map(Process::cpu).collect();
        let resident = dev.resident();
        let asked = dev.processes.iter().map(|process| scrape(&process.ops, SCRAPE_WITHIN));
        let pages = join_all(asked).await;
        let figures = pages.iter().map(|page| page.as_deref().map(Figures::of)).collect();
        Self { at, cpu, resident, figures }
    }
}

/// What one server's metrics say.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    hits: Option<f64>,
    misses: Option<f64>,
    queued: Option<f64>,
}

impl Figures {
    fn of(page: &str) -> Self {
        Self { hits: metric(page, HITS), misses: metric(page, MISSES), queued: metric(page, QUEUED) }
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

/// Asks an operations listener for its metrics; none if it does not answer in time.
///
/// # Cancel safety
/// Its connection is closed when it is dropped.
pub(super) async fn scrape(ops: &str, within: Duration) -> Option<String> {
    let ask = async {
        let endpoint = Endpoint::new(ops, None)?;
        let mut connection = Connection::open(&endpoint).await?;
        let page = connection.document(route::METRICS).await?;
        Ok::<_, wire::Error>(page)
    };
    let page = timeout(within, ask).await.ok()?.ok()?;
    String::from_utf8(page.to_vec()).ok()
}

/// Adds up a metric's values, whatever their labels, in Prometheus text; none if it is not there.
pub(super) fn metric(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            // A label's value can hold any character, a closing brace too.
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok().filter(|value| value.is_finite())
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{sync::Arc, time::Duration};

    use flotilla_env::clock;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinSet,
        time::{Instant, sleep},
    };

    use super::{Figures, Reading, STEP_FIRST, Sample, Series, Step, Watch, busy, metric, scrape};
    use crate::{
        dev::{Dev, Process, Resident},
        procfs,
    };

    /// Serves one page to everybody who asks, until the tasks are dropped; gives its base address.
    pub(in crate::load) async fn serve(page: &str) -> (String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head: Vec<u8> = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && matches!(socket.read_buf(&mut head).await, Ok(1..)) {}
                let _ = socket.write_all(answer.as_bytes()).await; // the client may have gone
            }
        });
        (base, tasks)
    }

    fn this_process(ops: &str) -> Process {
        let start_ticks = procfs::stat("self").expect("this process runs").start_ticks;
        let (name, role, cluster) = ("a-n1".to_owned(), "node".to_owned(), Some("a".to_owned()));
        Process { name, role, cluster, pid: std::process::id(), start_ticks, ops: ops.to_owned() }
    }

    fn sample(at_s: f64, cpu_cores: Option<f64>, rss_bytes: Option<u64>) -> Sample {
        let (queued, in_flight, cache_hit_share) = (None, None, None);
        Sample { at_s, cpu_cores, rss_bytes, largest_rss_bytes: rss_bytes, queued, in_flight, cache_hit_share }
    }

    fn step(at_s: f64) -> Step {
        Step { sample: sample(at_s, Some(at_s), None), seconds: 1.0, lookups: 0.0 }
    }

    fn reading(at: Instant, cpu_ms: Option<u64>, hits: f64, misses: f64, queued: Option<f64>) -> Reading {
        let figures = Figures { hits: Some(hits), misses: Some(misses), queued };
        let resident = Resident { largest_bytes: 30, sum_bytes: 50 };
        Reading { at, cpu: vec![cpu_ms.map(Duration::from_millis)], resident, figures: vec![Some(figures)] }
    }

    #[test]
    fn values_of_one_metric_are_added_up() {
        let page = "# TYPE x_total counter\nx_total{op=\"put\",code=\"}\"} 2\nx_total{op=\"get\"} 3 1700000000\n\
            x_total_more 7\nx_total 1.5\nx_total{op=\"list\"} NaN\nempty 0\n";
        assert_eq!(metric(page, "x_total"), Some(6.5));
        assert_eq!(metric(page, "empty"), Some(0.0));
        assert_eq!(metric(page, "x"), None);
        assert_eq!(metric("", "x_total"), None);
    }

    #[test]
    fn a_step_tells_what_changed_and_what_is() {
        let start = clock::system().now();
        let (one, three) = (start + Duration::from_secs(1), start + Duration::from_secs(3));
        let last = reading(one, Some(1_000), 10.0, 10.0, Some(9.0));
        let now = reading(three, Some(4_000), 13.0, 11.0, Some(5.0));
        let seen = Step::between(start, &last, &now);
        let expect = Sample {
            largest_rss_bytes: Some(30),
            queued: Some(5.0),
            cache_hit_share: Some(0.75),
            ..sample(3.0, Some(1.5), Some(50))
        };
        assert_eq!(seen, Step { sample: expect, seconds: 2.0, lookups: 4.0 });
    }

    #[test]
    fn what_nobody_tells_is_none() {
        let start = clock::system().now();
        let silent = || Reading { at: start, cpu: vec![None], resident: Resident::default(), figures: vec![None] };
        assert_eq!(Step::between(start, &silent(), &silent()).sample, sample(0.0, None, None));
        let idle = reading(start, None, 7.0, 7.0, None);
        assert_eq!(Step::between(start, &idle, &idle).sample.cache_hit_share, None);
    }

    #[test]
    fn a_counter_that_began_again_is_counted_from_nothing() {
        let start = clock::system().now();
        let (last, now) = (reading(start, None, 90.0, 90.0, None), reading(start, None, 1.0, 3.0, None));
        assert_eq!(Step::between(start, &last, &now).sample.cache_hit_share, Some(0.25));
    }

    #[test]
    fn processes_that_are_gone_do_not_hide_the_others() {
        let ms = |ms: u64| Some(Duration::from_millis(ms));
        assert_eq!(busy(&[ms(5), ms(9), None], &[ms(8), None, ms(4)]), ms(3));
        assert_eq!(busy(&[ms(5)], &[None]), None);
        assert_eq!(busy(&[], &[]), None);
    }

    #[test]
    fn merged_steps_keep_means_and_peaks() {
        let old = Sample { queued: Some(3.0), cache_hit_share: Some(1.0), ..sample(1.0, Some(4.0), Some(70)) };
        let new = Sample { queued: None, cache_hit_share: Some(0.5), ..sample(3.0, Some(1.0), Some(50)) };
        let merged = Step { sample: old, seconds: 1.0, lookups: 30.0 };
        let merged = merged.merge(Step { sample: new, seconds: 2.0, lookups: 10.0 });
        let expect = Sample { queued: Some(3.0), cache_hit_share: Some(0.875), ..sample(3.0, Some(2.0), Some(70)) };
        assert_eq!(merged, Step { sample: expect, seconds: 3.0, lookups: 40.0 });
    }

    #[test]
    fn the_list_stays_short_and_the_step_doubles() {
        let mut series = Series::new(4);
        let lengths: Vec<u64> = (1..=5).map(|at| series.push(step(f64::from(at))).as_secs()).collect();
        assert_eq!(lengths, [1, 1, 1, 1, 2]);
        let seen: Vec<_> = series.steps.iter().map(|step| (step.sample.at_s, step.sample.cpu_cores)).collect();
        assert_eq!(seen, [(2.0, Some(1.5)), (4.0, Some(3.5)), (5.0, Some(5.0))]);
        for max in [0, 1] {
            let mut series = Series::new(max);
            for at in 1..=9 {
                series.push(step(f64::from(at)));
                assert_eq!(series.steps.len(), 1);
            }
        }
    }

    #[tokio::test]
    async fn a_server_is_read_and_a_silent_one_is_given_up() {
        let page = "flotilla_cache_hits_total 3\n\
            flotilla_queue_depth{cluster=\"a\"} 2\nflotilla_queue_depth{cluster=\"b\"} 4\n";
        let (base, _server) = serve(page).await;
        let dev = Dev { processes: vec![this_process(&base), this_process("")] };
        let reading = Reading::take(&dev, &*clock::system()).await;
        assert_eq!(reading.figures, [Some(Figures { hits: Some(3.0), misses: None, queued: Some(6.0) }), None]);
        assert!(reading.cpu.iter().all(Option::is_some) && reading.resident.sum_bytes > 0);

        // It takes connections, as the system does for a stopped process, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let base = format!("http://{}", silent.local_addr().expect("it is bound"));
        assert_eq!(scrape(&base, Duration::from_millis(20)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_gives_a_sample_for_every_step() {
        let clock = clock::system();
        let dev = Arc::new(Dev { processes: vec![this_process("")] });
        let watch = Watch::start(dev, clock.clone(), clock.now(), 4);
        sleep(STEP_FIRST * 19 / 2).await;
        let seen = watch.stop();
        let times: Vec<f64> = seen.iter().map(|sample| sample.at_s.round()).collect();
        assert_eq!(times, [4.0, 7.0, 9.0]);
        assert!(seen.iter().all(|sample| sample.cpu_cores.is_some() && sample.rss_bytes.is_some()), "{seen:?}");
    }
}
