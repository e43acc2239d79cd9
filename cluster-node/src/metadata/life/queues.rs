//! What waits in the life cycle's queues, page by page, from a consistent view. Reads only; the rules decide again in the log.

use std::collections::HashMap;

use flotilla_api::{ChunkId, Epoch, FileName, NodeId, WriterId, codec};
use flotilla_kv::{Family, View};
use serde::de::DeserializeOwned;

use super::super::{
    keys, list,
    rows::{ChunkRow, ClosedRow, GarbageRow, UploadRow},
};

/// Why a queue could not be read: as for a page of a list.
pub type Error = list::Error;

/// What waits for the cluster clock, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The cluster clock, in milliseconds.
    pub clock_ms: u64,
    /// When the oldest version that waits was replaced.
    pub reclaim_ms: Option<u64>,
    /// When the home that waits longest lost its file.
    pub idle_ms: Option<u64>,
}

/// What the metadata says of a copy that lies on a node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A version or an upload names the chunk, and this node as a holder.
    Named(ChunkRow),
    /// Something names the chunk, but not this node.
    Surplus,
    /// It is garbage; `told` says whether this node was told to unlink it.
    Garbage {
        /// Whether it was.
        told: bool,
    },
    /// Nothing names it, but its writer lives and may still do so.
    InFlight,
    /// Nothing names it, and its writer is retired: nothing ever will.
    Orphan,
    /// No writer of this id was ever granted.
    Foreign,
}

/// Tells what waits.
///
/// # Errors
/// [`Error`]; trying again does not help.
pub fn waiting(view: &dyn View) -> Result<Waiting, Error> {
    let first =
        |family| Ok::<_, Error>(view.scan(family, &[], None, 1)?.first().and_then(|(key, _)| keys::queued_at(key)));
    Ok(Waiting {
        clock_ms: get(view, keys::SYSTEM, keys::CLOCK)?.unwrap_or(super::clock::BEGIN_MS),
        reclaim_ms: first(keys::RECLAIM)?,
        idle_ms: first(keys::IDLE)?,
    })
}

/// Gives closed homes, lowest epochs first, that the directory has not let go of.
///
/// # Errors
/// As [`waiting`].
pub fn unreleased(view: &dyn View, limit: usize) -> Result<Vec<(FileName, Epoch)>, Error> {
    let mut homes = Vec::new();
    for (key, bytes) in view.scan(keys::CLOSED, &[], None, limit)? {
        let row: ClosedRow = codec::decode(&bytes)?;
        if let Some(epoch) = key.first_chunk().filter(|_| !row.released) {
            homes.push((row.name, Epoch(u64::from_be_bytes(*epoch))));
        }
    }
    Ok(homes)
}

/// Gives uploads of retired writers among the next `limit` behind `after`, and where to go on.
///
/// # Errors
/// As [`waiting`].
pub fn dead_uploads(view: &dyn View, after: Option<u64>, limit: usize) -> Result<(Vec<u64>, Option<u64>), Error> {
    let from = after.map_or(0, |after| after + 1).to_be_bytes();
    let rows = view.scan(keys::UPLOADS, &from, None, limit)?;
    let mut writers = Writers::new(view)?;
    let (mut dead, mut last) = (Vec::new(), None);
    for (key, bytes) in &rows {
        let row: UploadRow = codec::decode(bytes)?;
        last = key.first_chunk().map(|id| u64::from_be_bytes(*id));
        if writers.standing(row.writer)? == Standing::Orphan {
            dead.extend(last);
        }
    }
    Ok((dead, last.filter(|_| rows.len() == limit)))
}

/// Gives garbage that is not marked yet among the next `limit` behind `after`, and where to go on.
///
/// # Errors
/// As [`waiting`].
pub fn unmarked(
    view: &dyn View,
    after: Option<ChunkId>,
    limit: usize,
) -> Result<(Vec<ChunkId>, Option<ChunkId>), Error> {
    let mut from = after.map_or_else(Vec::new, |id| id.to_bytes().to_vec());
    if after.is_some() {
        from.push(0);
    }
    let rows = view.scan(keys::GARBAGE, &from, None, limit)?;
    let (mut found, mut last) = (Vec::new(), None);
    for (key, bytes) in &rows {
        last = key.as_slice().try_into().ok().map(ChunkId::from_bytes);
        if !codec::decode::<GarbageRow>(bytes)?.marked {
            found.extend(last);
        }
    }
    Ok((found, last.filter(|_| rows.len() == limit)))
}

