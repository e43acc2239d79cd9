//! One line of a ledger and what its status means. Its fields are pinned: scripts read them.

use serde::{Deserialize, Serialize};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Op {
    /// The key gets the content of (seed, key, size).
    Put,
    /// The key loses its file.
    Delete,
}

/// What is known of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It took effect.
    Acked,
    /// A DELETE found no file.
    Missing,
    /// It had no effect.
    Refused,
    /// It may have taken effect.
    Unknown,
}

/// One operation. It is written before the request is sent, with neither status nor answer time, and again when the
/// outcome is known; of two lines with one `request_id` the later one counts.
///
/// # Shape
/// One JSON object per line: `{op,key,size,seed,request_id,sent_ns,answered_ns,status,version,etag}`.
///
/// # Units
/// Times are nanoseconds since 1970, measured by the monotonic clock from the start of the run on; sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) op: Op,
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) seed: u64,
    pub(crate) request_id: String,
    pub(crate) sent_ns: u64,
    #[serde(default)]
    pub(crate) answered_ns: Option<u64>,
    /// The HTTP status; none or 0 while, or because, the outcome is unknown. 503 also says that no server took a
    /// connection, so that nothing can have been done.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) etag: Option<String>,
}

impl Line {
    /// Says what the status tells of the outcome.
    pub(crate) fn outcome(&self) -> Outcome {
        outcome(self.op, self.status)
    }
}

/// Says what a status tells of an operation's outcome; what is not known to have had no effect is unknown.
pub(crate) fn outcome(op: Op, status: Option<u16>) -> Outcome {
    match (op, status.unwrap_or(0)) {
        (_, 200..=299) => Outcome::Acked,
        (Op::Delete, 404) => Outcome::Missing,
        // The API promises that 503 and 507 are refusals; 500, 504 and foreign ones promise nothing.
        (Op::Put | Op::Delete, 400..=499 | 503 | 507) => Outcome::Refused,
        (Op::Put | Op::Delete, _) => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Op, Outcome, outcome};

    #[test]
    fn line_is_pinned_by_bytes() {
        let line = Line {
            op: Op::Put,
            key: "ledger/a".to_owned(),
            size: 5,
            seed: 7,
            request_id: "r-1".to_owned(),
            sent_ns: 10,
            answered_ns: None,
            status: None,
            version: None,
            etag: None,
        };
        let text = serde_json::to_string(&line).expect("a line is plain data");
        let expect = r#"{"op":"put","key":"ledger/a","size":5,"seed":7,"request_id":"r-1","sent_ns":10,"#.to_owned()
            + r#""answered_ns":null,"status":null,"version":null,"etag":null}"#;
        assert_eq!(text, expect);
        assert_eq!(serde_json::from_str::<Line>(&text).expect("it was just written"), line);
    }

    #[test]
    fn only_promised_refusals_count_as_without_effect() {
        let check = |op, status, expect| assert_eq!(outcome(op, status), expect, "{op:?} {status:?}");
        for op in [Op::Put, Op::Delete] {
            for status in [None, Some(0), Some(500), Some(502), Some(504)] {
                check(op, status, Outcome::Unknown);
            }
            for status in [400, 401, 409, 412, 421, 429, 503, 507] {
                check(op, Some(status), Outcome::Refused);
            }
            for status in [200, 201, 204] {
                check(op, Some(status), Outcome::Acked);
            }
        }
        check(Op::Put, Some(404), Outcome::Refused);
        check(Op::Delete, Some(404), Outcome::Missing);
    }
}
