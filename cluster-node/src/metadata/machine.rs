//! The metadata rules: what each command does to the rows, and when it is refused. Pure.

use flotilla_api::{Epoch, FileName, NodeId, Version, WriterId, peer::Documents};
use flotilla_kv::Family;
use flotilla_raft_store::{Fault, Machine, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    keys::{self, SegmentId},
    rows::{
        ChunkRef, ChunkRow, Content, Etag, FileRow, HomeState, KeyRow, ReclaimRow, SEGMENT_CHUNKS_MAX, SEGMENTS_MAX,
        SegmentRow, Tree, UploadRow,
    },
    table::{get, put},
};

/// A change to the metadata. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a process start of `node` the right to write chunks, and retires the node's earlier writers.
    GrantWriter {
        /// The node.
        node: NodeId,
    },
    /// Makes a version current.
    Commit(Box<Commit>),
    /// Ends a file; the home stays.
    Delete(Delete),
    /// Adds a full segment to an upload.
    AppendSegment(SegmentAppend),
    /// Takes over the supernode group's documents if they are newer.
    PutDocuments(Documents),
}

/// A new version of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The file.
    pub name: FileName,
    /// The epoch that the home must have.
    pub epoch: Epoch,
    /// What must hold of the current version.
    pub precondition: Precondition,
    /// The node that wrote the chunks.
    pub node: NodeId,
    /// The process start that wrote the chunks; refused once it is retired, inline content too.
    pub writer: WriterId,
    /// The proposer's wall clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// Length of the content, in bytes.
    pub size: u64,
    /// The ETag.
    pub etag: Etag,
    /// The media type that the client gave.
    pub media_type: Option<String>,
    /// The content.
    pub body: Body,
}

/// The content that a commit names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The bytes themselves.
    Inline(bytes::Bytes),
    /// One tree: the segments of an upload, if there is one, then `tail`.
    Tree {
        /// The root.
        root: [u8; 32],
        /// Base-2 logarithm of the chunk size.
        chunk_shift: u8,
        /// The upload that holds the full segments; ended by the commit.
        upload: Option<u64>,
        /// The last chunks, at most [`SEGMENT_CHUNKS_MAX`].
        tail: Vec<PlacedChunk>,
    },
}

/// A chunk and the nodes that acked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedChunk {
    /// The chunk.
    pub chunk: ChunkRef,
    /// The nodes that hold a synced copy.
    pub replicas: Vec<NodeId>,
}

/// What must hold of the current version for a change to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// Nothing.
    Always,
}

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The file.
    pub name: FileName,
    /// The epoch that the home must have.
    pub epoch: Epoch,
    /// What must hold of the current version.
    pub precondition: Precondition,
}

/// A full segment of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentAppend {
    /// The upload; none begins one, whose id the answer gives.
    pub upload: Option<u64>,
    /// The node that wrote the chunks.
    pub node: NodeId,
    /// The process start that wrote them.
    pub writer: WriterId,
    /// The chunks, exactly [`SEGMENT_CHUNKS_MAX`].
    pub chunks: Vec<PlacedChunk>,
}

/// What a command did. Kept for retries: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The writer that was granted.
    Writer(WriterId),
    /// The version is current.
    Committed {
        /// Its place in the key's history.
        version: Version,
        /// Whether there was no live version before.
        created: bool,
    },
    /// The file is gone.
    Deleted {
        /// The tombstone's version.
        version: Version,
    },
    /// The segment was added.
    Appended {
        /// The upload.
        upload: u64,
    },
    /// Done, or nothing to do.
    Done,
    /// The command changed nothing.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The home is closed or has another epoch: the key is elsewhere, or was granted anew.
    WrongHome,
    /// The home takes no writes now.
    Sealed,
    /// A first commit under an epoch that the sealed floor has passed: a fresh epoch is needed.
    BelowFloor,
    /// The writer is retired, or its upload is gone.
    ChunkGone,
    /// There is no live version to delete.
    NotFound,
    /// The command itself breaks a bound.
    Invalid(String),
}

/// The rules of a cluster's metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileMachine;

