//! The report as text: a first line that says whether anything was wrong, then a table. Pure.

use std::fmt::Write;

use super::report::{Figure, Report};

/// The columns with their headings.
const COLUMNS: [(Figure, &str); 13] = [
    (Figure::Seconds, "s"),
    (Figure::MbPerSecond, "MB/s"),
    (Figure::CpuSecondsPerGb, "CPU-s/GB"),
    (Figure::OwnCpuSecondsPerGb, "own CPU-s/GB"),
    (Figure::PerSecond, "1/s"),
    (Figure::CpuUsPerOperation, "CPU us"),
    (Figure::OwnCpuUsPerOperation, "own CPU us"),
    (Figure::P50Ms, "p50 ms"),
    (Figure::P99Ms, "p99 ms"),
    (Figure::MaxMs, "max ms"),
    (Figure::SpreadPercent, "spread %"),
    (Figure::LargestMb, "largest MB"),
    (Figure::ServersMb, "servers MB"),
];

/// Renders the report.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    write_report(report, &mut out).expect("writing to a String cannot fail");
    out
}

fn write_report(report: &Report, out: &mut String) -> std::fmt::Result {
    let partial = if report.interrupted { ", interrupted: not all rows are there" } else { "" };
    writeln!(out, "lost {}, corrupt {}, failed {}{partial}\n", report.lost, report.corrupt, report.failed)?;
    let load = report.load_1min.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.2}"));
    let Report { rev, seed, scale, cpus, repeat, .. } = report;
    writeln!(
        out,
        "rev {rev}, seed {seed}, scale {scale}, {cpus} cpus, load {load} before, medians of {repeat}, closed loop\n"
    )?;

    let headings = COLUMNS.iter().map(|(_, heading)| (*heading).to_owned());
    let mut lines: Vec<Vec<String>> = vec![std::iter::once("work".to_owned()).chain(headings).collect()];
    for row in &report.rows {
        let failed = if row.failed > 0 { format!(" ({} failed)", row.failed) } else { String::new() };
        let cell = |figure| row.figures.get(figure).map_or_else(|| "-".to_owned(), |&value| number(value));
        let cells = COLUMNS.iter().map(|(figure, _)| cell(figure));
        lines.push(std::iter::once(format!("{}{failed}", row.name)).chain(cells).collect());
    }
    write_table(&lines, out)?;

    if !report.processes.is_empty() {
        let peaks = report.processes.iter();
        let peaks: Vec<_> =
            peaks.map(|peak| format!("{} {}", peak.name, number(peak.peak_bytes as f64 / 1e6))).collect();
        writeln!(out, "\nmost memory since each server's start, MB: {}", peaks.join(", "))?;
    }
    for why in &report.reasons {
        writeln!(out, "- {why}")?;
    }
    if report.left_files > 0 {
        writeln!(out, "{} files could not be removed from loadtest/", report.left_files)?;
    }
    Ok(())
}

/// Writes lines of equally many cells as a table, the first of them as its head.
fn write_table(lines: &[Vec<String>], out: &mut String) -> std::fmt::Result {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            if column == 0 { write!(out, "| {cell:<width$} ")? } else { write!(out, "| {cell:>width$} ")? }
        }
        out.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                if column == 0 { write!(out, "|{dashes}-")? } else { write!(out, "|{dashes}:")? }
            }
            out.push_str("|\n");
        }
    }
    Ok(())
}

/// Writes a number with three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::{number, render};
    use crate::{
        command::RunArgs,
        seed_tables::report::{Measured, ProcessPeak, Report, Shape},
    };

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    #[test]
    fn table_is_markdown_with_a_verdict_in_its_first_line() {
        let args = Line::parse_from(["loadtest", "seed-tables"]).args;
        let mut report = Report::new(&args, "abc".to_owned(), Some(0.5));
        report.cpus = 2;
        let mut measured = Measured { elapsed: Duration::from_secs(2), ..Measured::default() };
        measured.tally.good(1_000_000_000, Duration::from_secs(2));
        measured.tally.failed("Put of file 1: no answer in time".to_owned());
        report.add("upload 1 GB".to_owned(), Shape::Bytes, measured);
        report.processes.push(ProcessPeak { name: "a-n1".to_owned(), pid: 1, peak_bytes: 20_000_000 });
        let text = render(&report);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "lost 0, corrupt 0, failed 1");
        assert_eq!(lines[2], "rev abc, seed 1, scale 1, 2 cpus, load 0.50 before, medians of 1, closed loop");
        assert!(lines[4].starts_with("| work                   |    s | MB/s | CPU-s/GB |"), "{text}");
        assert!(lines[5].starts_with("|------------------------|-----:|-----:|---------:|"), "{text}");
        assert!(lines[6].starts_with("| upload 1 GB (1 failed) | 2.00 |  500 |        - |"), "{text}");
        assert_eq!(lines[8], "most memory since each server's start, MB: a-n1 20.0");
        assert_eq!(lines[9], "- Put of file 1: no answer in time");
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.0123, 1.234, 12.34, 123.4, 12_345.6].map(number), ["0.012", "1.23", "12.3", "123", "12346"]);
    }
}
