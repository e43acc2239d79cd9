//! The replay of recorded requests: a CSV of times, operations, files and lengths, as `--requests` writes it. Pure but for reading.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    time::Duration,
};

use serde::Deserialize;

use super::operation::Operation;

/// The longest trace; its requests are held in memory, 40 bytes each.
const REQUESTS_MAX: usize = 2_000_000;
/// The largest file: 1 TB.
const BYTES_MAX: u64 = 1_000_000_000_000;
/// The longest time, in seconds.
const SECONDS_MAX: f64 = 8.0 * 86_400.0;

/// A recorded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// When, since the first moment of the trace.
    pub(crate) at: Duration,
    pub(crate) operation: Operation,
    /// The number of its file.
    pub(crate) file: u64,
    /// The length of what an upload sends.
    pub(crate) length: u64,
}

/// Recorded requests, in the order of their times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) requests: Vec<Request>,
    /// How many files there are.
    pub(crate) files: usize,
    /// Files that must be there before it begins, and their lengths: those that are not uploaded first.
    pub(crate) prefill: Vec<(u64, u64)>,
}

/// A line of the file. Other columns are left alone.
#[derive(Debug, Deserialize)]
struct Line {
    at_s: f64,
    operation: Operation,
    file: String,
    bytes: Option<u64>,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub(crate) fn read(text: impl Read) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        let (mut requests, mut known, mut uploaded) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        for (at, line) in reader.deserialize().enumerate() {
            let number = at + 2; // the first line has the names
            let wrong = |why: &str| format!("line {number}: {why}");
            let Line { at_s, operation, file, bytes } = line.map_err(|error| error.to_string())?;
            if !(0.0..=SECONDS_MAX).contains(&at_s) {
                return Err(wrong("at_s is a number of seconds from 0 to 8 days"));
            }
            if bytes.is_some_and(|bytes| bytes > BYTES_MAX) {
                return Err(wrong("bytes is at most 1 TB"));
            }
            if requests.len() >= REQUESTS_MAX {
                return Err(wrong(&format!("a trace has at most {REQUESTS_MAX} requests")));
            }
            let upload = match operation {
                Operation::Put | Operation::Replace => true,
                Operation::Get | Operation::Range | Operation::Head | Operation::Delete => false,
                // Neither is of one file.
                Operation::List | Operation::Copy => continue,
            };
            let next = numbers.len() as u64;
            let file = *numbers.entry(file).or_insert(next);
            if upload && bytes.is_none() {
                return Err(wrong("an upload needs its bytes"));
            }
            let at = Duration::from_secs_f64(at_s);
            requests.push((number, bytes, Request { at, operation, file, length: bytes.unwrap_or_default() }));
        }
        if requests.is_empty() {
            return Err("it has no requests of files; its first line is at_s,operation,file,bytes".to_owned());
        }
        requests.sort_by_key(|(_, _, request)| request.at);
        for (number, bytes, Request { operation, file, .. }) in &requests {
            match operation {
                Operation::Put | Operation::Replace => _ = uploaded.insert(*file),
                _ if uploaded.contains(file) => {}
                _ => {
                    let (_, length) = known.entry(*file).or_insert((*number, None));
                    // Whoever deletes a file often does not know how long it is, and any length will do.
                    let any = (*operation == Operation::Delete).then_some(0);
                    *length = bytes.or(*length).or(any);
                }
            }
        }
        let prefill = known.into_iter().map(|(file, (number, length))| {
            let missing =
                || format!("line {number}: this file is not uploaded before, so its length must stand in bytes");
            length.map(|length| (file, length)).ok_or_else(missing)
        });
        let prefill = prefill.collect::<Result<_, _>>()?;
        let requests = requests.into_iter().map(|(_, _, request)| request).collect();
        Ok(Self { requests, files: numbers.len(), prefill })
    }

    /// Makes it faster.
    pub(crate) fn scale(&mut self, factor: f64) {
        for request in &mut self.requests {
            request.at = request.at.div_f64(factor);
        }
    }

    /// Gives the time of the last request.
    pub(crate) fn lasts(&self) -> Duration {
        self.requests.last().map_or(Duration::ZERO, |request| request.at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Request, Trace};
    use crate::load::operation::Operation;

    fn read(lines: &str) -> Result<Trace, String> {
        Trace::read(format!("at_s,operation,file,bytes,anything\n{lines}").as_bytes())
    }

    #[test]
    fn requests_come_in_the_order_of_their_times_and_files_that_are_only_read_are_made_before() {
        let trace = read("2.5,get,b,700,x\n0,put,\"a, the first\",10,x\n1,get,\"a, the first\",,x\n3,range,b,900,x\n")
            .expect("a trace");
        let request = |ms, operation, file, length| Request { at: Duration::from_millis(ms), operation, file, length };
        let expect = [
            request(0, Operation::Put, 1, 10),
            request(1000, Operation::Get, 1, 0),
            request(2500, Operation::Get, 0, 700),
            request(3000, Operation::Range, 0, 900),
        ];
        assert_eq!((trace.requests.as_slice(), trace.files), (expect.as_slice(), 2));
        assert_eq!(trace.prefill, [(0, 900)]);
        let mut faster = trace;
        faster.scale(2.0);
        assert_eq!(faster.lasts(), Duration::from_millis(1500));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (lines, expect) in [
            ("", "has no requests"),
            ("1,fetch,a,1,x\n", "unknown variant `fetch`"),
            ("0,put,a,1,x\n-1,put,a,1,x\n", "line 3: at_s"),
            ("0,put,a,,x\n", "line 2: an upload needs its bytes"),
            ("0,put,a,1,x\n1,get,b,,x\n", "line 3: this file is not uploaded before"),
            ("0,put,a,9999999999999,x\n", "at most 1 TB"),
            ("0,put,a,many,x\n", "line: 2"),
        ] {
            let error = read(lines).expect_err(lines);
            assert!(error.contains(expect), "{lines}: {error}");
        }
        assert!(Trace::read("a,b\n1,2\n".as_bytes()).expect_err("other names").contains("at_s"));
    }
}
