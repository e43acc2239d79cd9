//! A report as text for a terminal. Pure.

use std::fmt::Write;

use super::{
    counts::Figures,
    knee,
    report::{Report, WorkerRow},
    sizes::size_name,
    times::Latencies,
};

/// Writes the summary of a report; its first line says whether anything was lost.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    line(verdict(report));
    for reason in &report.invalid_because {
        line(format!("INVALID: {reason}"));
    }
    if report.interrupted {
        line("interrupted: what follows is of the time till then; nothing was read back".to_owned());
    }
    let pacing = if report.open_loop { "open loop" } else { "closed loop: latencies leave out what waits meanwhile" };
    let Report { profile, rev, seed, seconds, .. } = report;
    line(format!("profile {profile}, {seconds:.1} s, {pacing}; rev {rev}, seed {seed}"));
    for worker in &report.workers {
        let WorkerRow { name, requests, clock_ahead_ms, round_trip_ms, command, .. } = worker;
        let clock = format!("clock ahead by {clock_ahead_ms:.1} ms ± {:.1}", round_trip_ms / 2.0);
        line(format!("{name}: {requests} requests, {clock}: {command}"));
    }
    if let Some(knee) = &report.knee {
        line(String::new());
        lines_of(knee).into_iter().for_each(&mut line);
    }
    line(String::new());
    line(header());
    for row in &report.operations {
        let name = format!("{} {}", row.operation, row.size.as_deref().unwrap_or_default());
        line(figures(name.trim(), &row.figures));
    }
    line(figures("all", &report.total));
    if let (1.., Some(ms)) = (report.total.failed, report.total.ok_latency_ms) {
        let (p50, p99, p999, max) = (digits(ms.p50), digits(ms.p99), digits(ms.p999), digits(ms.max));
        line(format!("of those that succeeded: p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms, max {max} ms"));
    }
    if let Some(gap) = report.longest_gap {
        line(format!("\nlongest time without a success: {:.2} s, from {:.1} s on", gap.seconds, gap.at_s));
    }
    for error in &report.errors {
        line(format!("failed: {} x {}, e.g. {}", error.count, error.kind.name(), error.example));
    }
    if report.skipped > 0 {
        let skipped = report.skipped;
        line(format!(
            "{skipped} requests of the trace were not sent: their file was not there, was in use, or is not known"
        ));
    }
    for fault in &report.faults {
        let recovered = fault.recovered_s.map_or("not felt".to_owned(), |s| format!("felt for {s:.1} s"));
        line(format!("at {:.1} s: {} ({}), {recovered}", fault.event.at_s, fault.event.text, fault.event.what));
    }
    line(costs(report));
    for limit in &report.thresholds {
        let value = limit.value.map_or("not measured".to_owned(), |value| format!("{value:.2}"));
        let ok = if limit.ok { "ok" } else { "FAILED" };
        line(format!("threshold {} {}: {value} {ok}", limit.name, limit.limit));
    }
    out
}

/// A search and its trials.
fn lines_of(knee: &knee::Found) -> Vec<String> {
    let knee::Found { p99_limit_ms, highest_borne, lowest_too_high, trials } = knee;
    let mut lines: Vec<String> = trials
        .iter()
        .map(|trial| {
            let p99 = trial.p99_ms.map_or("-".to_owned(), digits);
            let result = match (trial.borne, trial.runner_late) {
                (true, _) => "borne",
                (false, true) => "the runner was late",
                (false, false) => "too much",
            };
            format!(
                "{:>8.0}/s {:>8} requests {:>6} failed  p99 {p99:>7} ms  {result}",
                trial.rate, trial.requests, trial.failed
            )
        })
        .collect();
    let borne =
        highest_borne.map_or("not even the first rate".to_owned(), |rate| format!("{rate:.0} requests per second"));
    let beyond = lowest_too_high.map_or("; nothing was too much".to_owned(), |rate| format!("; {rate:.0} is too much"));
    lines.push(format!("borne with a p99 of at most {p99_limit_ms} ms: {borne}{beyond}"));
    lines
}

/// What counts most, in one line.
pub(crate) fn verdict(report: &Report) -> String {
    let Report { lost, corrupt, unknown, checked_files, checked_bytes, unreadable, .. } = report;
    let mut text =
        format!("lost {lost}, corrupt {corrupt}; read back {checked_files} files, {}", size_name(*checked_bytes));
    if *unknown > 0 {
        let _ = write!(text, "; outcome of {unknown} not known");
    }
    if *unreadable > 0 {
        let _ = write!(text, "; {unreadable} COULD NOT BE READ");
    }
    text
}

fn header() -> String {
    format!(
        "{:<22}{:>9}{:>8}{:>10}{:>9}{:>10}{:>10}{:>10}{:>10}",
        "operation", "ok", "failed", "per s", "MB/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms"
    )
}

fn figures(name: &str, figures: &Figures) -> String {
    let Figures { ok, failed, per_second, mb_per_second, .. } = figures;
    let ms = |pick: fn(&Latencies) -> f64| figures.latency_ms.as_ref().map_or("-".to_owned(), |ms| digits(pick(ms)));
    format!(
        "{name:<22}{ok:>9}{failed:>8}{:>10}{:>9}{:>10}{:>10}{:>10}{:>10}",
        digits(*per_second),
        digits(*mb_per_second),
        ms(|ms| ms.p50),
        ms(|ms| ms.p99),
        ms(|ms| ms.p999),
        ms(|ms| ms.max)
    )
}

/// Three digits where they say something.
fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn costs(report: &Report) -> String {
    let (runner, servers) = (&report.runner, &report.server_totals);
    let own = runner.cpu_us_per_operation.unwrap_or_default();
    let mut text =
        format!("runner: {own:.0} us of processor time per request, p99 of its lag {:.1} ms", runner.lag_p99_ms);
    if let Some(cpu) = servers.cpu_us_per_operation {
        let _ = write!(text, "; servers: {cpu:.0} us per request");
    }
    if let Some(bytes) = servers.largest_rss_bytes {
        let _ = write!(text, ", largest process {}", size_name(bytes));
    }
    text
}