/// Gives chunks that a node was told to unlink.
///
/// # Errors
/// As [`waiting`].
pub fn told(view: &dyn View, node: NodeId, limit: usize) -> Result<Vec<ChunkId>, Error> {
    let to = NodeId(node.0 + 1);
    let rows = view.scan(keys::UNLINKS, &keys::node(node), Some(&keys::node(to)), limit)?;
    Ok(rows.iter().filter_map(|(key, _)| keys::of_unlink(key)).map(|(_, id)| id).collect())
}

/// Gives the nodes that were told to unlink something.
///
/// # Bounds
/// One seek per node; at most `limit` nodes.
///
/// # Errors
/// As [`waiting`].
pub fn told_nodes(view: &dyn View, limit: usize) -> Result<Vec<NodeId>, Error> {
    let mut nodes: Vec<NodeId> = Vec::new();
    while nodes.len() < limit {
        let from = nodes.last().map_or_else(Vec::new, |last| keys::node(NodeId(last.0 + 1)));
        let first = view.scan(keys::UNLINKS, &from, None, 1)?;
        let Some((node, _)) = first.first().and_then(|(key, _)| keys::of_unlink(key)) else { break };
        nodes.push(node);
    }
    Ok(nodes)
}

/// Tells how copies on a node's disk stand, in the order of `ids`.
///
/// # Errors
/// As [`waiting`].
pub fn standings(view: &dyn View, node: NodeId, ids: &[ChunkId]) -> Result<Vec<Standing>, Error> {
    let of: Vec<Vec<u8>> = ids.iter().map(|id| id.to_bytes().to_vec()).collect();
    let chunks = view.get_many(keys::CHUNKS, &of)?;
    let garbage = view.get_many(keys::GARBAGE, &of)?;
    let mut writers = Writers::new(view)?;
    let each = ids.iter().zip(chunks.into_iter().zip(garbage));
    each.map(|(id, rows)| match rows {
        (Some(row), _) => {
            let row: ChunkRow = codec::decode(&row)?;
            Ok(if row.replicas.contains(&node) { Standing::Named(row) } else { Standing::Surplus })
        }
        (None, Some(row)) => {
            let row: GarbageRow = codec::decode(&row)?;
            Ok(Standing::Garbage { told: row.marked && row.holders.contains(&node) })
        }
        (None, None) => writers.standing(id.writer),
    })
    .collect()
}

/// Gives the next `limit` chunks behind `after` that something names, in the order of their ids.
///
/// # Errors
/// As [`waiting`].
pub fn named(view: &dyn View, after: Option<ChunkId>, limit: usize) -> Result<Vec<(ChunkId, ChunkRow)>, Error> {
    let mut from = after.map_or_else(Vec::new, |id| id.to_bytes().to_vec());
    if after.is_some() {
        from.push(0);
    }
    let rows = view.scan(keys::CHUNKS, &from, None, limit)?;
    let id = |key: &[u8]| key.try_into().ok().map(ChunkId::from_bytes);
    rows.iter().filter_map(|(key, row)| id(key).map(|id| Ok((id, codec::decode(row)?)))).collect()
}

/// Whether writers live, each looked up once.
struct Writers<'a> {
    view: &'a dyn View,
    next: u64,
    live: HashMap<WriterId, bool>,
}

impl<'a> Writers<'a> {
    fn new(view: &'a dyn View) -> Result<Self, Error> {
        let next = get(view, keys::SYSTEM, keys::NEXT_WRITER)?.unwrap_or(1);
        Ok(Self { view, next, live: HashMap::new() })
    }

    /// How a chunk that nothing names stands.
    fn standing(&mut self, writer: WriterId) -> Result<Standing, Error> {
        if writer.0 == 0 || writer.0 >= self.next {
            return Ok(Standing::Foreign);
        }
        let live = match self.live.get(&writer) {
            Some(live) => *live,
            None => {
                let live = self.view.get(keys::LIVE_WRITERS, &keys::writer(writer))?.is_some();
                self.live.insert(writer, live);
                live
            }
        };
        Ok(if live { Standing::InFlight } else { Standing::Orphan })
    }
}

fn get<T: DeserializeOwned>(view: &dyn View, family: Family, key: &[u8]) -> Result<Option<T>, Error> {
    Ok(view.get(family, key)?.map(|bytes| codec::decode(&bytes)).transpose()?)
}
