//! Manifests segment by segment: uploads that grow, and what a version takes over from them. Pure.

use flotilla_api::{NodeId, WriterId};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    keys::{self, SegmentId},
    life::purge::{Nameable, Namer},
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
    /// The nodes that hold a synced copy; none for a chunk that stays: a segment references it already.
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
    let rows = match chunk_rows(state, &append.chunks, append.writer)? {
        Ok(rows) => rows,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // The upload is named after the entry that began it: unique without a counter.
    let upload = append.upload.unwrap_or(at.index);
    row.segments.push(add_segment(state, append.chunks, rows, at));
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

/// Adds the segments of a commit, those of its upload, then `tail`, beside `others` that the version has already.
pub(super) fn add_segments(
    state: &mut dyn Txn,
    (upload, writer): (Option<u64>, WriterId),
    tail: Vec<PlacedChunk>,
    others: usize,
    at: Position,
) -> Result<Result<Vec<SegmentId>, Refusal>, Fault> {
    if tail.len() > SEGMENT_CHUNKS_MAX {
        return Ok(Err(Refusal::Invalid("the manifest is over its bounds".into())));
    }
    let rows = match chunk_rows(state, &tail, writer)? {
        Ok(rows) => rows,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut segments = match take_upload(state, upload, writer)? {
        Ok(segments) => segments,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if segments.len() + others >= SEGMENTS_MAX {
        return Ok(Err(Refusal::Invalid("the manifest is over its bounds".into())));
    }
    if !tail.is_empty() {
        segments.push(add_segment(state, tail, rows, at));
    }
    Ok(Ok(segments))
}

fn add_segment(state: &mut dyn Txn, placed: Vec<PlacedChunk>, rows: Vec<ChunkRow>, at: Position) -> SegmentId {
    let chunks: Vec<ChunkRef> = placed.into_iter().map(|placed| placed.chunk).collect();
    for (chunk, row) in chunks.iter().zip(rows) {
        put(state, keys::CHUNKS, chunk.id.to_bytes().to_vec(), &row);
    }
    let id = SegmentId(at.index);
    put(state, keys::SEGMENTS, id.to_bytes(), &SegmentRow { references: 1, chunks });
    id
}

/// The rows that the chunks of a segment get. A new chunk is one that the writer may name for the first time; one that stays is
/// counted once more. A file names no chunk twice, so each row is counted up once.
fn chunk_rows(
    state: &dyn Txn,
    placed: &[PlacedChunk],
    writer: WriterId,
) -> Result<Result<Vec<ChunkRow>, Refusal>, Fault> {
    let namer = Namer::of(state, writer)?;
    let mut rows = Vec::with_capacity(placed.len());
    for PlacedChunk { chunk, replicas } in placed {
        if !replicas.is_empty() {
            if namer.nameable(state, chunk.id)? != Nameable::New {
                return Ok(Err(Refusal::ChunkGone));
            }
            rows.push(ChunkRow { references: 1, length: chunk.length, replicas: replicas.clone() });
            continue;
        }
        match get::<ChunkRow>(state, keys::CHUNKS, &chunk.id.to_bytes())? {
            Some(row) if row.references > 0 && row.length == chunk.length => {
                rows.push(ChunkRow { references: row.references + 1, ..row });
            }
            Some(_) | None => return Ok(Err(Refusal::ChunkGone)),
        }
    }
    Ok(Ok(rows))
}
