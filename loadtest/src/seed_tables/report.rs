//! Figures of what was measured, medians over repetitions, and the report as JSON. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::tally::{REASONS_MAX, Tally};
use crate::{command::RunArgs, dev::Resident, pool::File};

/// The version of the JSON report.
const SCHEMA: u32 = 1;

/// What one row cost, once.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) elapsed: Duration,
    /// User and system time of all server processes; none if it is not known.
    pub(super) server_cpu: Option<Duration>,
    /// The same of this process.
    pub(super) own_cpu: Option<Duration>,
    /// Most memory of the server processes meanwhile.
    pub(super) resident: Option<Resident>,
    pub(super) tally: Tally,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Bytes, by one client.
    Bytes,
    /// Bytes, by several clients, who should be served alike.
    Crowd,
    /// A number of requests that was given, which took so long together.
    Batch,
    /// Requests.
    Operations,
}

/// A figure of a row. The names in JSON are the variants' in snake case; GB = 10^9 bytes, MB = 10^6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    /// Wall time per file, or of the whole crowd.
    Seconds,
    /// Content per second of wall time.
    MbPerSecond,
    /// Processor time of all servers per GB of content.
    CpuSecondsPerGb,
    /// Processor time of this client per GB of content.
    OwnCpuSecondsPerGb,
    /// Requests per second.
    PerSecond,
    /// Processor time of all servers per request.
    CpuUsPerOperation,
    /// Processor time of this client per request.
    OwnCpuUsPerOperation,
    /// Median latency.
    P50Ms,
    /// 99th percentile of latency.
    P99Ms,
    /// Worst latency.
    MaxMs,
    /// The farthest that a client's time is from the mean, in percent.
    SpreadPercent,
    /// Most resident memory of one server process.
    LargestMb,
    /// Most resident memory of all server processes together.
    ServersMb,
}

/// The figures of one measurement, or the medians of several.
pub(super) type Figures = BTreeMap<Figure, f64>;

/// Makes figures of a measurement; what is not known is left out.
pub(super) fn figures(shape: Shape, measured: &Measured) -> Figures {
    let Measured { elapsed, server_cpu, own_cpu, resident, tally } = measured;
    let operations = tally.operations() as f64;
    if operations == 0.0 {
        return Figures::new();
    }
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let gb = tally.bytes as f64 / 1e9;
    let latency_ms = |quantile| Some(tally.latency_us.value_at_quantile(quantile) as f64 / 1e3);
    let bytes = [
        (Figure::Seconds, Some(if shape == Shape::Crowd { seconds } else { seconds / operations })),
        (Figure::MbPerSecond, Some(gb * 1e3 / seconds)),
        (Figure::CpuSecondsPerGb, server_cpu.map(|cpu| cpu.as_secs_f64() / gb)),
        (Figure::OwnCpuSecondsPerGb, own_cpu.map(|cpu| cpu.as_secs_f64() / gb)),
        (Figure::SpreadPercent, (shape == Shape::Crowd).then(|| spread_percent(&tally.client_seconds))),
    ];
    let requests = [
        (Figure::Seconds, (shape == Shape::Batch).then_some(seconds)),
        (Figure::PerSecond, Some(operations / seconds)),
        (Figure::CpuUsPerOperation, server_cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / operations)),
        (Figure::OwnCpuUsPerOperation, own_cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / operations)),
        (Figure::P50Ms, latency_ms(0.5)),
        (Figure::P99Ms, latency_ms(0.99)),
    ];
    let always = [
        (Figure::MaxMs, Some(tally.latency_us.max() as f64 / 1e3)),
        (Figure::LargestMb, resident.map(|resident| resident.largest_bytes as f64 / 1e6)),
        (Figure::ServersMb, resident.map(|resident| resident.sum_bytes as f64 / 1e6)),
    ];
    let own: &[_] = match shape {
        Shape::Bytes | Shape::Crowd => &bytes,
        Shape::Batch | Shape::Operations => &requests,
    };
    own.iter().copied().chain(always).filter_map(|(figure, value)| Some((figure, value?))).collect()
}

/// Gives how far the farthest value is from the mean, in percent of it.
fn spread_percent(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|value| (value - mean).abs() / mean * 100.0).fold(0.0, f64::max)
}

/// Gives the median of each figure over the samples that have it.
fn medians(samples: &[Figures]) -> Figures {
    let mut columns: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (&figure, &value) in samples.iter().flatten() {
        columns.entry(figure).or_default().push(value);
    }
    columns.into_iter().map(|(figure, values)| (figure, median(values))).collect()
}

/// Gives the median of values, of which there is at least one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// One row of the report.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// Requests that failed, over all repetitions.
    pub(super) failed: u64,
    /// The medians.
    pub(super) figures: Figures,
    /// Each repetition's figures.
    pub(super) samples: Vec<Figures>,
}

