//! A group's timers and sizes, and what they mean to openraft.

use std::{sync::Arc, time::Duration};

use openraft::{Config, SnapshotPolicy};

use super::Error;

/// How many entries one message of replication carries, besides the limit in bytes.
const REPLICATE_ENTRIES_MAX: u64 = 300;
/// How many commands are appended to the log as one write; a bigger one would hold the next sync up.
const APPEND_ENTRIES_MAX: u64 = 4096;
/// How long openraft waits before it tries an unreachable node again: soon at first, so that a restarted node is found at once.
const RETRY_AFTER: &str = "50ms 100ms 200ms ...500ms";

/// A group's timers and sizes. The defaults are for production; tests make them small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Between two signs of life of the leader.
    pub heartbeat: Duration,
    /// The shortest wait of a node before it wants to lead. openraft adds the lease, which is [`Settings::election_max`], so
    /// that a new leader is there 1.4 to 2.5 s after the old one's last sign of life.
    pub election_min: Duration,
    /// The longest such wait, and the leader's lease.
    pub election_max: Duration,
    /// After how many entries a snapshot is built, or more of them for a large state; `None` builds them on demand only.
    pub snapshot_after_entries: Option<u64>,
    /// How many entries before the snapshot stay in the log, for nodes that were away shortly.
    pub keep_entries: u64,
    /// How many entries are purged at a time, at least.
    pub purge_entries_min: u64,
    /// A node that is further behind gets a snapshot although the log would reach back far enough.
    pub lag_entries_max: u64,
    /// The deadline of one message of entries: longer than a slow disk's sync, shorter than a caller's patience.
    pub append_timeout: Duration,
    /// The deadline of one message of a snapshot, which may carry a mebibyte over a slow link.
    pub snapshot_timeout: Duration,
    /// How big a part of a snapshot gets; memory is bounded by one part per snapshot that is built, sent or installed.
    pub snapshot_part_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(900),
            snapshot_after_entries: Some(50_000),
            keep_entries: 10_000,
            purge_entries_min: 1024,
            lag_entries_max: 100_000,
            append_timeout: Duration::from_secs(1),
            snapshot_timeout: Duration::from_secs(5),
            snapshot_part_bytes: 8 << 20,
        }
    }
}

impl Settings {
    /// Gives openraft's form.
    pub(super) fn config(&self, group: &str, elects: bool) -> Result<Arc<Config>, Error> {
        let heartbeat = millis(self.heartbeat);
        let config = Config {
            cluster_name: group.to_owned(),
            heartbeat_interval: heartbeat,
            // Entries are signs of life too: under load most heartbeats can be left out.
            heartbeat_min_interval: Some(heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            enable_pre_vote: Some(true),
            enable_elect: elects,
            // A restarted leader has to be elected: its state may be behind what it had applied before.
            enable_leader_restore: Some(false),
            install_snapshot_timeout: millis(self.snapshot_timeout),
            max_payload_entries: REPLICATE_ENTRIES_MAX,
            max_append_entries: Some(APPEND_ENTRIES_MAX),
            replication_lag_threshold: self.lag_entries_max,
            // Asked for by the task that sees how large the state is.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: self.purge_entries_min,
            backoff: RETRY_AFTER.to_owned(),
            ..Config::default()
        };
        Ok(Arc::new(config.validate().map_err(|error| Error::Settings(error.to_string()))?))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_are_valid_and_contradictory_ones_are_refused() {
        assert!(Settings::default().config("a", true).is_ok());
        let wrong = Settings { election_min: Duration::from_millis(50), ..Settings::default() };
        assert!(matches!(wrong.config("a", true), Err(Error::Settings(_))));
    }
}
