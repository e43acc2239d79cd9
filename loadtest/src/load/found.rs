//! What a runner found, in a form in which it is added up with what others found on other hosts. Pure.

use serde::{Deserialize, Serialize};

use super::{
    knee,
    report::{RunnerCost, WorkerRow},
    schedule::PhaseSpan,
    stats::Stats,
    verify::Checked,
};

/// What one runner, or several together, found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) interrupted: bool,
    /// From the start to the last answer.
    pub(super) seconds: f64,
    pub(super) stats: Stats,
    pub(super) phases: Vec<PhaseSpan>,
    pub(super) knee: Option<knee::Found>,
    /// Requests of a trace that were not sent.
    pub(super) skipped: u64,
    /// Requests that found no room in the queue.
    pub(super) dropped: u64,
    pub(super) connections: usize,
    pub(super) cpu_seconds: f64,
    pub(super) lost: u64,
    pub(super) corrupt: u64,
    pub(super) unknown: u64,
    pub(super) unreadable: u64,
    pub(super) checked_files: u64,
    pub(super) checked_bytes: u64,
    pub(super) left_files: u64,
    /// What makes the figures worthless, of each runner by itself.
    pub(super) invalid_because: Vec<String>,
    /// The runners, if there are several.
    pub(super) workers: Vec<WorkerRow>,
}

impl Found {
    /// Adds what reading back found.
    pub(super) fn checked(&mut self, checked: Checked) {
        for (failure, why) in &checked.failures {
            self.stats.failed(*failure, why);
        }
        (self.unknown, self.unreadable) = (checked.unknown, checked.unreadable);
        (self.checked_files, self.checked_bytes) = (checked.files, checked.bytes);
    }

    /// Gives what the runner cost and how late it was.
    pub(super) fn cost(&self) -> RunnerCost {
        let Self { stats, dropped, connections, cpu_seconds, .. } = self;
        let (per_operation_us, per_gb) = stats.total.cost(*cpu_seconds);
        RunnerCost {
            cpu_seconds: *cpu_seconds,
            cpu_us_per_operation: Some(per_operation_us),
            cpu_seconds_per_gb: per_gb,
            lag_p99_ms: stats.lag.at_ms(0.99),
            dropped: *dropped,
            connections: *connections,
        }
    }

    /// Judges whether this runner was fast enough, once all is counted.
    pub(super) fn judge(&mut self) {
        self.invalid_because = match &self.knee {
            // A search goes beyond what anybody bears, the runner too: it is asked at which rate that was.
            Some(knee) => knee.invalid_because().into_iter().collect(),
            None => self.cost().invalid_because(),
        };
    }

    /// Adds what another runner found, which began so many seconds later. What the leader knows itself (series, phases, whether it stopped the load) is left out.
    pub(super) fn merge(&mut self, other: Self, later_s: f64) {
        self.seconds = self.seconds.max(other.seconds + later_s);
        self.stats.merge(other.stats, later_s);
        self.skipped += other.skipped;
        self.dropped += other.dropped;
        self.connections += other.connections;
        self.cpu_seconds += other.cpu_seconds;
        self.lost += other.lost;
        self.corrupt += other.corrupt;
        self.unknown += other.unknown;
        self.unreadable += other.unreadable;
        self.checked_files += other.checked_files;
        self.checked_bytes += other.checked_bytes;
        self.left_files += other.left_files;
        self.invalid_because.extend(other.invalid_because);
        self.workers.extend(other.workers);
    }
}
