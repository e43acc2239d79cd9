//! The two outputs of a command: results on stdout, everything else on stderr. Knows no command.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use flotilla_api::ClusterName;
use serde::Serialize;

use crate::exit::Failure;

/// Writes a line to stdout.
///
/// # Errors
/// The reader went away, or the file that takes the output is full.
pub fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| stdout_failure(&e))
}

/// Writes a value to stdout as one line of JSON.
///
/// # Errors
/// As [`line()`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).expect("our results are plain data"))
}

/// Writes bytes to stdout as they are.
///
/// # Errors
/// As [`line()`].
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| stdout_failure(&e))
}

/// Writes a line to stderr; nobody to read it is no reason to stop.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says why stdout takes nothing.
pub fn stdout_failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::unheard(),
        _ => Failure::local("stdout can't be written", error),
    }
}

/// Something of a cluster as one line of JSON: its own fields, and the cluster's name.
#[derive(Serialize)]
pub struct OfCluster<'a, T> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// What belongs to it.
    #[serde(flatten)]
    pub of: &'a T,
}

/// How failures and warnings of one command are told.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    json: bool,
}

impl Report {
    /// Makes a report in JSON or in words.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Says whether results are JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Tells a failure on stderr.
    pub fn failure(self, failure: &Failure) {
        if failure.is_unheard() {
            return;
        }
        if self.json {
            note(failure.to_json());
        } else {
            note(format_args!("error: {failure}"));
        }
    }

    /// Tells on stderr what is no failure but should be known.
    pub fn warning(self, text: impl Display) {
        if self.json {
            note(serde_json::json!({ "warning": text.to_string() }));
        } else {
            note(format_args!("warning: {text}"));
        }
    }
}

/// Writes a size for people.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Writes a time for people.
pub fn seconds(ms: u64) -> String {
    // Tenths, rounded down: what has not come yet is not claimed.
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Lays rows out in columns; the first row is the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let render = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(render).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [vec!["NAME".to_owned(), "PID".to_owned()], vec!["supernode-1".to_owned(), "7".to_owned()]];
        assert_eq!(super::table(&rows), "NAME         PID\nsupernode-1  7");
    }

    #[test]
    fn times_have_tenths() {
        assert_eq!([0, 99, 100, 61_950].map(super::seconds), ["0.0 s", "0.0 s", "0.1 s", "61.9 s"]);
    }
}
