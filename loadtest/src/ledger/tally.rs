//! Counting what a ledger run achieved, and the longest time in which nothing succeeded. Pure but for its inputs.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::line::Outcome;

/// Counts of a run under way.
#[derive(Debug)]
pub(crate) struct Tally {
    start: Instant,
    last_success: Instant,
    gap: Duration,
    acked: u64,
    acked_bytes: u64,
    missing: u64,
    refused: u64,
    unknown: u64,
}

impl Tally {
    /// Begins to count.
    pub(crate) fn new(start: Instant) -> Self {
        let gap = Duration::ZERO;
        Self { start, last_success: start, gap, acked: 0, acked_bytes: 0, missing: 0, refused: 0, unknown: 0 }
    }

    /// Counts one operation that ended at `now`.
    pub(crate) fn count(&mut self, outcome: Outcome, bytes: u64, now: Instant) {
        match outcome {
            Outcome::Acked => {
                self.acked += 1;
                self.acked_bytes += bytes;
                self.success(now);
            }
            Outcome::Missing => {
                self.missing += 1;
                self.success(now);
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }

    /// Says whether any operation has succeeded.
    pub(crate) fn has_success(&self) -> bool {
        self.acked + self.missing > 0
    }

    /// Ends the counting and gives the summary; `open` requests were under way and stay unknown.
    pub(crate) fn finish(mut self, now: Instant, open: u64) -> Summary {
        self.success(now);
        self.unknown += open;
        Summary { seconds: now.saturating_duration_since(self.start).as_secs_f64(), tally: self }
    }

    fn success(&mut self, now: Instant) {
        self.gap = self.gap.max(now.saturating_duration_since(self.last_success));
        self.last_success = self.last_success.max(now);
    }
}

/// The line that a run ends with.
#[derive(Debug)]
pub(crate) struct Summary {
    tally: Tally,
    seconds: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally: Tally { acked, acked_bytes, missing, refused, unknown, gap, .. }, seconds } = self;
        write!(
            f,
            "acked {} ({:.1} MB), unknown {unknown}, failed {refused}, {seconds:.1} s, {:.0} acks/s, longest gap without success {:.3} s",
            acked + missing,
            *acked_bytes as f64 / 1e6,
            (acked + missing) as f64 / seconds.max(f64::EPSILON),
            gap.as_secs_f64(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Tally;
    use crate::ledger::line::Outcome;

    #[test]
    fn longest_gap_counts_from_success_to_success_and_to_both_ends() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let run = |ends: &[(Outcome, u64)], end| {
            let mut tally = Tally::new(start);
            ends.iter().for_each(|&(outcome, second)| tally.count(outcome, 10, at(second)));
            tally.finish(at(end), 0).to_string()
        };
        let middle = run(&[(Outcome::Acked, 1), (Outcome::Unknown, 3), (Outcome::Refused, 4), (Outcome::Acked, 6)], 7);
        assert!(middle.ends_with("success 5.000 s"), "{middle}");
        assert!(middle.starts_with("acked 2 (0.0 MB), unknown 1, failed 1, 7.0 s"), "{middle}");
        assert!(run(&[(Outcome::Acked, 3)], 4).ends_with("success 3.000 s"));
        assert!(run(&[(Outcome::Missing, 1)], 4).ends_with("success 3.000 s"));
    }
}
