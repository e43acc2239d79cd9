//! Makes the report of a run out of what was planned, measured and read back.

use std::time::{Duration, SystemTime};

use super::{
    counts::{Counts, Failure},
    found::Found,
    machine::Machine,
    observe::Observed,
    operation::Operation,
    plan::Plan,
    profile::Pacing,
    report::{self, Addresses, Mistake, Report, Row, RunnerCost, ServerCost},
    schedule::spans,
};
use crate::{
    command::{EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG},
    procfs,
};

/// Writes a time in milliseconds since 1970.
pub(super) fn rfc3339(ms: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

impl Report {
    /// Begins the report of a plan.
    pub(super) fn begin(plan: &Plan, rev: String) -> Self {
        let store = &plan.run.store;
        Self {
            schema: report::SCHEMA,
            kind: report::KIND.to_owned(),
            profile: plan.name.clone(),
            description: plan.profile.description.clone(),
            rev,
            started: rfc3339(plan.run.clock.wall_ms()),
            seed: plan.seed,
            open_loop: plan.profile.pacing == Pacing::Open,
            machine: Machine::this(),
            load_1min: procfs::load_1min(),
            target: Addresses { kind: store.kind().to_owned(), addresses: store.addresses.clone() },
            valid: false,
            invalid_because: Vec::new(),
            interrupted: false,
            lost: 0,
            corrupt: 0,
            unknown: 0,
            checked_files: 0,
            checked_bytes: 0,
            unreadable: 0,
            left_files: 0,
            seconds: 0.0,
            phases: spans(&plan.profile.phases),
            total: Counts::default().figures(1.0),
            operations: Vec::new(),
            errors: Vec::new(),
            longest_gap: None,
            faults: Vec::new(),
            series: Vec::new(),
            servers: Vec::new(),
            runner: RunnerCost::default(),
            server_totals: ServerCost::default(),
            thresholds: Vec::new(),
            running: false,
            knee: None,
            skipped: 0,
            workers: Vec::new(),
        }
    }

    /// Fills in what was found and seen.
    pub(super) fn end(&mut self, plan: &Plan, found: Found, observed: Observed) {
        let Observed { server_cpu, samples, events } = observed;
        self.runner = found.cost();
        let Found { interrupted, seconds, stats, .. } = found;
        (self.interrupted, self.seconds) = (interrupted, seconds);
        (self.lost, self.corrupt) = (found.lost, found.corrupt);
        (self.unknown, self.unreadable) = (found.unknown, found.unreadable);
        (self.checked_files, self.checked_bytes) = (found.checked_files, found.checked_bytes);
        (self.left_files, self.skipped) = (found.left_files, found.skipped);
        (self.phases, self.knee, self.workers) = (found.phases, found.knee, found.workers);
        self.total = stats.total.figures(seconds);
        let row = |(&(operation, class), counts): (&(Operation, Option<usize>), &Counts)| Row {
            operation: operation.name().to_owned(),
            size: class.map(|class| plan.run.sizes.name(class)),
            figures: counts.figures(seconds),
        };
        self.operations = stats.kinds.iter().map(row).collect();
        let mistake = |(kind, (count, example)): (&Failure, &(u64, String))| Mistake {
            kind: *kind,
            count: *count,
            example: example.clone(),
        };
        self.errors = stats.failures.iter().map(mistake).collect();
        self.longest_gap = Some(stats.gap).filter(|gap| gap.seconds > 0.0);
        self.series = stats.series.steps().to_vec();
        self.faults = report::recoveries(events, &stats.gaps, &self.series);
        let servers = server_cpu.map(|cpu| cpu.as_secs_f64());
        let cost = servers.map(|seconds| stats.total.cost(seconds));
        self.server_totals = ServerCost {
            cpu_seconds: servers,
            cpu_us_per_operation: cost.map(|(per_operation_us, _)| per_operation_us),
            cpu_seconds_per_gb: cost.and_then(|(_, per_gb)| per_gb),
            largest_rss_bytes: samples.iter().filter_map(|sample| sample.largest_rss_bytes).max(),
            rss_bytes: samples.iter().filter_map(|sample| sample.rss_bytes).max(),
        };
        self.servers = samples;
        self.invalid_because = found.invalid_because;
        self.valid = self.invalid_because.is_empty();
        self.thresholds = report::limits(&plan.profile.thresholds, &self.total, self.longest_gap);
    }

    /// Gives the exit code that it stands for.
    pub(super) fn exit_code(&self) -> u8 {
        let failed = self.thresholds.iter().any(|limit| !limit.ok);
        match (self.interrupted, self.lost + self.corrupt) {
            (true, _) => EXIT_INTERRUPTED,
            (false, 1..) => EXIT_WRONG,
            (false, 0)
                if failed || self.is_knee_missing() || !self.valid || self.unreadable > 0 || self.total.ok == 0 =>
            {
                EXIT_ERROR
            }
            (false, 0) => EXIT_OK,
        }
    }

    /// Whether a rate was searched for and not even the first was borne.
    fn is_knee_missing(&self) -> bool {
        self.knee.as_ref().is_some_and(|knee| knee.highest_borne.is_none())
    }
}