/// The most memory that a server process ever had.
#[derive(Debug, Serialize)]
pub(super) struct ProcessPeak {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) peak_bytes: u64,
}

/// All that a run found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    profile: &'static str,
    /// Clients wait for an answer before they send again: latencies leave out what would have been sent meanwhile.
    closed_loop: bool,
    pub(super) rev: String,
    pub(super) seed: u64,
    pub(super) scale: f64,
    pub(super) repeat: u32,
    pub(super) cpus: usize,
    /// The machine's load before the first row.
    pub(super) load_1min: Option<f64>,
    pub(super) interrupted: bool,
    pub(super) lost: u64,
    pub(super) corrupt: u64,
    pub(super) failed: u64,
    pub(super) reasons: Vec<String>,
    /// Files that could not be removed.
    pub(super) left_files: usize,
    pub(super) rows: Vec<Row>,
    pub(super) processes: Vec<ProcessPeak>,
}

impl Report {
    /// Begins a report.
    pub(super) fn new(args: &RunArgs, rev: String, load_1min: Option<f64>) -> Self {
        Self {
            schema: SCHEMA,
            profile: super::NAME,
            closed_loop: true,
            rev,
            seed: args.seed,
            scale: args.scale,
            repeat: args.repeat,
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            load_1min,
            interrupted: false,
            lost: 0,
            corrupt: 0,
            failed: 0,
            reasons: Vec::new(),
            left_files: 0,
            rows: Vec::new(),
            processes: Vec::new(),
        }
    }

    /// Adds one measurement of a row and gives the files that it uploaded.
    pub(super) fn add(&mut self, name: String, shape: Shape, measured: Measured) -> Vec<File> {
        let sample = figures(shape, &measured);
        let failed = measured.tally.failed;
        tracing::info!(name, failed, figures = ?sample, "row measured");
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name, failed: 0, figures: Figures::new(), samples: Vec::new() });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.failed += failed;
        row.samples.push(sample);
        row.figures = medians(&row.samples);
        self.check(measured.tally)
    }

    /// Takes note of what went wrong in work, measured or not, and gives the files that it uploaded.
    pub(super) fn check(&mut self, tally: Tally) -> Vec<File> {
        self.lost += tally.lost;
        self.corrupt += tally.corrupt;
        self.failed += tally.failed;
        let room = REASONS_MAX.saturating_sub(self.reasons.len());
        self.reasons.extend(tally.reasons.into_iter().take(room));
        tally.acked
    }

    /// Counts the findings: files that were lost or wrong.
    pub(super) fn wrong(&self) -> u64 {
        self.lost + self.corrupt
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Figure, Figures, Measured, Shape, figures, median, medians, spread_percent};
    use crate::dev::Resident;

    fn measured(operations: u64, bytes: u64) -> Measured {
        let mut measured = Measured {
            elapsed: Duration::from_secs(2),
            server_cpu: Some(Duration::from_secs(1)),
            own_cpu: None,
            resident: Some(Resident { largest_bytes: 5_000_000, sum_bytes: 9_000_000 }),
            ..Measured::default()
        };
        (0..operations).for_each(|_| measured.tally.good(bytes, Duration::from_millis(2)));
        measured
    }

    #[test]
    fn figures_of_bytes_are_per_file_and_per_gb() {
        let figures = figures(Shape::Bytes, &measured(4, 500_000_000));
        let check = |figure, expect: f64| assert!((figures[&figure] - expect).abs() < 1e-9, "{figures:?}");
        check(Figure::Seconds, 0.5);
        check(Figure::MbPerSecond, 1000.0);
        check(Figure::CpuSecondsPerGb, 0.5);
        check(Figure::LargestMb, 5.0);
        check(Figure::ServersMb, 9.0);
        assert!(!figures.contains_key(&Figure::OwnCpuSecondsPerGb) && !figures.contains_key(&Figure::PerSecond));
    }

    #[test]
    fn figures_of_requests_are_rates_costs_and_latencies() {
        let figures = figures(Shape::Operations, &measured(100, 10_000));
        assert!((figures[&Figure::PerSecond] - 50.0).abs() < 1e-9);
        assert!((figures[&Figure::CpuUsPerOperation] - 10_000.0).abs() < 1e-6);
        assert!((figures[&Figure::P99Ms] - 2.0).abs() < 0.01);
        assert!(super::figures(Shape::Operations, &measured(0, 0)).is_empty());
    }

    #[test]
    fn medians_stand_between_the_samples() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        let samples =
            [Figures::from([(Figure::Seconds, 1.0)]), Figures::new(), Figures::from([(Figure::Seconds, 3.0)])];
        assert!((medians(&samples)[&Figure::Seconds] - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn spread_is_the_farthest_from_the_mean() {
        assert!((spread_percent(&[8.0, 10.0, 12.0]) - 20.0).abs() < 1e-9);
    }
}
