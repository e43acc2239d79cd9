//! A node's metadata as its database has it, for those who check a cluster from outside. It must not ask the node.

use std::collections::BTreeMap;

use flotilla_api::{ChunkId, Epoch, FileName, NodeId, codec};
use flotilla_chunk_store::Facts;
use flotilla_kv::{Family, View};
use serde::de::DeserializeOwned;

use crate::metadata::{
    keys,
    rows::{ChunkRow, Content, GarbageRow, HomeState, KeyRow, SegmentRow},
};

/// Why the metadata could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// A row does not decode, or one that must be there is not.
    #[error("metadata of '{0}' is corrupt: {1}")]
    Corrupt(Family, String),
}

/// A chunk that the metadata has a row of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// What every copy must say of itself, if a current version has it.
    pub facts: Option<Facts>,
    /// The nodes that hold a synced copy.
    pub replicas: Vec<NodeId>,
    /// Whether nothing names it any more; its holders then are those that may have a copy.
    pub garbage: bool,
}

/// What the metadata says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// All chunks that have a row.
    pub chunks: BTreeMap<ChunkId, Chunk>,
    /// How many rows wait for the reclaim queue, for uploads to end and for copies to be unlinked.
    pub waiting: usize,
    /// How many tasks stand.
    pub tasks: usize,
    /// The homes that are open, and under which epochs.
    pub homes: Vec<(FileName, Epoch)>,
}

/// The replicated families of the metadata.
pub const FAMILIES: &[Family] = keys::FAMILIES;

/// Reads all of it.
///
/// # Errors
/// [`Error`].
pub fn read(view: &dyn View) -> Result<Audit, Error> {
    let mut audit = Audit::default();
    for (key, row) in rows::<ChunkRow>(view, keys::CHUNKS)? {
        let chunk = Chunk { facts: None, replicas: row.replicas, garbage: false };
        audit.chunks.insert(id(keys::CHUNKS, &key)?, chunk);
    }
    for (key, row) in rows::<GarbageRow>(view, keys::GARBAGE)? {
        let chunk = Chunk { facts: None, replicas: row.holders, garbage: true };
        audit.chunks.insert(id(keys::GARBAGE, &key)?, chunk);
    }
    for (key, row) in rows::<KeyRow>(view, keys::FILES)? {
        if row.home == HomeState::Open {
            let corrupt = || Error::Corrupt(keys::FILES, format!("{key:?} is no file's name"));
            audit.homes.push((FileName::from_row(&key).ok_or_else(corrupt)?, row.epoch));
        }
        let Some(file) = row.file else { continue };
        let Content::Trees(trees) = file.content else { continue };
        for tree in trees {
            let mut tree_offset = 0;
            for segment in &tree.segments {
                let missing = || Error::Corrupt(keys::SEGMENTS, format!("{segment:?} of {key:?} is missing"));
                let bytes = view.get(keys::SEGMENTS, &segment.to_bytes())?.ok_or_else(missing)?;
                for chunk in decode::<SegmentRow>(keys::SEGMENTS, &bytes)?.chunks {
                    let length = u64::from(chunk.length);
                    let facts = Facts { length, tree_offset, cv: chunk.cv };
                    tree_offset += length;
                    let dangling = || Error::Corrupt(keys::CHUNKS, format!("{} is named and has no row", chunk.id));
                    let known = audit.chunks.get_mut(&chunk.id).filter(|known| !known.garbage);
                    known.ok_or_else(dangling)?.facts = Some(facts);
                }
            }
        }
    }
    for family in [keys::RECLAIM, keys::UPLOADS, keys::GARBAGE, keys::UNLINKS] {
        audit.waiting += view.scan(family, &[], None, usize::MAX)?.len();
    }
    audit.tasks = view.scan(keys::TASKS, &[], None, usize::MAX)?.len();
    Ok(audit)
}

fn rows<T: DeserializeOwned>(view: &dyn View, family: Family) -> Result<Vec<(Vec<u8>, T)>, Error> {
    let rows = view.scan(family, &[], None, usize::MAX)?;
    rows.into_iter().map(|(key, value)| Ok((key, decode(family, &value)?))).collect()
}

fn id(family: Family, key: &[u8]) -> Result<ChunkId, Error> {
    let bytes = key.try_into().map_err(|_| Error::Corrupt(family, format!("{key:?} is no chunk's id")))?;
    Ok(ChunkId::from_bytes(bytes))
}

fn decode<T: DeserializeOwned>(family: Family, bytes: &[u8]) -> Result<T, Error> {
    codec::decode(bytes).map_err(|error| Error::Corrupt(family, error.to_string()))
}
