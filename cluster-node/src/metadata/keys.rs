//! The families and keys of the metadata, and nothing about what the rows mean.

use flotilla_api::{ChunkId, Epoch, FileName, NodeId, WriterId};
use flotilla_kv::Family;

/// Key: [`FileName::to_row`]. Value: [`super::rows::KeyRow`].
pub const FILES: Family = "sm_files";
/// Key: [`SegmentId::to_bytes`]. Value: [`super::rows::SegmentRow`].
pub const SEGMENTS: Family = "sm_segments";
/// Key: `ChunkId::to_bytes`. Value: [`super::rows::ChunkRow`].
pub const CHUNKS: Family = "sm_chunks";
/// Key: upload id, u64 BE. Value: [`super::rows::UploadRow`].
pub const UPLOADS: Family = "sm_uploads";
/// Key: node id, u64 BE. Value: the writer id that the node holds now; every other writer of that node is retired.
pub const WRITERS: Family = "sm_writers";
/// Key: writer id, u64 BE. Value: the node that holds it now; a writer that was granted and has no row here is retired.
pub const LIVE_WRITERS: Family = "sm_live_writers";
/// Key: writer id, u64 BE, of one that lives. Value: the lowest seq, u64, of a chunk that it may still name for the first time.
pub const SETTLED: Family = "sm_settled";
/// Key: [`queued`]. Value: [`super::rows::ReclaimRow`], what a later command releases.
pub const RECLAIM: Family = "sm_reclaim";
/// Key: `ChunkId::to_bytes`. Value: [`super::rows::GarbageRow`]: nothing names the chunk, and nothing may while the row
/// stands; it stands until nothing can.
pub const GARBAGE: Family = "sm_garbage";
/// Key: [`unlink`]. Value: where in the log the node was told last to unlink the chunk, u64; it has to do that and to say so.
pub const UNLINKS: Family = "sm_unlinks";
/// Key: [`queued`]. Value: [`super::rows::IdleRow`], a home that lost its file.
pub const IDLE: Family = "sm_idle";
/// Key: [`epoch`]. Value: [`super::rows::ClosedRow`], a closed home whose record is still there.
pub const CLOSED: Family = "sm_closed";
/// Key: `ChunkId::to_bytes`. Value: where in the log a copy of the chunk was dropped last, u64; what was copied under an earlier
/// lease does not count.
pub const DROPPED: Family = "sm_dropped";
/// Key: `TaskId::to_bytes`. Value: [`super::rows::TaskRow`].
pub const TASKS: Family = "sm_tasks";
/// Key: [`node`]. Value: [`super::rows::NodeRow`].
pub const NODES: Family = "sm_nodes";
/// Key: the uuid of a disk that joined, 16 bytes. Value: the id that its node was given, [`flotilla_api::NodeId`].
pub const DISKS: Family = "sm_disks";
/// Key: a name below. Value: as told there.
pub const SYSTEM: Family = "sm_system";

/// All families of the metadata, as they go into snapshots.
pub const FAMILIES: &[Family] = &[
    FILES,
    SEGMENTS,
    CHUNKS,
    UPLOADS,
    WRITERS,
    LIVE_WRITERS,
    SETTLED,
    RECLAIM,
    GARBAGE,
    UNLINKS,
    IDLE,
    CLOSED,
    DROPPED,
    TASKS,
    NODES,
    DISKS,
    SYSTEM,
];

/// In [`SYSTEM`]: the next writer id, u64.
pub const NEXT_WRITER: &[u8] = b"next_writer";
/// In [`SYSTEM`]: the next node id, u64; ids below it are never given again.
pub const NEXT_NODE: &[u8] = b"next_node";
/// In [`SYSTEM`]: the sealed floor, an epoch.
pub const SEALED_FLOOR: &[u8] = b"sealed_floor";
/// In [`SYSTEM`]: the supernode group's documents, `flotilla_api::peer::Documents`.
pub const DOCUMENTS: &[u8] = b"documents";
/// In [`SYSTEM`]: the directory that is made anew from this cluster, whose documents are taken over next, a uuid.
pub const NEXT_DIRECTORY: &[u8] = b"next_directory";
/// In [`SYSTEM`]: the cluster clock, u64, in milliseconds.
pub const CLOCK: &[u8] = b"clock";
/// In [`SYSTEM`]: how many tasks stand, u32.
pub const TASKS_STANDING: &[u8] = b"tasks_standing";

/// Where a segment was appended: it is unique, since a command appends at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// Gives the id as a database key.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

/// Gives a node's key in [`WRITERS`].
#[must_use]
pub fn node(id: NodeId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// Gives a writer's key in [`LIVE_WRITERS`] and [`SETTLED`].
#[must_use]
pub fn writer(id: WriterId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// Gives a key of [`RECLAIM`] or [`IDLE`], which sort by the time at which they were queued.
///
/// # Shape
/// `[cluster clock u64 BE][log index u64 BE]`
#[must_use]
pub fn queued(clock_ms: u64, index: u64) -> Vec<u8> {
    [clock_ms.to_be_bytes(), index.to_be_bytes()].concat()
}

/// Reads the cluster clock back from [`queued`].
#[must_use]
pub fn queued_at(key: &[u8]) -> Option<u64> {
    key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Gives a key of [`UNLINKS`].
///
/// # Shape
/// `[node u64 BE][ChunkId::to_bytes]`
#[must_use]
pub fn unlink(node: NodeId, chunk: ChunkId) -> Vec<u8> {
    [&node.0.to_be_bytes()[..], &chunk.to_bytes()].concat()
}

/// Reads node and chunk back from [`unlink`].
#[must_use]
pub fn of_unlink(key: &[u8]) -> Option<(NodeId, ChunkId)> {
    let (node, chunk) = key.split_first_chunk()?;
    Some((NodeId(u64::from_be_bytes(*node)), ChunkId::from_bytes(chunk.try_into().ok()?)))
}

/// Gives a key of [`CLOSED`]: an epoch is granted once, so it names one home.
#[must_use]
pub fn epoch(epoch: Epoch) -> Vec<u8> {
    epoch.0.to_be_bytes().to_vec()
}

/// Gives the range of a bucket's rows whose keys begin with `prefix`: first key, and the first key behind it.
#[must_use]
pub fn prefix_range(bucket: &str, prefix: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut from = bucket.as_bytes().to_vec();
    from.push(0);
    from.extend_from_slice(prefix.as_bytes());
    let to = after_prefix(&from);
    (from, to)
}

/// Gives the first key that sorts behind every key with this prefix.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut to = prefix.to_vec();
    while let Some(last) = to.pop() {
        if last < u8::MAX {
            to.push(last + 1);
            return Some(to);
        }
    }
    None
}

/// Gives a file's key in [`FILES`].
#[must_use]
pub fn file(name: &FileName) -> Vec<u8> {
    name.to_row()
}
