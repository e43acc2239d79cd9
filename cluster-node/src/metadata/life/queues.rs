//! What waits in the life cycle's queues, page by page, from a consistent view. Reads only; the rules decide again in the log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use flotilla_api::{ChunkId, Epoch, FileName, NodeId, WriterId, codec};
use flotilla_kv::{Family, View};
use serde::de::DeserializeOwned;

use super::super::{
    heal::tasks,
    keys, list,
    rows::{ChunkRow, ClosedRow, GarbageRow, UploadRow},
};

/// Chunks per step when those of a node are counted.
const NAMED_PAGE: usize = 4096;

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
    /// How many tasks stand, whose leases run out on the clock.
    pub tasks: u32,
}

/// What the metadata says of a copy that lies on a node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A version or an upload names the chunk, and this node as a holder.
    Named(ChunkRow),
    /// Something names the chunk, but not this node.
    Surplus,
    /// As `Surplus`, and this node was told to unlink it.
    Dropped,
    /// It is garbage; `told` says whether this node was told to unlink it.
    Garbage {
        /// Whether it was.
        told: bool,
    },
    /// Nothing names it, but its writer lives and may still do so; or a task is about to name this node.
    InFlight,
    /// Nothing names it, and its writer, which lives, has given it up: nothing ever will.
    GivenUp,
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
        tasks: get(view, keys::SYSTEM, keys::TASKS_STANDING)?.unwrap_or_default(),
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
        if writers.of(row.writer)? == Writer::Retired {
            dead.extend(last);
        }
    }
    Ok((dead, last.filter(|_| rows.len() == limit)))
}

/// Gives garbage that is not marked yet, or that nobody holds and nothing can name any more, among the next `limit` behind `after`,
/// and where to go on.
///
/// # Errors
/// As [`waiting`].
pub fn to_purge(
    view: &dyn View,
    after: Option<ChunkId>,
    limit: usize,
) -> Result<(Vec<ChunkId>, Option<ChunkId>), Error> {
    let mut from = after.map_or_else(Vec::new, |id| id.to_bytes().to_vec());
    if after.is_some() {
        from.push(0);
    }
    let rows = view.scan(keys::GARBAGE, &from, None, limit)?;
    let mut writers = Writers::new(view)?;
    let (mut found, mut last) = (Vec::new(), None);
    for (key, bytes) in &rows {
        last = key.as_slice().try_into().ok().map(ChunkId::from_bytes);
        let (Some(id), row) = (last, codec::decode::<GarbageRow>(bytes)?) else { continue };
        if !row.marked || row.holders.is_empty() && writers.standing(id)? != Standing::InFlight {
            found.push(id);
        }
    }
    Ok((found, last.filter(|_| rows.len() == limit)))
}