impl Machine for FileMachine {
    type Command = Command;
    type Answer = Answer;

    const FAMILIES: &'static [Family] = keys::FAMILIES;

    fn apply(&self, state: &mut dyn Txn, command: Command, at: Position) -> Result<Answer, Fault> {
        let outcome = match command {
            Command::GrantWriter { node } => grant_writer(state, node)?,
            Command::Commit(commit) => commit_version(state, *commit, at)?,
            Command::Delete(delete) => delete_file(state, &delete, at)?,
            Command::AppendSegment(append) => append_segment(state, append, at)?,
            Command::PutDocuments(documents) => put_documents(state, &documents)?,
        };
        Ok(outcome.unwrap_or_else(Answer::Refused))
    }
}

type Outcome = Result<Answer, Refusal>;

fn grant_writer(state: &mut dyn Txn, node: NodeId) -> Result<Outcome, Fault> {
    let next: u64 = get(state, keys::SYSTEM, keys::NEXT_WRITER)?.unwrap_or(1);
    put(state, keys::SYSTEM, keys::NEXT_WRITER.to_vec(), &(next + 1));
    put(state, keys::WRITERS, keys::node(node), &WriterId(next));
    Ok(Ok(Answer::Writer(WriterId(next))))
}

fn writer_is_live(state: &dyn Txn, node: NodeId, writer: WriterId) -> Result<bool, Fault> {
    Ok(get::<WriterId>(state, keys::WRITERS, &keys::node(node))? == Some(writer))
}

/// Whether the cluster's own log allows a write under `epoch`; the row before the write if it does.
fn open_home(state: &dyn Txn, name: &FileName, epoch: Epoch) -> Result<Result<Option<KeyRow>, Refusal>, Fault> {
    let row: Option<KeyRow> = get(state, keys::FILES, &keys::file(name))?;
    Ok(match &row {
        Some(KeyRow { epoch: held, home, .. }) => match home {
            HomeState::Open if *held == epoch => Ok(row),
            HomeState::Sealed if *held == epoch => Err(Refusal::Sealed),
            HomeState::Open | HomeState::Sealed | HomeState::Closed => Err(Refusal::WrongHome),
        },
        None => {
            let floor: Epoch = get(state, keys::SYSTEM, keys::SEALED_FLOOR)?.unwrap_or_default();
            if epoch > floor { Ok(None) } else { Err(Refusal::BelowFloor) }
        }
    })
}

