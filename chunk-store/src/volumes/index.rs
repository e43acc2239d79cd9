//! Where records lie: rows in the node's database, written unsynced, since the volumes are their log.
//!
//! The mark stands in the same batch as the rows that it speaks of, and a crash keeps a prefix of the batches: whatever the
//! database lost lies behind the mark that it still has.
//!
//! # Shape
//! One family. `c`, shelf u8, ChunkId: a [`Place`]. `v`, number u32 BE: a [`Row`]. `m`: a [`Mark`]. All values are coded values.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use flotilla_api::{ChunkId, codec};
use flotilla_kv::{Batch, Family, FamilySpec, Kv};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::record::{Epoch, record_bytes};
use crate::{error::Error, names::shelf_of};

const INDEX: Family = "chunk_index";

/// The families that a store needs; whoever opens the database opens at least these.
pub const FAMILIES: &[FamilySpec] = &[FamilySpec::state(INDEX)];

const MARK: &[u8] = b"m";

/// Where a chunk's record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The volume.
    pub(crate) volume: u32,
    /// The order of the volume's epoch.
    pub(crate) order: u64,
    /// Where the record starts.
    pub(crate) offset: u64,
    /// Length of the data.
    pub(crate) length: u64,
}

/// What a volume is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Records are appended.
    Open,
    /// Only read.
    Sealed,
    /// Nothing in it counts any more.
    Free,
}

/// What is known of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) epoch: Epoch,
    pub(crate) capacity: u64,
    pub(crate) stage: Stage,
    /// Where the last record ends.
    pub(crate) end: u64,
    /// What records take that the index points to.
    pub(crate) live_bytes: u64,
    pub(crate) live_chunks: u64,
    /// What was given back to the file system.
    pub(crate) punched_bytes: u64,
}

/// Up to where the index knows the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The order of the epoch of the volume that was open.
    pub(crate) order: u64,
    /// Where its last record ended.
    pub(crate) offset: u64,
}

/// The rows of one store.
#[derive(Clone)]
pub(crate) struct Index(Arc<dyn Kv>);

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    pub(crate) fn new(kv: Arc<dyn Kv>) -> Self {
        Self(kv)
    }

    pub(crate) fn find(&self, id: ChunkId) -> Result<Option<Place>, Error> {
        self.get(&chunk_key(id))
    }

    pub(crate) fn mark(&self) -> Result<Option<Mark>, Error> {
        self.get(MARK)
    }

    pub(crate) fn rows(&self) -> Result<BTreeMap<u32, Row>, Error> {
        let rows = self.0.scan(INDEX, b"v", Some(b"w"), usize::MAX).map_err(unreadable)?;
        rows.iter().map(|(key, value)| Ok((number_of(key)?, decode(value)?))).collect()
    }

    /// Lists the chunks of a shelf that have a record, in their order, from the one after `after` on.
    pub(crate) fn list(&self, shelf: u8, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, Error> {
        let mut from = vec![b'c', shelf];
        if let Some(after) = after {
            from.extend(after.to_bytes());
            from.push(0); // the first key behind it
        }
        let rows = self.0.scan(INDEX, &from, Some(&[b'c', shelf + 1]), limit).map_err(unreadable)?;
        let id = |key: &[u8]| key.get(2..).and_then(|id| id.try_into().ok()).map(ChunkId::from_bytes);
        Ok(rows.iter().filter_map(|(key, _)| id(key)).collect())
    }

    pub(crate) fn write(&self, batch: Batch) -> Result<(), flotilla_kv::Error> {
        self.0.write(batch)
    }

    /// Waits until every earlier write is durable; blocks.
    pub(crate) fn sync(&self) -> Result<(), flotilla_kv::Error> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        self.0.sync_then(Box::new(move |result| drop(done.send(result))));
        wait.recv().unwrap_or(Err(flotilla_kv::Error::Closed))
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        self.0.get(INDEX, key).map_err(unreadable)?.map(|value| decode(&value)).transpose()
    }
}

/// Changes of the index that are made at once.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    batch: Batch,
    /// What the batch says of a chunk.
    moved: HashMap<ChunkId, Option<Place>>,
    /// Chunks that came to and went from a volume, and the bytes of their records.
    gained: BTreeMap<u32, Change>,
}

/// How the live records of a volume change.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change {
    /// The order of the volume's epoch.
    pub(crate) order: u64,
    pub(crate) bytes: i64,
    pub(crate) chunks: i64,
}

impl Edit {
    /// Gives where a chunk lies once the edit is written.
    pub(crate) fn find(&self, index: &Index, id: ChunkId) -> Result<Option<Place>, Error> {
        match self.moved.get(&id) {
            Some(place) => Ok(*place),
            None => index.find(id),
        }
    }

    /// Points a chunk to a place; `old` is what [`Edit::find`] gave.
    pub(crate) fn point(&mut self, id: ChunkId, old: Option<Place>, new: Place) {
        if let Some(old) = old {
            self.count(&old, -1);
        }
        self.count(&new, 1);
        self.batch.put(INDEX, chunk_key(id), codec::encode(&new));
        self.moved.insert(id, Some(new));
    }

    /// Forgets a chunk.
    pub(crate) fn forget(&mut self, id: ChunkId, old: Place) {
        self.count(&old, -1);
        self.batch.delete(INDEX, chunk_key(id));
        self.moved.insert(id, None);
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        self.batch.put(INDEX, MARK, codec::encode(&mark));
    }

    pub(crate) fn set_row(&mut self, number: u32, row: &Row) {
        self.batch.put(INDEX, row_key(number), codec::encode(row));
    }

    pub(crate) fn drop_row(&mut self, number: u32) {
        self.batch.delete(INDEX, row_key(number));
    }

    /// Takes what chunks came and went, by volume.
    pub(crate) fn take_changes(&mut self) -> BTreeMap<u32, Change> {
        std::mem::take(&mut self.gained)
    }

    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }

    fn count(&mut self, place: &Place, sign: i64) {
        let change = self.gained.entry(place.volume).or_default();
        change.order = place.order;
        change.bytes += sign * i64::try_from(record_bytes(place.length)).expect("a record has a megabyte");
        change.chunks += sign;
    }
}

fn chunk_key(id: ChunkId) -> [u8; 18] {
    let mut key = [0; 18];
    key[0] = b'c';
    key[1] = shelf_of(id);
    key[2..].copy_from_slice(&id.to_bytes());
    key
}

fn row_key(number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [b'v', a, b, c, d]
}

fn number_of(key: &[u8]) -> Result<u32, Error> {
    let number = key.get(1..).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
    number.ok_or_else(|| unreadable("a volume's row has a wrong key"))
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    codec::decode(value).map_err(unreadable)
}

fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Io { what: "read the index of the volumes", source: std::io::Error::other(source) }
}