/// Gives chunks that a node was told to unlink, each with the place in the log at which it was.
///
/// # Errors
/// As [`waiting`].
pub fn told(view: &dyn View, node: NodeId, limit: usize) -> Result<Vec<(ChunkId, u64)>, Error> {
    let to = NodeId(node.0 + 1);
    let rows = view.scan(keys::UNLINKS, &keys::node(node), Some(&keys::node(to)), limit)?;
    let each = rows.iter().filter_map(|(key, told_at)| Some((keys::of_unlink(key)?.1, told_at)));
    each.map(|(id, told_at)| Ok((id, codec::decode(told_at)?))).collect()
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
    let mut planned: Option<HashSet<ChunkId>> = None;
    let each = ids.iter().zip(chunks.into_iter().zip(garbage));
    each.map(|(id, rows)| match rows {
        (Some(row), _) => {
            let row: ChunkRow = codec::decode(&row)?;
            if row.replicas.contains(&node) {
                return Ok(Standing::Named(row));
            }
            if view.get(keys::UNLINKS, &keys::unlink(node, *id))?.is_some() {
                return Ok(Standing::Dropped);
            }
            if planned.is_none() {
                planned = Some(tasks::planned_for(view, node)?);
            }
            let planned = planned.as_ref().is_some_and(|planned| planned.contains(id));
            Ok(if planned { Standing::InFlight } else { Standing::Surplus })
        }
        (None, Some(row)) => {
            let row: GarbageRow = codec::decode(&row)?;
            Ok(Standing::Garbage { told: row.marked && row.holders.contains(&node) })
        }
        (None, None) => writers.standing(*id),
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

/// Counts the chunks that nodes are named for.
///
/// # Bounds
/// Reads all chunks: some 100 ms for a hundred thousand.
///
/// # Errors
/// As [`waiting`].
pub fn named_for(view: &dyn View, nodes: &BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, u64>, Error> {
    let (mut counts, mut after) = (BTreeMap::new(), None);
    loop {
        let page = named(view, after, NAMED_PAGE)?;
        for node in page.iter().flat_map(|(_, row)| &row.replicas).filter(|node| nodes.contains(node)) {
            *counts.entry(*node).or_default() += 1;
        }
        match page.last().filter(|_| page.len() == NAMED_PAGE) {
            Some((last, _)) => after = Some(*last),
            None => return Ok(counts),
        }
    }
}

/// What is known of writers, each looked up once.
struct Writers<'a> {
    view: &'a dyn View,
    next: u64,
    known: HashMap<WriterId, Writer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Unknown,
    Retired,
    /// It has given up what nothing names below this seq.
    Live {
        settled: u64,
    },
}

impl<'a> Writers<'a> {
    fn new(view: &'a dyn View) -> Result<Self, Error> {
        let next = get(view, keys::SYSTEM, keys::NEXT_WRITER)?.unwrap_or(1);
        Ok(Self { view, next, known: HashMap::new() })
    }

    fn of(&mut self, id: WriterId) -> Result<Writer, Error> {
        if let Some(writer) = self.known.get(&id) {
            return Ok(*writer);
        }
        let key = keys::writer(id);
        let writer = if id.0 == 0 || id.0 >= self.next {
            Writer::Unknown
        } else if self.view.get(keys::LIVE_WRITERS, &key)?.is_none() {
            Writer::Retired
        } else {
            Writer::Live { settled: get(self.view, keys::SETTLED, &key)?.unwrap_or_default() }
        };
        self.known.insert(id, writer);
        Ok(writer)
    }

    /// How a chunk that nothing names stands.
    fn standing(&mut self, id: ChunkId) -> Result<Standing, Error> {
        Ok(match self.of(id.writer)? {
            Writer::Unknown => Standing::Foreign,
            Writer::Retired => Standing::Orphan,
            Writer::Live { settled } if id.seq < settled => Standing::GivenUp,
            Writer::Live { .. } => Standing::InFlight,
        })
    }
}

fn get<T: DeserializeOwned>(view: &dyn View, family: Family, key: &[u8]) -> Result<Option<T>, Error> {
    Ok(view.get(family, key)?.map(|bytes| codec::decode(&bytes)).transpose()?)
}

#[cfg(test)]
mod tests {
    use flotilla_kv::{Batch, Kv, MemKv};

    use super::*;
    use crate::metadata::rows::{ChunkRef, TaskRow};

    fn id(writer: u64, seq: u64) -> ChunkId {
        ChunkId { writer: WriterId(writer), seq }
    }

    /// Writers 1 (retired) and 2 (live on node 1, settled below 5) were granted; writer 3 was not.
    fn store(rows: impl FnOnce(&mut Batch)) -> MemKv {
        let kv = MemKv::inline(keys::FAMILIES);
        let mut batch = Batch::default();
        batch.put(keys::SYSTEM, keys::NEXT_WRITER, codec::encode(&3u64));
        batch.put(keys::LIVE_WRITERS, keys::writer(WriterId(2)), codec::encode(&NodeId(1)));
        batch.put(keys::SETTLED, keys::writer(WriterId(2)), codec::encode(&5u64));
        rows(&mut batch);
        kv.write(batch).expect("in memory");
        kv
    }

    fn garbage(batch: &mut Batch, id: ChunkId, marked: bool) {
        let row = GarbageRow { marked, holders: vec![NodeId(1)] };
        batch.put(keys::GARBAGE, id.to_bytes(), codec::encode(&row));
    }

    #[test]
    fn a_copy_stands_as_the_metadata_says_of_its_chunk_its_node_and_its_writer() {
        let kv = store(|batch| {
            let row = ChunkRow { references: 1, length: 3, replicas: vec![NodeId(1), NodeId(2)] };
            batch.put(keys::CHUNKS, id(1, 1).to_bytes(), codec::encode(&row));
            garbage(batch, id(1, 2), true);
            garbage(batch, id(2, 2), false);
            batch.put(keys::UNLINKS, keys::unlink(NodeId(4), id(1, 1)), codec::encode(&7u64));
            let chunks = vec![ChunkRef { id: id(1, 1), length: 3, cv: [1; 32] }];
            let work = tasks::Work::Copy { to: NodeId(5), chunks };
            let task = TaskRow { work, lease: None, until_ms: 0, taken: 0, planned: 1 };
            batch.put(keys::TASKS, tasks::TaskId(8, 0).to_bytes(), codec::encode(&task));
        });
        let check = |node, id, expect: fn(&Standing) -> bool| {
            let found = standings(&kv, NodeId(node), &[id]).expect("in memory");
            assert!(expect(&found[0]), "{id} on node {node}: {:?}", found[0]);
        };
        check(1, id(1, 1), |s| matches!(s, Standing::Named(_)));
        check(3, id(1, 1), |s| *s == Standing::Surplus);
        check(4, id(1, 1), |s| *s == Standing::Dropped);
        check(5, id(1, 1), |s| *s == Standing::InFlight);
        check(1, id(1, 2), |s| *s == Standing::Garbage { told: true });
        check(2, id(1, 2), |s| *s == Standing::Garbage { told: false });
        check(1, id(2, 2), |s| *s == Standing::Garbage { told: false });
        check(1, id(1, 9), |s| *s == Standing::Orphan);
        check(1, id(2, 9), |s| *s == Standing::InFlight);
        check(1, id(2, 4), |s| *s == Standing::GivenUp);
        check(1, id(2, 5), |s| *s == Standing::InFlight);
        check(1, id(3, 9), |s| *s == Standing::Foreign);
        check(1, id(0, 9), |s| *s == Standing::Foreign);
    }

    #[test]
    fn garbage_to_purge_and_told_nodes_are_found_page_by_page() {
        let kv = store(|batch| {
            (1..=10).for_each(|seq| garbage(batch, id(1, seq), seq % 2 == 0));
            for (node, seq) in [(2, 2), (2, 4), (7, 4)] {
                batch.put(keys::UNLINKS, keys::unlink(NodeId(node), id(1, seq)), codec::encode(&7u64));
            }
            // Held by nobody: what its writer may still name has to be remembered.
            for id in [id(1, 20), id(2, 4), id(2, 5)] {
                let row = GarbageRow { marked: true, holders: Vec::new() };
                batch.put(keys::GARBAGE, id.to_bytes(), codec::encode(&row));
            }
        });
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = to_purge(&kv, after, 3).expect("in memory");
            found.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        let unmarked = [1, 3, 5, 7, 9].map(|seq| id(1, seq));
        assert_eq!(found, [&unmarked[..], &[id(1, 20), id(2, 4)]].concat());
        assert_eq!(told_nodes(&kv, 9).expect("in memory"), [NodeId(2), NodeId(7)]);
        assert_eq!(told(&kv, NodeId(2), 9).expect("in memory"), [(id(1, 2), 7), (id(1, 4), 7)]);
        assert_eq!(told(&kv, NodeId(3), 9).expect("in memory"), []);
    }

    #[test]
    fn only_uploads_of_retired_writers_and_homes_that_were_not_released_are_given() {
        let kv = store(|batch| {
            for (upload, writer) in [(5u64, 1), (6, 2), (7, 1)] {
                let row = UploadRow { writer: WriterId(writer), node: NodeId(1), segments: Vec::new() };
                batch.put(keys::UPLOADS, upload.to_be_bytes(), codec::encode(&row));
            }
            for (epoch, released) in [(3, true), (4, false)] {
                let name = FileName { bucket: "demo".parse().expect("good"), key: "k".parse().expect("good") };
                batch.put(keys::CLOSED, keys::epoch(Epoch(epoch)), codec::encode(&ClosedRow { name, released }));
            }
        });
        assert_eq!(dead_uploads(&kv, None, 2).expect("in memory"), (vec![5], Some(6)));
        assert_eq!(dead_uploads(&kv, Some(6), 2).expect("in memory"), (vec![7], None));
        let homes = unreleased(&kv, 9).expect("in memory");
        assert_eq!(homes.into_iter().map(|(_, epoch)| epoch).collect::<Vec<_>>(), [Epoch(4)]);
        let waiting = waiting(&kv).expect("in memory");
        assert_eq!((waiting.clock_ms, waiting.reclaim_ms, waiting.idle_ms), (1, None, None));
    }
}
