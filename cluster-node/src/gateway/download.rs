//! One download: manifest to pieces, fetched ahead in parallel over the nodes and given in order.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use flotilla_chunk_store::Depth;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::{
    budget::{Budget, DOWNLOAD_BYTES, ReadHold, STEP_BYTES},
    fetch::{self, Fetcher, PIECE},
};
use crate::metadata::{
    self, Metadata,
    read::ReadChunk,
    rows::{Content, FileRow},
};

/// Pieces on their way or waiting for the client, per download.
pub const PREFETCH: usize = 4;
/// After how many bytes a download that goes on in steps asks for memory to read ahead.
const STRETCH: u64 = 8 << 20;

const _: () = assert!(PREFETCH as u64 * PIECE == DOWNLOAD_BYTES as u64, "the memory of pieces fetched ahead");
const _: () = assert!(PIECE.is_multiple_of(STEP_BYTES as u64), "a step lies in one piece");

/// What a download may hold.
#[derive(Debug, Clone)]
pub struct Memory {
    budget: Option<Budget>,
    hold: Option<Arc<ReadHold>>,
}

impl Memory {
    /// What a budget gave, with the budget to ask for more.
    #[must_use]
    pub fn of(budget: Budget, hold: ReadHold) -> Self {
        Self { budget: Some(budget), hold: Some(Arc::new(hold)) }
    }

    /// [`DOWNLOAD_BYTES`] that the caller holds.
    #[must_use]
    pub fn held_by_caller() -> Self {
        Self { budget: None, hold: None }
    }

    fn in_steps(&self) -> bool {
        matches!(self.hold.as_deref(), Some(ReadHold::Steps(_)))
    }

    /// Exchanges steps for reading ahead, if there is memory for it by now.
    fn grow(&mut self, length: u64) {
        if self.in_steps()
            && let Some(hold) = self.budget.as_ref().and_then(|budget| budget.try_read_ahead(length))
        {
            self.hold = Some(Arc::new(hold));
        }
    }
}

/// Why a download breaks off: the connection is cut then, a short body is never a clean end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A piece could not be had.
    #[error(transparent)]
    Fetch(#[from] Arc<fetch::Error>),
    /// The manifest could not be read.
    #[error(transparent)]
    Metadata(#[from] metadata::read::Error),
    /// The manifest ends before the file does.
    #[error("the manifest ends at byte {at} of {end}")]
    Short {
        /// Where it ends.
        at: u64,
        /// Where the file ends.
        end: u64,
    },
}

/// Streams `range` of a version.
///
/// # Bounds
/// What `memory` stands for: [`DOWNLOAD_BYTES`], or [`STEP_BYTES`] and as much with the connection.
pub fn stream_range(
    metadata: Metadata,
    fetcher: Fetcher,
    file: FileRow,
    range: Range<u64>,
    memory: Memory,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    if let Content::Inline(bytes) = &file.content {
        let part = bytes.slice(range.start as usize..range.end as usize);
        return stream::iter((!part.is_empty()).then_some(Ok(part))).left_stream();
    }
    let stretches = stream::unfold((range, memory), move |(range, mut memory)| {
        let (metadata, fetcher, file) = (metadata.clone(), fetcher.clone(), file.clone());
        async move {
            if range.is_empty() {
                return None;
            }
            memory.grow(range.end - range.start);
            let end = if memory.in_steps() { range.end.min((range.start / STRETCH + 1) * STRETCH) } else { range.end };
            let bytes = stretch(metadata, fetcher, file, range.start..end, memory.clone());
            Some((bytes, (end..range.end, memory)))
        }
    });
    stretches.flatten().right_stream()
}

fn stretch(
    metadata: Metadata,
    fetcher: Fetcher,
    file: FileRow,
    range: Range<u64>,
    memory: Memory,
) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    let in_steps = memory.in_steps();
    let (step, ahead) = if in_steps { (u64::from(STEP_BYTES), 1) } else { (PIECE, PREFETCH) };
    plan(metadata, file, range, step)
        .map_ok(move |Piece { chunk, part, depth }| {
            let fetcher = fetcher.clone();
            async move { fetcher.piece(chunk, part, depth).await.map_err(Error::Fetch) }
        })
        .try_buffered(ahead)
        .map_ok(move |bytes| {
            let _held_to_the_end = &memory;
            // A part of a piece would keep all of it in memory for as long as the client takes.
            if in_steps { Bytes::copy_from_slice(&bytes) } else { bytes }
        })
}

