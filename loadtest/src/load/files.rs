//! A report as files: JSON for programs, CSV of the time series for tables, one HTML page for people.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::report::{KIND, Report, SCHEMA};
use crate::Error;

/// The page; where [`PLACE`] stands, it takes the report.
const PAGE: &str = include_str!("report.html");
/// Where the report goes.
const PLACE: &str = "@REPORT@";

/// Writes all files into a folder, which is made if it is missing, and gives the page's path.
///
/// # Errors
/// [`Error::File`]: what was written till then stays.
pub(crate) fn write_all(report: &Report, dir: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(dir).map_err(Error::file(dir))?;
    let stem = format!("{}-{}", report.profile, report.started.replace(':', ""));
    let path = |ending: &str| dir.join(format!("{stem}.{ending}"));
    let put = |ending: &str, text: String| fs::write(path(ending), text).map_err(Error::file(&path(ending)));
    put("json", json(report))?;
    put("csv", csv(report))?;
    put("html", html(report))?;
    Ok(path("html"))
}

/// Reads a report that [`json`] wrote.
///
/// # Errors
/// [`Error::File`], or [`Error::Usage`] for a file that is none or has another version.
pub(crate) fn read(path: &Path) -> Result<Report, Error> {
    let text = fs::read(path).map_err(Error::file(path))?;
    let wrong = |why: String| Error::Usage(format!("'{}' is no report of a load: {why}", path.display()));
    let report: Report = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if report.schema == SCHEMA && report.kind == KIND {
        Ok(report)
    } else {
        Err(wrong(format!(
            "it is '{}' of version {}, and this program reads version {SCHEMA}",
            report.kind, report.schema
        )))
    }
}

/// Gives the report as JSON.
pub(crate) fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report is plain data with text keys")
}

pub(super) fn html(report: &Report) -> String {
    let json = serde_json::to_string(report).expect("a report is plain data with text keys");
    // Within a script element only `<` could end it.
    PAGE.replacen(PLACE, &json.replace('<', "\\u003c"), 1)
}

fn csv(report: &Report) -> String {
    let mut out = "at_s,started,ok,failed,bytes,p50_ms,p99_ms,max_ms,in_flight,waiting\n".to_owned();
    let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for step in &report.series {
        let (p50, p99, max) = (optional(step.p50_ms), optional(step.p99_ms), optional(step.max_ms));
        writeln!(
            out,
            "{},{},{},{},{},{p50},{p99},{max},{},{}",
            step.at_s, step.started, step.ok, step.failed, step.bytes, step.in_flight, step.waiting
        )
        .expect("a string takes all");
    }
    out
}
