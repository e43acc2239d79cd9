//! Reads of RocksDB, of the latest state or of a snapshot.
//!
//! It must not know of writes and syncs.

use rocksdb::{DB, ReadOptions, Snapshot};

use super::{engine_error, handle};
use crate::{Error, Family, Row, View};

/// Reads one state.
pub(super) struct Reader<'a> {
    db: &'a DB,
    snapshot: Option<Snapshot<'a>>,
}

impl<'a> Reader<'a> {
    /// Reads whatever is the latest state at the moment of each read.
    pub(super) fn latest(db: &'a DB) -> Self {
        Self { db, snapshot: None }
    }

    /// Reads the state of this moment.
    pub(super) fn snapshot(db: &'a DB) -> Self {
        Self { db, snapshot: Some(db.snapshot()) }
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = &self.snapshot {
            options.set_snapshot(snapshot);
        }
        options
    }
}

impl View for Reader<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get_cf_opt(handle(self.db, family)?, key, &self.options()).map_err(engine_error)
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let (family, options) = (handle(self.db, family)?, self.options());
        let values = self.db.batched_multi_get_cf_opt(family, keys, false, &options);
        values.into_iter().map(|value| Ok(value.map_err(engine_error)?.map(|bytes| bytes.to_vec()))).collect()
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        let mut options = self.options();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let mut cursor = self.db.raw_iterator_cf_opt(handle(self.db, family)?, options);
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        cursor.seek(from);
        while let Some((key, value)) = cursor.item() {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() == limit {
                return Ok(rows); // a further step may cross any number of tombstones
            }
            cursor.next();
        }
        cursor.status().map_err(engine_error)?; // an iterator that failed looks like one at its end
        Ok(rows)
    }

    fn last(&self, family: Family) -> Result<Option<Row>, Error> {
        let mut cursor = self.db.raw_iterator_cf_opt(handle(self.db, family)?, self.options());
        cursor.seek_to_last();
        let row = cursor.item().map(|(key, value)| (key.to_vec(), value.to_vec()));
        cursor.status().map_err(engine_error)?;
        Ok(row)
    }
}
