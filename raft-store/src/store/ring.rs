//! The last log entries, decoded: replication and apply read them here and hardly ever in the database.
//!
//! It knows entries and their sizes, and nothing of what is durable.

use std::collections::VecDeque;

use super::types::Entry;

/// How many entries are kept at most: some seconds of writes at full load, so a follower that paused reads from memory.
pub(crate) const RING_ENTRIES_MAX: usize = 20_000;
/// How many encoded bytes they may have together; they are bounded by memory too, since an entry may have a mebibyte.
pub(crate) const RING_BYTES_MAX: usize = 32 << 20;

/// A run of consecutive entries that ends with the log's last one.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl Ring {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, entries_max, bytes_max }
    }

    fn first(&self) -> Option<u64> {
        self.entries.front().map(|(entry, _)| entry.log_id.index())
    }

    fn last(&self) -> Option<u64> {
        self.entries.back().map(|(entry, _)| entry.log_id.index())
    }

    /// Appends an entry of `bytes` encoded bytes. An entry that does not follow the last one starts the ring anew.
    pub(crate) fn push(&mut self, entry: Entry, bytes: usize) {
        if self.last().is_some_and(|last| last + 1 != entry.log_id.index()) {
            self.clear();
        }
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
        while self.entries.len() > self.entries_max || self.bytes > self.bytes_max {
            let Some((_, bytes)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    /// Drops every entry from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        while self.last().is_some_and(|last| last >= index) {
            self.bytes -= self.entries.pop_back().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// Drops every entry up to `index`.
    pub(crate) fn purge(&mut self, index: u64) {
        while self.first().is_some_and(|first| first <= index) {
            self.bytes -= self.entries.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Gives the entries of `start..end`, stopping after the one that reaches `bytes_max`; `None` if some are too old for it.
    pub(crate) fn range(&self, start: u64, end: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.first().filter(|first| *first <= start)?;
        let skip = usize::try_from(start - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut out = Vec::new();
        for (entry, size) in self.entries.iter().skip(skip).take_while(|(entry, _)| entry.log_id.index() < end) {
            out.push(entry.clone());
            bytes += size;
            if bytes >= bytes_max {
                break;
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::types::log_id;
    use openraft::EntryPayload;

    fn ring(entries_max: usize, bytes_max: usize, indexes: std::ops::Range<u64>) -> Ring {
        let mut ring = Ring::new(entries_max, bytes_max);
        for index in indexes {
            ring.push(Entry { log_id: log_id(1, index), payload: EntryPayload::Blank }, 10);
        }
        ring
    }

    fn indexes(entries: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        entries.map(|entries| entries.iter().map(|entry| entry.log_id.index()).collect())
    }

    #[test]
    fn ring_is_bounded_by_count_and_by_bytes() {
        assert_eq!(indexes(ring(3, 1000, 0..10).range(7, 99, 1000)), Some(vec![7, 8, 9]));
        assert_eq!(ring(3, 1000, 0..10).range(6, 99, 1000), None);
        assert_eq!(ring(100, 35, 0..10).range(6, 99, 1000), None);
        assert_eq!(ring(100, 35, 0..10).bytes, 30);
        assert_eq!(ring(100, 5, 0..10).bytes, 0);
    }

    #[test]
    fn range_stops_at_its_bytes_but_gives_at_least_one() {
        assert_eq!(indexes(ring(100, 1000, 0..10).range(2, 8, 25)), Some(vec![2, 3, 4]));
        assert_eq!(indexes(ring(100, 1000, 0..10).range(2, 8, 1)), Some(vec![2]));
        assert_eq!(indexes(ring(100, 1000, 0..10).range(10, 12, 25)), Some(vec![]));
    }

    #[test]
    fn truncated_and_purged_entries_are_gone_and_a_gap_starts_anew() {
        let mut ring = ring(100, 1000, 0..10);
        ring.truncate(8);
        ring.purge(3);
        assert_eq!(indexes(ring.range(4, 99, 1000)), Some(vec![4, 5, 6, 7]));
        assert_eq!(ring.range(3, 99, 1000), None);
        assert_eq!(ring.bytes, 40);
        ring.push(Entry { log_id: log_id(2, 20), payload: EntryPayload::Blank }, 10);
        assert_eq!(ring.range(7, 99, 1000), None);
        assert_eq!(indexes(ring.range(20, 99, 1000)), Some(vec![20]));
    }
}
