//! Reads of the log: from the ring of recent entries where it reaches back far enough, else from the database.

use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use futures::{Stream, stream};
use openraft::{OptionalSend, RaftLogReader};

use super::{
    StoreError, codec, keys, lock,
    log_store::Shared,
    types::{Entry, Types, Vote},
};

/// How many bytes of entries one message of replication carries (more if a single entry is bigger): a slow follower's link of
/// 10 Mbit/s takes it within the deadline of an append.
pub(crate) const REPLICATE_BYTES_MAX: usize = 1 << 20;

/// How many rows are read from the database at a time.
const PAGE_ROWS: usize = 256;

/// A reader of a group's log.
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Gives the entries of `start..end` up to the end of the log, stopping after the one that reaches `bytes_max`.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(entries) = lock(&self.shared.state).ring.range(start, end, bytes_max) {
            return Ok(entries);
        }
        let shared = self.shared.clone();
        // Old entries may have to come from the disk.
        let read = flotilla_env::blocking::spawn(move || read_stored(&shared, start, end, bytes_max)).await;
        read.map_err(|error| StoreError::Disk(io::Error::other(error)))?
    }

    fn last_index(&self) -> Option<u64> {
        lock(&self.shared.state).last.map(|last| last.index())
    }
}

fn read_stored(shared: &Shared, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
    let view = shared.kv.snapshot();
    let (mut next, to) = (start, keys::log_key(end));
    let (mut entries, mut bytes) = (Vec::new(), 0);
    'pages: loop {
        let page = view.scan(keys::LOG, &keys::log_key(next), Some(&to), PAGE_ROWS)?;
        for (key, value) in &page {
            let entry = codec::decode_entry(value)?;
            if keys::log_index(key) != Some(entry.log_id.index()) {
                return Err(StoreError::corrupt("log entry", "it stands under another entry's key"));
            }
            next = entry.log_id.index() + 1;
            entries.push(entry);
            bytes += value.len();
            if bytes >= bytes_max {
                break 'pages;
            }
        }
        if page.len() < PAGE_ROWS {
            break;
        }
    }
    // A purge unlinks files under an open view: what it took while we read counts as gone from the beginning.
    let purged = lock(&shared.state).purged.map(|purged| purged.index());
    entries.retain(|entry| Some(entry.log_id.index()) > purged);
    check_whole(&entries)?;
    Ok(entries)
}

fn check_whole(entries: &[Entry]) -> Result<(), StoreError> {
    match entries.windows(2).find(|pair| pair[0].log_id.index() + 1 != pair[1].log_id.index()) {
        None => Ok(()),
        Some(pair) => {
            Err(StoreError::corrupt("log", format!("there is a hole behind entry {}", pair[0].log_id.index())))
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        Ok(self.read(start, end, usize::MAX).await?)
    }

    /// Gives the first entries of a range, for one message of replication.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read(start, end, REPLICATE_BYTES_MAX).await?)
    }

    /// Streams committed entries to apply, a page at a time: a node that was away has many of them.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let reader = Self::new(self.shared.clone());
        stream::try_unfold((reader, start, VecDeque::new()), move |(reader, next, mut page)| async move {
            if page.is_empty() {
                page.extend(reader.read(next, end, REPLICATE_BYTES_MAX).await?);
            }
            match page.pop_front() {
                Some(entry) => Ok(Some((entry, (reader, next + 1, page)))),
                // To apply less than was asked for would make this replica differ from the others.
                None if next < end && reader.last_index().is_some_and(|last| next <= last) => {
                    Err(StoreError::corrupt("log", format!("entry {next} is missing")).into())
                }
                None => Ok(None),
            }
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(lock(&self.shared.state).vote)
    }
}
