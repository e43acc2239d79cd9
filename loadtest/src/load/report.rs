//! The report of a load: everything that a reader or a later comparison needs, as plain data with a version. Pure.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{
    counts::{Failure, Figures},
    inject::Event,
    knee,
    machine::Machine,
    profile::Thresholds,
    schedule::PhaseSpan,
    series::{Gap, Step},
    watch::Sample,
};

/// The version of the JSON report.
pub(crate) const SCHEMA: u32 = 1;
/// What tells it from other reports.
pub(crate) const KIND: &str = "load";
/// Later than this the runner says that it is the bottleneck itself, in milliseconds: a user notices from there on.
pub(crate) const LAG_MAX_MS: f64 = 25.0;

/// What happens within this time under one name is one fault, in seconds.
const AT_ONCE_S: f64 = 0.5;

/// All that a run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) kind: String,
    pub(crate) profile: String,
    pub(crate) description: String,
    pub(crate) rev: String,
    /// When it began: RFC 3339.
    pub(crate) started: String,
    pub(crate) seed: u64,
    /// Whether requests are sent at their time, whether or not earlier ones were answered.
    pub(crate) open_loop: bool,
    pub(crate) machine: Machine,
    pub(crate) load_1min: Option<f64>,
    pub(crate) target: Addresses,
    pub(crate) valid: bool,
    pub(crate) invalid_because: Vec<String>,
    pub(crate) interrupted: bool,
    /// Acked files that were not there.
    pub(crate) lost: u64,
    /// Files that were not what was acked.
    pub(crate) corrupt: u64,
    /// Files whose last write's outcome is not known; what was read back is one of its outcomes.
    pub(crate) unknown: u64,
    pub(crate) checked_files: u64,
    pub(crate) checked_bytes: u64,
    /// Files that could not be read back, so that nothing is known of them.
    pub(crate) unreadable: u64,
    /// Files that could not be removed.
    pub(crate) left_files: u64,
    pub(crate) seconds: f64,
    pub(crate) phases: Vec<PhaseSpan>,
    pub(crate) total: Figures,
    pub(crate) operations: Vec<Row>,
    pub(crate) errors: Vec<Mistake>,
    pub(crate) longest_gap: Option<Gap>,
    pub(crate) faults: Vec<FaultRow>,
    pub(crate) series: Vec<Step>,
    pub(crate) servers: Vec<Sample>,
    pub(crate) runner: RunnerCost,
    pub(crate) server_totals: ServerCost,
    pub(crate) thresholds: Vec<Limit>,
    /// Whether the load is still going on, so that nothing is read back yet.
    #[serde(default)]
    pub(crate) running: bool,
    /// What a search for the highest rate found.
    #[serde(default)]
    pub(crate) knee: Option<knee::Found>,
    /// Requests of a trace that were not sent: their file was not there, was in use, or is not known.
    #[serde(default)]
    pub(crate) skipped: u64,
    /// The runners, if there were several.
    #[serde(default)]
    pub(crate) workers: Vec<WorkerRow>,
}

/// What was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) kind: String,
    pub(crate) addresses: Vec<String>,
}

/// Figures of one operation on files of one size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) operation: String,
    pub(crate) size: Option<String>,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mistake {
    pub(crate) kind: Failure,
    pub(crate) count: u64,
    pub(crate) example: String,
}

/// A fault that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FaultRow {
    #[serde(flatten)]
    pub(crate) event: Event,
    /// How long it was felt; none if it was not.
    pub(crate) recovered_s: Option<f64>,
}

/// What the runner itself cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RunnerCost {
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_us_per_operation: Option<f64>,
    pub(crate) cpu_seconds_per_gb: Option<f64>,
    /// How late it sent what was due while a connection was free.
    pub(crate) lag_p99_ms: f64,
    /// Requests that it did not send at all.
    pub(crate) dropped: u64,
    pub(crate) connections: usize,
}

/// One of several runners.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct WorkerRow {
    pub(crate) name: String,
    /// How it was started.
    pub(crate) command: String,
    pub(crate) version: String,
    pub(crate) cpus: usize,
    pub(crate) requests: u64,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) lag_p99_ms: f64,
    /// After the time at which all were to begin.
    pub(crate) late_ms: f64,
    /// Its wall clock against the leader's; known to half a round trip.
    pub(crate) clock_ahead_ms: f64,
    pub(crate) round_trip_ms: f64,
}

