//! Which rows are measured, with which sizes and counts. Pure.

use std::time::Duration;

/// Length of a small file, in bytes.
const SMALL_BYTES: u64 = 10_000;
/// How long a row of small files goes on at most.
const SMALL_TIME: Duration = Duration::from_secs(5);
/// Most small uploads of a row: at the highest rate we aim at, all of its time.
const SMALL_UPLOADS: u64 = 50_000;
/// Most small downloads of a row, for the same reason.
const SMALL_DOWNLOADS: u64 = 200_000;

/// All rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) big: Vec<Big>,
    pub(super) crowd: Crowd,
    pub(super) batch: Batch,
    pub(super) small: Small,
}

/// So many small files for each client, by one client and by several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) clients: [usize; 2],
    /// Files for each client.
    pub(super) files: u64,
    /// Length of each file, in bytes.
    pub(super) bytes: u64,
}

/// Upload and download of one size by one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Big {
    /// Length of each file, in bytes.
    pub(super) bytes: u64,
    /// Files one after the other: processor time is told in steps of 10 ms, so small ones need several.
    pub(super) files: u64,
}

/// Uploads by several clients at once, one file each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowd {
    pub(super) clients: usize,
    /// Length of each file, in bytes.
    pub(super) bytes: u64,
}

/// Uploads and downloads of many small files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Small {
    /// Length of each file, in bytes.
    pub(super) bytes: u64,
    /// Clients of the upload rows.
    pub(super) upload_clients: [usize; 3],
    /// Connections of the download row, which reads the files of the last upload row.
    pub(super) download_connections: usize,
    pub(super) uploads_max: u64,
    pub(super) downloads_max: u64,
    pub(super) time_max: Duration,
}

impl Plan {
    /// Makes the plan with all sizes and counts times `scale`, except for the small files' size, which is what they are about.
    pub(super) fn new(scale: f64) -> Self {
        let scaled = |number: u64| ((number as f64 * scale).round() as u64).max(1);
        let big = [(10_000_000, 10), (100_000_000, 3), (500_000_000, 1), (1_500_000_000, 1)];
        Self {
            big: big.into_iter().map(|(bytes, files)| Big { bytes: scaled(bytes), files }).collect(),
            crowd: Crowd { clients: 10, bytes: scaled(500_000_000) },
            batch: Batch { clients: [1, 10], files: scaled(100), bytes: SMALL_BYTES },
            small: Small {
                bytes: SMALL_BYTES,
                upload_clients: [1, 10, 16],
                download_connections: 64,
                uploads_max: scaled(SMALL_UPLOADS),
                downloads_max: scaled(SMALL_DOWNLOADS),
                time_max: SMALL_TIME,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;

    #[test]
    fn smallest_scale_still_has_a_byte_and_a_request_everywhere() {
        let plan = Plan::new(1e-12);
        assert!(plan.big.iter().all(|big| big.bytes == 1));
        assert_eq!((plan.crowd.bytes, plan.small.uploads_max, plan.small.downloads_max), (1, 1, 1));
    }
}
