//! What is counted of one kind of request: how many, how much and how long. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    operation::Operation,
    times::{Latencies, Times},
};

/// How a request failed, as reports name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// No connection came about.
    Refused,
    /// The connection broke before the answer was whole.
    Broken,
    /// No answer in time.
    Timeout,
    /// It was never sent: the load was over for long, and no connection had become free.
    Abandoned,
    /// 429 or 503 that says when to come again.
    BusyWithRetryAfter,
    /// 429 or 503 that does not.
    Busy,
    /// Any other 5xx.
    ServerError,
    /// A 4xx that was not expected.
    ClientError,
    /// An answer that can't be understood.
    Malformed,
    /// An acked file is not there, or not in its list.
    Lost,
    /// The body ended early and claimed to be whole.
    Short,
    /// Wrong bytes, too many of them, a wrong length or a wrong ETag.
    Wrong,
}

impl Failure {
    /// Its name in reports.
    pub(crate) fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }

    /// Whether the server gave a whole answer, so that its connection can be used again.
    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Self::BusyWithRetryAfter | Self::Busy | Self::ServerError | Self::ClientError)
    }

    /// Whether it says that a file is lost.
    pub(crate) fn is_loss(self) -> bool {
        self == Self::Lost
    }

    /// Whether it says that a file is not what was acked.
    pub(crate) fn is_corruption(self) -> bool {
        matches!(self, Self::Short | Self::Wrong)
    }
}

/// One request, done.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) operation: Operation,
    /// The class of its size, for operations that have one.
    pub(crate) class: Option<usize>,
    /// Its file: the number and the length.
    pub(crate) file: Option<(u64, u64)>,
    /// When it was to be sent, since the start.
    pub(crate) intended: Duration,
    /// When it was sent.
    pub(crate) sent: Duration,
    /// When the head of the answer was there.
    pub(crate) head: Option<Duration>,
    /// When all was there.
    pub(crate) ended: Duration,
    /// Content that was sent or received.
    pub(crate) bytes: u64,
    pub(crate) failure: Option<(Failure, String)>,
}

/// Counts of one kind of request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    pub(crate) latency: Times,
    /// Of those that succeeded alone.
    ok_latency: Times,
    service: Times,
    first_byte: Times,
}

/// Figures of one kind of request. MB = 10^6 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) started: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    /// Good ones per second of the run.
    pub(crate) per_second: f64,
    pub(crate) mb_per_second: f64,
    /// From the intended start, failed ones included: who waited for an error waited as well.
    pub(crate) latency_ms: Option<Latencies>,
    /// The same of those that succeeded: where many are refused at once, what the others felt.
    #[serde(default)]
    pub(crate) ok_latency_ms: Option<Latencies>,
    /// From the moment it was sent.
    pub(crate) service_ms: Option<Latencies>,
    /// From the moment it was sent to the head of the answer.
    pub(crate) first_byte_ms: Option<Latencies>,
    /// Quantile and latency in milliseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Counts {
    /// Counts a request.
    pub(crate) fn add(&mut self, done: &Done) {
        let latency = done.ended.saturating_sub(done.intended);
        match done.failure {
            None => {
                self.ok += 1;
                self.bytes += done.bytes;
                self.ok_latency.record(latency);
            }
            Some(_) => self.failed += 1,
        }
        self.latency.record(latency);
        self.service.record(done.ended.saturating_sub(done.sent));
        if let Some(head) = done.head {
            self.first_byte.record(head.saturating_sub(done.sent));
        }
    }

    /// Counts all that another runner counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.latency.add(&other.latency);
        self.ok_latency.add(&other.ok_latency);
        self.service.add(&other.service);
        self.first_byte.add(&other.first_byte);
    }

    /// Gives what so many seconds of processor time are in microseconds per request, and in seconds per GB.
    pub(crate) fn cost(&self, cpu_seconds: f64) -> (f64, Option<f64>) {
        let (operations, gb) = ((self.ok + self.failed).max(1) as f64, self.bytes as f64 / 1e9);
        (cpu_seconds * 1e6 / operations, (gb > 0.0).then(|| cpu_seconds / gb))
    }

    /// Makes figures of the counts of a run of so many seconds.
    pub(crate) fn figures(&self, seconds: f64) -> Figures {
        let seconds = seconds.max(1e-9);
        Figures {
            started: self.ok + self.failed,
            ok: self.ok,
            failed: self.failed,
            bytes: self.bytes,
            per_second: self.ok as f64 / seconds,
            mb_per_second: self.bytes as f64 / 1e6 / seconds,
            latency_ms: self.latency.latencies(),
            ok_latency_ms: self.ok_latency.latencies(),
            service_ms: self.service.latencies(),
            first_byte_ms: self.first_byte.latencies(),
            curve: self.latency.curve(),
        }
    }
}