/// Gives `range` of a version at once if it is one piece; streaming a small file costs more than reading it.
///
/// # Bounds
/// One piece; `memory` goes with the bytes. Nothing is given to a download in steps.
pub async fn one_piece(
    metadata: &Metadata,
    fetcher: &Fetcher,
    file: &FileRow,
    range: &Range<u64>,
    memory: &Memory,
) -> Result<Option<Bytes>, Error> {
    let bytes = match &file.content {
        Content::Inline(bytes) => bytes.slice(range.start as usize..range.end as usize),
        Content::Trees(_) if range.is_empty() || range.end - range.start > PIECE || memory.in_steps() => {
            return Ok(None);
        }
        Content::Trees(_) => {
            let chunk = metadata.chunks(file, range.clone())?.into_iter().next();
            let mut pieces = chunk.map(|chunk| pieces(chunk, range, PIECE)).unwrap_or_default();
            match (pieces.pop(), pieces.is_empty()) {
                (Some(Piece { chunk, part, depth }), true) if part.end - part.start == range.end - range.start => {
                    fetcher.piece(chunk, part, depth).await?
                }
                _ => return Ok(None),
            }
        }
    };
    Ok(Some(Bytes::from_owner(Held { bytes, _memory: memory.clone() })))
}

/// Bytes that give their memory back to the budget when they are dropped.
struct Held {
    bytes: Bytes,
    _memory: Memory,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Streams parts of a version, each behind its own head, and a tail behind the last.
///
/// # Bounds
/// As [`stream_range`].
pub fn stream_parts(
    metadata: Metadata,
    fetcher: Fetcher,
    file: FileRow,
    parts: Vec<(Bytes, Range<u64>)>,
    tail: Bytes,
    memory: Memory,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let parts = stream::iter(parts).flat_map(move |(head, part)| {
        let bytes = stream_range(metadata.clone(), fetcher.clone(), file.clone(), part, memory.clone());
        stream::iter([Ok(head)]).chain(bytes)
    });
    parts.chain(stream::iter([Ok(tail)]))
}

/// A part of one piece of a chunk.
struct Piece {
    chunk: Arc<ReadChunk>,
    part: Range<u64>,
    depth: Depth,
}

/// Gives the pieces that make up `range`, in order; reads the manifest a segment at a time.
fn plan(
    metadata: Metadata,
    file: FileRow,
    range: Range<u64>,
    step: u64,
) -> impl Stream<Item = Result<Piece, Error>> + Send {
    let segments = stream::try_unfold((metadata, file, range), move |(metadata, file, range)| async move {
        if range.is_empty() {
            return Ok::<_, Error>(None);
        }
        let chunks = metadata.chunks(&file, range.clone())?;
        let next = chunks.last().map_or(range.start, |chunk| chunk.offset + chunk.length);
        if next <= range.start {
            return Err(Error::Short { at: range.start, end: range.end });
        }
        let pieces: Vec<_> = chunks.into_iter().flat_map(|chunk| pieces(chunk, &range, step)).map(Ok).collect();
        let left = next.min(range.end)..range.end;
        Ok(Some((stream::iter(pieces), (metadata, file, left))))
    });
    segments.try_flatten()
}

/// Cuts the part of a chunk that lies in the file's `range` into pieces of `step` bytes, as ranges within the chunk. Of a chunk that
/// is sent whole, the whole has to be right before its first byte leaves.
fn pieces(chunk: ReadChunk, range: &Range<u64>, step: u64) -> Vec<Piece> {
    let from = range.start.max(chunk.offset) - chunk.offset;
    let to = range.end.min(chunk.offset + chunk.length) - chunk.offset;
    let depth = if from == 0 && to == chunk.length { Depth::Whole } else { Depth::Blocks };
    let chunk = Arc::new(chunk);
    let mut pieces = Vec::new();
    let mut at = from;
    while at < to {
        let end = to.min((at / step + 1) * step);
        pieces.push(Piece { chunk: Arc::clone(&chunk), part: at..end, depth });
        at = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use flotilla_api::{ChunkId, WriterId};

    use super::*;

    #[test]
    fn pieces_cover_the_range_once_and_never_cross_a_piece() {
        let chunk = |offset, length| ReadChunk {
            id: ChunkId { writer: WriterId(1), seq: 1 },
            offset,
            tree_offset: offset,
            length,
            cv: [0; 32],
            replicas: Vec::new(),
        };
        for (offset, length, range) in [
            (0, 8 * PIECE, 0..8 * PIECE),
            (0, 8 * PIECE, 1..PIECE + 1),
            (8 * PIECE, 3 * PIECE + 7, 9 * PIECE - 1..11 * PIECE + 7),
            (8 * PIECE, 5, 0..100 * PIECE),
        ] {
            let wanted = range.start.max(offset) - offset..range.end.min(offset + length) - offset;
            let mut at = wanted.start;
            for Piece { part, depth, .. } in pieces(chunk(offset, length), &range, PIECE) {
                assert_eq!(part.start, at);
                assert_eq!(part.start / PIECE, (part.end - 1) / PIECE);
                assert_eq!(depth == Depth::Whole, wanted == (0..length));
                at = part.end;
            }
            assert_eq!(at, wanted.end);
        }
    }
}
