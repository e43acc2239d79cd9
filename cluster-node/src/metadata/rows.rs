//! The rows of the metadata. Stored: fields are never reordered, variants only added at the end.

use bytes::Bytes;
use flotilla_api::{ChunkId, Epoch, FileName, NodeId, Version, WriterId};
use serde::{Deserialize, Serialize};

use super::{
    heal::{Lease, Work},
    keys::SegmentId,
};

/// The most chunks of one segment; with their rows a commit stays far below the 1,024 rows that a command may touch.
pub const SEGMENT_CHUNKS_MAX: usize = 256;
/// The most segments of one version: 1,024 of 256 chunks of 8 MiB are 2 TiB.
pub const SEGMENTS_MAX: usize = 1024;
/// The most bytes of a file that stand in its metadata.
pub const INLINE_MAX: usize = 4096;

/// Whether a home takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HomeState {
    /// Reads and writes.
    Open,
    /// Reads only.
    Sealed,
    /// Neither; the key is elsewhere.
    Closed,
}

/// The home record of a key and its current version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// Whether the home takes writes.
    pub home: HomeState,
    /// The current version; none after a delete (the tombstone keeps the home).
    pub file: Option<FileRow>,
}

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// Its place in the key's history.
    pub version: Version,
    /// Length, in bytes.
    pub size: u64,
    /// What the ETag is made of.
    pub etag: Etag,
    /// The proposer's wall clock at the commit, in milliseconds since 1970; for display.
    pub modified_ms: u64,
    /// The media type that the client gave.
    pub media_type: Option<String>,
    /// The bytes, or where they are.
    pub content: Content,
}

/// The strong ETag of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Etag {
    /// The BLAKE3 root of the whole content; prints as 64 hex digits.
    Root([u8; 32]),
    /// The BLAKE3 of the concatenated roots of so many trees; prints as 64 hex digits, `-` and the count.
    Trees([u8; 32], u32),
}

impl std::fmt::Display for Etag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(root) => write!(f, "{}", blake3::Hash::from_bytes(*root).to_hex()),
            Self::Trees(hash, count) => write!(f, "{}-{count}", blake3::Hash::from_bytes(*hash).to_hex()),
        }
    }
}

impl std::str::FromStr for Etag {
    type Err = ();

    /// Reads what [`Etag`] prints; anything else is the ETag of no file.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (hash, count) = match text.split_once('-') {
            None => (text, None),
            Some((hash, count)) => (hash, Some(count.parse().map_err(|_| ())?)),
        };
        let bytes = *blake3::Hash::from_hex(hash).map_err(|_| ())?.as_bytes();
        let etag = count.map_or(Self::Root(bytes), |count| Self::Trees(bytes, count));
        // Upper case and leading zeros read too, but ETags are compared as text.
        if etag.to_string() == text { Ok(etag) } else { Err(()) }
    }
}

/// A version's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// The bytes themselves, at most [`INLINE_MAX`].
    Inline(Bytes),
    /// BLAKE3 trees, one after the other.
    Trees(Vec<Tree>),
}

/// A run of content with one BLAKE3 root; every chunk but the last is full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Length, in bytes.
    pub length: u64,
    /// The root.
    pub root: [u8; 32],
    /// Base-2 logarithm of the chunk size in bytes.
    pub chunk_shift: u8,
    /// The manifest, in order; every segment but the last is full.
    pub segments: Vec<SegmentId>,
}

/// A part of a manifest: immutable, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    /// How many versions and uploads reference it.
    pub references: u32,
    /// The chunks, in order.
    pub chunks: Vec<ChunkRef>,
}

/// A chunk within a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The chunk.
    pub id: ChunkId,
    /// Length, in bytes.
    pub length: u32,
    /// The non-root BLAKE3 chaining value of its bytes at its offset in its tree.
    pub cv: [u8; 32],
}

/// What the cluster knows of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRow {
    /// How many segments reference it.
    pub references: u32,
    /// Length, in bytes.
    pub length: u32,
    /// The nodes that hold a synced copy.
    pub replicas: Vec<NodeId>,
}

/// An upload whose manifest outgrew one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// Who writes it; the upload is dead once the writer is retired.
    pub writer: WriterId,
    /// The node of the writer.
    pub node: NodeId,
    /// The segments so far.
    pub segments: Vec<SegmentId>,
}

/// A chunk that nothing names: it was named and lost its last reference, or its writer released it, or its writer is retired.
/// While the row stands nothing may name the chunk again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GarbageRow {
    /// Whether the holders were told to unlink it.
    pub marked: bool,
    /// The nodes that have, or may have, a copy and have not said that it is gone.
    pub holders: Vec<NodeId>,
}

/// A home that lost its file; it may have another one by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleRow {
    /// The key.
    pub name: FileName,
    /// The home's epoch.
    pub epoch: Epoch,
}

/// A home that this cluster's log closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedRow {
    /// The key.
    pub name: FileName,
    /// Whether the directory has let go of it; only then may its record be dropped.
    pub released: bool,
}

/// Segments that nothing current references; released by a later command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimRow {
    /// The segments, each to lose one reference.
    pub segments: Vec<SegmentId>,
}

/// What was decided about a node; a node without a row is an ordinary one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Whether all its data is to go to others.
    pub draining: bool,
    /// Whether it leaves the cluster for ever.
    pub leaves: bool,
}

/// A task that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// What is left of it.
    pub work: Work,
    /// The lease that holds until another one is given.
    pub lease: Option<Lease>,
    /// When on the cluster clock it can be taken over, in milliseconds.
    pub until_ms: u64,
    /// How often it was taken.
    pub taken: u32,
    /// How many chunks it was planned with.
    pub planned: u32,
}