/// What the servers cost, where they are local.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ServerCost {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) cpu_us_per_operation: Option<f64>,
    pub(crate) cpu_seconds_per_gb: Option<f64>,
    pub(crate) largest_rss_bytes: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
}

/// A threshold and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) limit: f64,
    pub(crate) value: Option<f64>,
    pub(crate) ok: bool,
}

impl RunnerCost {
    /// Says what makes figures worthless: everything where the runner, and not the store, was too slow.
    pub(crate) fn invalid_because(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.dropped > 0 {
            reasons.push(format!("{} requests found no room in the runner's queue and were not sent", self.dropped));
        }
        if self.lag_p99_ms > LAG_MAX_MS {
            reasons.push(format!(
                "the runner was the bottleneck: it sent 1 % of the requests more than {:.0} ms late, although connections \
                 were free; give it more processor time, or hold the servers back",
                self.lag_p99_ms
            ));
        }
        reasons
    }
}

/// Compares figures with thresholds. What was not measured fails.
pub(crate) fn limits(thresholds: &Thresholds, total: &Figures, gap: Option<Gap>) -> Vec<Limit> {
    let Thresholds { p50_ms, p99_ms, p999_ms, ok_p99_ms, failed_percent, gap_seconds, per_second_min } = *thresholds;
    let failed = (total.started > 0).then(|| total.failed as f64 * 100.0 / total.started as f64);
    let latency = total.latency_ms;
    let at_most = [
        ("p50_ms", p50_ms, latency.map(|ms| ms.p50)),
        ("p99_ms", p99_ms, latency.map(|ms| ms.p99)),
        ("p999_ms", p999_ms, latency.map(|ms| ms.p999)),
        ("ok_p99_ms", ok_p99_ms, total.ok_latency_ms.map(|ms| ms.p99)),
        ("failed_percent", failed_percent, failed),
        ("gap_seconds", gap_seconds, gap.map(|gap| gap.seconds)),
    ];
    let limit = |name: &str, limit, value: Option<f64>, ok| Limit { name: name.to_owned(), limit, value, ok };
    let mut limits: Vec<Limit> = at_most
        .into_iter()
        .filter_map(|(name, most, value)| {
            let most = most?;
            Some(limit(name, most, value, value.is_some_and(|value| value <= most)))
        })
        .collect();
    if let Some(least) = per_second_min {
        limits.push(limit("per_second_min", least, Some(total.per_second), total.per_second >= least));
    }
    limits
}

/// Whether both are of one fault.
fn same(a: &Event, b: &Event) -> bool {
    a.due_s.to_bits() == b.due_s.to_bits() && a.text == b.text
}

/// Says of each fault how long it was felt: until the end of the last gap, or the last second with a failure, that began before
/// the next fault. What one fault did to several processes at once is one row.
pub(crate) fn recoveries(events: Vec<Event>, gaps: &[Gap], steps: &[Step]) -> Vec<FaultRow> {
    let mut rows: Vec<FaultRow> = Vec::new();
    for event in events {
        match rows.last_mut() {
            Some(last) if same(&last.event, &event) && event.at_s - last.event.at_s < AT_ONCE_S => {
                last.event.what = format!("{}, {}", last.event.what, event.what);
            }
            _ => rows.push(FaultRow { event, recovered_s: None }),
        }
    }
    for at in 0..rows.len() {
        let event = &rows[at].event;
        let at_s = &event.at_s;
        if rows[..at].iter().any(|earlier| same(&earlier.event, event)) {
            continue; // its end, which the row of its beginning covers
        }
        let next_s = rows[at..].iter().find(|row| !same(&row.event, event)).map_or(f64::INFINITY, |row| row.event.at_s);
        let gap_ends = gaps.iter().map(|gap| (gap.at_s, gap.at_s + gap.seconds));
        let bad_seconds = steps.iter().filter(|step| step.failed > 0).map(|step| (step.at_s, step.at_s + 1.0));
        let felt = gap_ends.chain(bad_seconds).filter(|(from_s, to_s)| *to_s > *at_s && *from_s < next_s);
        let last_s = felt.map(|(_, to_s)| to_s).reduce(f64::max);
        rows[at].recovered_s = last_s.map(|last_s| last_s - at_s);
    }
    rows
}
