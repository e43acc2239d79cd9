//! The process's metrics: one recorder with fixed buckets, kept small while nobody scrapes it, and the metrics of requests.
//!
//! It must not know which requests there are; operations are named by the servers.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use http::StatusCode;
use metrics::{Counter, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio_util::sync::CancellationToken;

/// How often samples are folded into buckets; between two folds every sample costs 8 bytes.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How many operations have series of their own; the servers name fewer, more would be a bug that must not fill the memory.
pub const OPS_MAX: usize = 64;

/// Seconds of a request: from a cached metadata read to a long upload.
const REQUEST_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Seconds of a sync: from a virtual disk's 25 µs to one that stalls.
const SYNC_BUCKETS: [f64; 14] =
    [0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
/// Seconds in a queue: from a slot that is just being freed to the longest wait that is answered.
const WAIT_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Every status that our answers have; any other counts as `other`.
const STATUSES: [u16; 30] = [
    200, 201, 202, 204, 206, 301, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 411, 412, 413, 416, 421, 423, 429,
    500, 501, 502, 503, 504, 505, 507,
];

/// A handle of the process's recorder.
#[derive(Debug, Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// Renders all metrics as Prometheus text, with what the system says of the process at this moment.
    #[must_use]
    pub fn render(&self) -> String {
        #[cfg(feature = "failpoints")]
        for (name, hits) in flotilla_env::failpoint::hits() {
            counter!("flotilla_failpoint_hits_total", "name" => name).absolute(hits);
        }
        self.process.collect();
        self.recorder.render()
    }

    /// Folds samples into buckets until `stop`.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.recorder.run_upkeep();
        }
    }
}

/// Why the metrics can't be recorded.
#[derive(Debug, thiserror::Error)]
#[error("another metrics recorder is installed in this process")]
pub struct Occupied;

/// Installs the process's recorder, once, and keeps it small until `stop`. Call it before any metric's handle is made; calling
/// it again gives the same recorder.
///
/// # Errors
/// [`Occupied`] if the process already records its metrics elsewhere.
///
/// # Panics
/// Outside a tokio runtime.
pub fn install_metrics(stop: &CancellationToken) -> Result<Metrics, Occupied> {
    static INSTALLED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let handle = INSTALLED.get_or_init(|| builder().install_recorder().ok()).clone().ok_or(Occupied)?;
    gauge!("flotilla_build_info", "rev" => crate::REV).set(1.0);
    let metrics = Metrics { recorder: handle, process: Collector::default() };
    tokio::spawn(metrics.clone().upkeep(stop.clone()));
    Ok(metrics)
}

fn builder() -> PrometheusBuilder {
    let fixed = |builder: PrometheusBuilder, name: &str, buckets: &[f64]| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets).expect("the buckets are not empty")
    };
    // The buckets for any other histogram are those of requests, so that none becomes an unbounded summary.
    let builder = PrometheusBuilder::new().set_buckets(&REQUEST_BUCKETS).expect("the buckets are not empty");
    let builder = fixed(builder, "flotilla_request_seconds", &REQUEST_BUCKETS);
    let builder = fixed(builder, "flotilla_sync_seconds", &SYNC_BUCKETS);
    fixed(builder, "flotilla_queue_wait_seconds", &WAIT_BUCKETS)
}

/// One request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// The operation.
    pub op: &'static str,
    /// The status answered; none when the client was gone before.
    pub status: Option<StatusCode>,
    /// From the head's arrival to the answer's last byte.
    pub elapsed: Duration,
    /// Body bytes received.
    pub received: u64,
    /// Body bytes sent.
    pub sent: u64,
}

/// The metrics of requests, their handles made once per operation and status.
#[derive(Debug, Clone, Default)]
pub struct RequestMetrics {
    ops: Arc<RwLock<HashMap<&'static str, Arc<OpMetrics>>>>,
}

impl RequestMetrics {
    /// Counts a request.
    pub fn observe(&self, seen: Observation) {
        let op = self.op(seen.op);
        op.answered(seen.status).increment(1);
        op.seconds.record(seen.elapsed);
        op.received.increment(seen.received);
        op.sent.increment(seen.sent);
    }

    fn op(&self, name: &'static str) -> Arc<OpMetrics> {
        if let Some(op) = self.ops.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(op);
        }
        let mut ops = self.ops.write().unwrap_or_else(PoisonError::into_inner);
        let name = if ops.len() < OPS_MAX { name } else { "other" };
        Arc::clone(ops.entry(name).or_insert_with(|| Arc::new(OpMetrics::new(name))))
    }
}

#[derive(Debug)]
struct OpMetrics {
    name: &'static str,
    seconds: Histogram,
    received: Counter,
    sent: Counter,
    answered: [OnceLock<Counter>; STATUSES.len()],
    other: OnceLock<Counter>,
    gone: OnceLock<Counter>,
}

impl OpMetrics {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            seconds: histogram!("flotilla_request_seconds", "op" => name),
            received: counter!("flotilla_body_bytes_total", "op" => name, "dir" => "in"),
            sent: counter!("flotilla_body_bytes_total", "op" => name, "dir" => "out"),
            answered: [const { OnceLock::new() }; STATUSES.len()],
            other: OnceLock::new(),
            gone: OnceLock::new(),
        }
    }

    fn answered(&self, status: Option<StatusCode>) -> &Counter {
        let series = |code: String| counter!("flotilla_requests_total", "op" => self.name, "code" => code);
        let Some(status) = status else { return self.gone.get_or_init(|| series("gone".to_owned())) };
        match STATUSES.binary_search(&status.as_u16()) {
            Ok(at) => self.answered[at].get_or_init(|| series(STATUSES[at].to_string())),
            Err(_) => self.other.get_or_init(|| series("other".to_owned())),
        }
    }
}
