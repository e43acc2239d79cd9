//! Manifests segment by segment: uploads that grow, and what a version takes over from them. Pure.

use flotilla_api::{NodeId, WriterId};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    keys::{self, SegmentId},
    life::purge::{Nameable, nameable},
    machine::{Answer, Outcome, Refusal},
    rows::{ChunkRef, ChunkRow, SEGMENT_CHUNKS_MAX, SEGMENTS_MAX, SegmentRow, UploadRow},
    table::{get, put},
    writers::writer_is_live,
};

/// A chunk and the nodes that acked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedChunk {
    /// The chunk.
    pub chunk: ChunkRef,
    /// The nodes that hold a synced copy.
    pub replicas: Vec<NodeId>,
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

pub(super) fn append_segment(state: &mut dyn Txn, append: SegmentAppend, at: Position) -> Result<Outcome, Fault> {
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
    if !all_new(state, &append.chunks, append.writer)? {
        return Ok(Err(Refusal::ChunkGone));
    }
    // The upload is named after the entry that began it: unique without a counter.
    let upload = append.upload.unwrap_or(at.index);
    row.segments.push(add_segment(state, append.chunks, at)?);
    put(state, keys::UPLOADS, upload.to_be_bytes().to_vec(), &row);
    Ok(Ok(Answer::Appended { upload }))
}

/// Ends an upload and gives its segments, whose references pass to the version.
pub(super) fn take_upload(
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

/// Whether every chunk is one that the writer may name for the first time.
pub(super) fn all_new(state: &dyn Txn, placed: &[PlacedChunk], writer: WriterId) -> Result<bool, Fault> {
    for PlacedChunk { chunk, .. } in placed {
        if nameable(state, chunk.id, writer)? != Nameable::New {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn add_segment(state: &mut dyn Txn, placed: Vec<PlacedChunk>, at: Position) -> Result<SegmentId, Fault> {
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