fn commit_version(state: &mut dyn Txn, commit: Commit, at: Position) -> Result<Outcome, Fault> {
    if !writer_is_live(state, commit.node, commit.writer)? {
        return Ok(Err(Refusal::ChunkGone));
    }
    let before = match open_home(state, &commit.name, commit.epoch)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Precondition::Always = commit.precondition;
    let content = match commit.body {
        Body::Inline(bytes) => Content::Inline(bytes),
        Body::Tree { root, chunk_shift, upload, tail } => {
            let mut segments = match take_upload(state, upload, commit.writer)? {
                Ok(segments) => segments,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if tail.len() > SEGMENT_CHUNKS_MAX || segments.len() >= SEGMENTS_MAX {
                return Ok(Err(Refusal::Invalid("the manifest is over its bounds".into())));
            }
            if !tail.is_empty() {
                segments.push(add_segment(state, tail, at)?);
            }
            Content::Trees(vec![Tree { length: commit.size, root, chunk_shift, segments }])
        }
    };
    let version = Version { epoch: commit.epoch, index: at.index };
    let created = before.as_ref().is_none_or(|row| row.file.is_none());
    reclaim(state, before, at);
    let file = FileRow {
        version,
        size: commit.size,
        etag: commit.etag,
        modified_ms: commit.now_ms,
        media_type: commit.media_type,
        content,
    };
    let row = KeyRow { epoch: commit.epoch, home: HomeState::Open, file: Some(file) };
    put(state, keys::FILES, keys::file(&commit.name), &row);
    Ok(Ok(Answer::Committed { version, created }))
}

fn delete_file(state: &mut dyn Txn, delete: &Delete, at: Position) -> Result<Outcome, Fault> {
    let before = match open_home(state, &delete.name, delete.epoch)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Precondition::Always = delete.precondition;
    if before.as_ref().is_none_or(|row| row.file.is_none()) {
        return Ok(Err(Refusal::NotFound));
    }
    reclaim(state, before, at);
    let row = KeyRow { epoch: delete.epoch, home: HomeState::Open, file: None };
    put(state, keys::FILES, keys::file(&delete.name), &row);
    Ok(Ok(Answer::Deleted { version: Version { epoch: delete.epoch, index: at.index } }))
}

fn append_segment(state: &mut dyn Txn, append: SegmentAppend, at: Position) -> Result<Outcome, Fault> {
    if !writer_is_live(state, append.node, append.writer)? {
        return Ok(Err(Refusal::ChunkGone));
    }
    let mut row = match append.upload {
        None => UploadRow { writer: append.writer, node: append.node, segments: Vec::new() },
        Some(id) => match get::<UploadRow>(state, keys::UPLOADS, &id.to_be_bytes())? {
            Some(row) if row.writer == append.writer => row,
            Some(_) | None => return Ok(Err(Refusal::ChunkGone)),
        },
    };
    if append.chunks.len() != SEGMENT_CHUNKS_MAX || row.segments.len() + 1 >= SEGMENTS_MAX {
        return Ok(Err(Refusal::Invalid("the manifest is over its bounds".into())));
    }
    // The upload is named after the entry that began it: unique without a counter.
    let upload = append.upload.unwrap_or(at.index);
    row.segments.push(add_segment(state, append.chunks, at)?);
    put(state, keys::UPLOADS, upload.to_be_bytes().to_vec(), &row);
    Ok(Ok(Answer::Appended { upload }))
}

/// Ends an upload and gives its segments, whose references pass to the version.
fn take_upload(
    state: &mut dyn Txn,
    upload: Option<u64>,
    writer: WriterId,
) -> Result<Result<Vec<SegmentId>, Refusal>, Fault> {
    let Some(id) = upload else { return Ok(Ok(Vec::new())) };
    let key = id.to_be_bytes().to_vec();
    match get::<UploadRow>(state, keys::UPLOADS, &key)? {
        Some(row) if row.writer == writer => {
            state.delete(keys::UPLOADS, key);
            Ok(Ok(row.segments))
        }
        Some(_) | None => Ok(Err(Refusal::ChunkGone)),
    }
}

fn add_segment(state: &mut dyn Txn, placed: Vec<PlacedChunk>, at: Position) -> Result<SegmentId, Fault> {
    let id = SegmentId(at.index);
    let mut chunks = Vec::with_capacity(placed.len());
    for PlacedChunk { chunk, replicas } in placed {
        put(
            state,
            keys::CHUNKS,
            chunk.id.to_bytes().to_vec(),
            &ChunkRow { references: 1, length: chunk.length, replicas },
        );
        chunks.push(chunk);
    }
    put(state, keys::SEGMENTS, id.to_bytes(), &SegmentRow { references: 1, chunks });
    Ok(id)
}

/// Queues the segments of a version that is no longer current: running downloads still read them.
fn reclaim(state: &mut dyn Txn, before: Option<KeyRow>, at: Position) {
    if let Some(FileRow { content: Content::Trees(trees), .. }) = before.and_then(|row| row.file) {
        let segments = trees.into_iter().flat_map(|tree| tree.segments).collect();
        put(state, keys::RECLAIM, at.index.to_be_bytes().to_vec(), &ReclaimRow { segments });
    }
}

fn put_documents(state: &mut dyn Txn, documents: &Documents) -> Result<Outcome, Fault> {
    let held: Documents = get(state, keys::SYSTEM, keys::DOCUMENTS)?.unwrap_or_default();
    if documents.revision > held.revision {
        put(state, keys::SYSTEM, keys::DOCUMENTS.to_vec(), documents);
    }
    Ok(Ok(Answer::Done))
}

#[cfg(test)]
mod tests;
