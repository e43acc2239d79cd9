//! Hands out work to the clients of a row until it is used up or the time is over. Knows no network.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::pool::File;

/// What is done with the files of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Upload each.
    Put,
    /// Download and compare each.
    Get,
    /// Delete each.
    Delete,
}

/// The work of one row, shared by its clients.
#[derive(Debug)]
pub(super) struct Supply {
    files: Arc<[File]>,
    operations: u64,
    time_max: Option<Duration>,
    next: AtomicU64,
}

impl Supply {
    /// Every file once, however long it takes.
    pub(super) fn once(files: impl Into<Arc<[File]>>) -> Self {
        let files = files.into();
        Self { operations: files.len() as u64, files, time_max: None, next: AtomicU64::new(0) }
    }

    /// The files round and round, until `operations` were handed out or `time_max` has passed.
    pub(super) fn bounded(files: impl Into<Arc<[File]>>, operations: u64, time_max: Duration) -> Self {
        Self { files: files.into(), operations, time_max: Some(time_max), next: AtomicU64::new(0) }
    }

    /// Gives the moment at which nothing more is handed out, for a row that begins now.
    pub(super) fn end(&self, now: Instant) -> Option<Instant> {
        self.time_max.map(|time| now + time)
    }

    /// Takes the next piece of work and its number.
    pub(super) fn take(&self) -> Option<(u64, File)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.operations || self.files.is_empty() {
            return None;
        }
        let file = (number % self.files.len() as u64) as usize;
        Some((number, self.files[file].clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Supply;
    use crate::pool::{File, Pool};

    fn ids(supply: &Supply) -> Vec<u64> {
        std::iter::from_fn(|| supply.take()).map(|(_, file)| file.id()).collect()
    }

    #[test]
    fn once_gives_each_file_once_and_bounded_goes_round() {
        let pool = Pool::new(1);
        let files: Vec<_> = (0..3).map(|id| File::new(pool.clone(), id, 1)).collect();
        assert_eq!(ids(&Supply::once(files.clone())), [0, 1, 2]);
        assert_eq!(ids(&Supply::bounded(files, 5, Duration::MAX)), [0, 1, 2, 0, 1]);
        assert!(ids(&Supply::bounded(Vec::new(), 5, Duration::MAX)).is_empty());
    }
}
