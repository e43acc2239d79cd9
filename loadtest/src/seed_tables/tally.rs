//! What the clients of a row count, and how the counts of several become one. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::pool::File;

/// The longest latency that is told apart, in microseconds: an hour, longer than any request may take.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Digits that are kept of a latency.
const LATENCY_DIGITS: u8 = 3;
/// How many reasons of failures are kept; the others are only counted.
pub(super) const REASONS_MAX: usize = 10;
/// One upload in so many is also checked by the BLAKE3 root that its ETag must be.
const HASHED_EVERY: u64 = 100;

/// Counts of one client, or of all.
#[derive(Debug)]
pub(super) struct Tally {
    /// Latency of each good request, in microseconds.
    pub(super) latency_us: Histogram<u64>,
    /// Content of good requests, in bytes.
    pub(super) bytes: u64,
    /// Acked files that were not there.
    pub(super) lost: u64,
    /// Files whose bytes or ETag were wrong.
    pub(super) corrupt: u64,
    /// Requests that failed.
    pub(super) failed: u64,
    /// Why, of the first ones.
    pub(super) reasons: Vec<String>,
    /// Files whose upload was acked.
    pub(super) acked: Vec<File>,
    /// Uploads to be hashed, with the ETag of the answer.
    pub(super) etags: Vec<(File, String)>,
    /// How long each client was at work, in seconds.
    pub(super) client_seconds: Vec<f64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS);
        Self {
            latency_us: latency_us.expect("the bounds are constants that a histogram takes"),
            bytes: 0,
            lost: 0,
            corrupt: 0,
            failed: 0,
            reasons: Vec::new(),
            acked: Vec::new(),
            etags: Vec::new(),
            client_seconds: Vec::new(),
        }
    }
}

impl Tally {
    /// Counts a good request.
    pub(super) fn good(&mut self, bytes: u64, latency: Duration) {
        self.bytes += bytes;
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US));
    }

    /// Counts an upload that was acked; `number` is its place in the row.
    pub(super) fn acked(&mut self, number: u64, file: File, etag: String) {
        if number.is_multiple_of(HASHED_EVERY) {
            self.etags.push((file.clone(), etag));
        }
        self.acked.push(file);
    }

    /// Counts a file that is lost.
    pub(super) fn lost(&mut self, why: String) {
        self.lost += 1;
        self.reason(why);
    }

    /// Counts a file that is wrong.
    pub(super) fn corrupt(&mut self, why: String) {
        self.corrupt += 1;
        self.reason(why);
    }

    /// Counts a request that failed.
    pub(super) fn failed(&mut self, why: String) {
        self.failed += 1;
        self.reason(why);
    }

    /// Gives the number of good requests.
    pub(super) fn operations(&self) -> u64 {
        self.latency_us.len()
    }

    /// Hashes the uploads that were chosen for it and counts those whose ETag is another one.
    ///
    /// Takes a tenth of a second per GB of processor time.
    pub(super) fn check_etags(&mut self) {
        for (file, etag) in std::mem::take(&mut self.etags) {
            let expect = file.hash().to_hex();
            if etag != *expect {
                self.corrupt(format!("file {:x} has the ETag '{etag}' instead of '{expect}'", file.id()));
            }
        }
    }

    /// Takes another client's counts in; histograms are added, never averaged.
    pub(super) fn merge(&mut self, other: Self) {
        self.latency_us.add(&other.latency_us).expect("all histograms have the same bounds");
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.corrupt += other.corrupt;
        self.failed += other.failed;
        other.reasons.into_iter().for_each(|why| self.reason(why));
        self.acked.extend(other.acked);
        self.etags.extend(other.etags);
        self.client_seconds.extend(other.client_seconds);
    }

    fn reason(&mut self, why: String) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{REASONS_MAX, Tally};
    use crate::pool::{File, Pool};

    #[test]
    fn merged_counts_are_sums_and_reasons_are_bounded() {
        let one = || {
            let mut tally = Tally::default();
            tally.good(10, Duration::from_millis(3));
            (0..REASONS_MAX).for_each(|_| tally.failed("x".to_owned()));
            tally.lost("y".to_owned());
            tally
        };
        let mut all = one();
        all.merge(one());
        assert_eq!((all.operations(), all.bytes, all.failed, all.lost), (2, 20, 2 * REASONS_MAX as u64, 2));
        assert_eq!(all.reasons.len(), REASONS_MAX);
    }

    #[test]
    fn one_upload_in_a_hundred_is_hashed_and_a_wrong_etag_is_corrupt() {
        let file = File::new(Pool::new(1), 5, 10_000);
        let mut tally = Tally::default();
        for number in 0..200 {
            let right = number != 100;
            let etag = if right { file.hash().to_hex().to_string() } else { "0".repeat(64) };
            tally.acked(number, file.clone(), etag);
        }
        assert_eq!((tally.acked.len(), tally.etags.len()), (200, 2));
        tally.check_etags();
        assert_eq!(tally.corrupt, 1);
    }
}
