//! Makes the report of a run out of what was planned, measured and read back.

use std::time::{Duration, SystemTime};

use super::{
    machine::Machine,
    measure::Measured,
    operation::Operation,
    plan::Plan,
    profile::Pacing,
    report::{self, Addresses, Mistake, Report, Row, RunnerCost, ServerCost},
    schedule::spans,
    stats,
    verify::Checked,
};
use crate::{
    command::{EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG},
    procfs,
};

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
            started: humantime::format_rfc3339_seconds(
                SystemTime::UNIX_EPOCH + Duration::from_millis(plan.run.clock.wall_ms()),
            )
            .to_string(),
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
            total: stats::Counts::default().figures(1.0),
            operations: Vec::new(),
            errors: Vec::new(),
            longest_gap: None,
            faults: Vec::new(),
            series: Vec::new(),
            servers: Vec::new(),
            runner: RunnerCost::default(),
            server_totals: ServerCost::default(),
            thresholds: Vec::new(),
        }
    }

    /// Fills in what was measured and read back.
    pub(super) fn end(&mut self, plan: &Plan, measured: Measured, checked: Checked) {
        let Measured { engine, interrupted, seconds, own_cpu, server_cpu, samples, events } = measured;
        let mut stats = engine.stats();
        for (failure, why) in &checked.failures {
            stats.failed(*failure, why);
        }
        self.interrupted = interrupted;
        (self.lost, self.corrupt) = (plan.run.lost(), plan.run.corrupt());
        (self.unknown, self.unreadable) = (checked.unknown, checked.unreadable);
        (self.checked_files, self.checked_bytes) = (checked.files, checked.bytes);
        self.seconds = seconds;
        self.total = stats.total.figures(seconds);
        let row = |(&(operation, class), counts): (&(Operation, Option<usize>), &stats::Counts)| Row {
            operation: operation.name().to_owned(),
            size: class.map(|class| plan.run.sizes.name(class)),
            figures: counts.figures(seconds),
        };
        self.operations = stats.kinds.iter().map(row).collect();
        let mistake = |(kind, (count, example)): (&stats::Failure, &(u64, String))| Mistake {
            kind: *kind,
            count: *count,
            example: example.clone(),
        };
        self.errors = stats.failures.iter().map(mistake).collect();
        self.longest_gap = Some(stats.gap).filter(|gap| gap.seconds > 0.0);
        self.series = std::mem::take(&mut stats.steps);
        self.faults = report::recoveries(events, &stats.gaps, &self.series);
        let (operations, gb) = (self.total.started.max(1) as f64, self.total.bytes as f64 / 1e9);
        let per_gb = |seconds: f64| (gb > 0.0).then(|| seconds / gb);
        let own = own_cpu.unwrap_or_default().as_secs_f64();
        self.runner = RunnerCost {
            cpu_seconds: own,
            cpu_us_per_operation: Some(own * 1e6 / operations),
            cpu_seconds_per_gb: per_gb(own),
            lag_p99_ms: stats.lag_ms(0.99),
            dropped: engine.dropped(),
            connections: plan.profile.connections,
        };
        let servers = server_cpu.map(|cpu| cpu.as_secs_f64());
        self.server_totals = ServerCost {
            cpu_seconds: servers,
            cpu_us_per_operation: servers.map(|seconds| seconds * 1e6 / operations),
            cpu_seconds_per_gb: servers.and_then(per_gb),
            largest_rss_bytes: samples.iter().filter_map(|sample| sample.largest_rss_bytes).max(),
            rss_bytes: samples.iter().filter_map(|sample| sample.rss_bytes).max(),
        };
        self.servers = samples;
        self.invalid_because = self.runner.invalid_because();
        self.valid = self.invalid_because.is_empty();
        self.thresholds = report::limits(&plan.profile.thresholds, &self.total, self.longest_gap);
    }

    /// Gives the exit code that it stands for.
    pub(super) fn exit_code(&self) -> u8 {
        let failed = self.thresholds.iter().any(|limit| !limit.ok);
        match (self.interrupted, self.lost + self.corrupt) {
            (true, _) => EXIT_INTERRUPTED,
            (false, 1..) => EXIT_WRONG,
            (false, 0) if failed || !self.valid || self.unreadable > 0 || self.total.ok == 0 => EXIT_ERROR,
            (false, 0) => EXIT_OK,
        }
    }
}
