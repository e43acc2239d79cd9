//! One download: manifest to pieces, fetched ahead in parallel over the nodes and given in order.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use flotilla_chunk_store::Depth;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::fetch::{self, Fetcher, PIECE};
use crate::metadata::{
    self, Metadata,
    read::ReadChunk,
    rows::{Content, FileRow},
};

/// Pieces on their way or waiting for the client, per download.
pub const PREFETCH: usize = 4;
/// The memory of one big download, in bytes.
pub const DOWNLOAD_BYTES: u32 = PREFETCH as u32 * PIECE as u32;

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
/// At most [`DOWNLOAD_BYTES`] in memory, which `held` stands for.
pub fn stream_range(
    metadata: Metadata,
    fetcher: Fetcher,
    file: FileRow,
    range: Range<u64>,
    held: Option<OwnedSemaphorePermit>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    if let Content::Inline(bytes) = &file.content {
        let part = bytes.slice(range.start as usize..range.end as usize);
        return stream::iter((!part.is_empty()).then_some(Ok(part))).left_stream();
    }
    let pieces = plan(metadata, file, range)
        .map_ok(move |Piece { chunk, part, depth }| {
            let fetcher = fetcher.clone();
            async move { fetcher.piece(chunk, part, depth).await.map_err(Error::Fetch) }
        })
        .try_buffered(PREFETCH);
    pieces
        .map(move |piece| {
            let _held_to_the_end = &held;
            piece
        })
        .right_stream()
}

/// Gives `range` of a version at once if it is one piece; streaming a small file costs more than reading it.
///
/// # Bounds
/// One piece; then `held` is taken, and goes with the bytes.
pub async fn one_piece(
    metadata: &Metadata,
    fetcher: &Fetcher,
    file: &FileRow,
    range: &Range<u64>,
    held: &mut Option<OwnedSemaphorePermit>,
) -> Result<Option<Bytes>, Error> {
    let bytes = match &file.content {
        Content::Inline(bytes) => bytes.slice(range.start as usize..range.end as usize),
        Content::Trees(_) if range.is_empty() || range.end - range.start > PIECE => return Ok(None),
        Content::Trees(_) => {
            let chunk = metadata.chunks(file, range.clone())?.into_iter().next();
            let mut pieces = chunk.map(|chunk| pieces(chunk, range)).unwrap_or_default();
            match (pieces.pop(), pieces.is_empty()) {
                (Some(Piece { chunk, part, depth }), true) if part.end - part.start == range.end - range.start => {
                    fetcher.piece(chunk, part, depth).await?
                }
                _ => return Ok(None),
            }
        }
    };
    Ok(Some(Bytes::from_owner(Held { bytes, _permit: held.take() })))
}

/// Bytes that give their memory back to the budget when they are dropped.
struct Held {
    bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
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
    held: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let parts = stream::iter(parts).flat_map(move |(head, part)| {
        let _held_to_the_end = &held;
        let bytes = stream_range(metadata.clone(), fetcher.clone(), file.clone(), part, None);
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
fn plan(metadata: Metadata, file: FileRow, range: Range<u64>) -> impl Stream<Item = Result<Piece, Error>> + Send {
    let segments = stream::try_unfold((metadata, file, range), |(metadata, file, range)| async move {
        if range.is_empty() {
            return Ok::<_, Error>(None);
        }
        let chunks = metadata.chunks(&file, range.clone())?;
        let next = chunks.last().map_or(range.start, |chunk| chunk.offset + chunk.length);
        if next <= range.start {
            return Err(Error::Short { at: range.start, end: range.end });
        }
        let pieces: Vec<_> = chunks.into_iter().flat_map(|chunk| pieces(chunk, &range)).map(Ok).collect();
        let left = next.min(range.end)..range.end;
        Ok(Some((stream::iter(pieces), (metadata, file, left))))
    });
    segments.try_flatten()
}

/// Cuts the part of a chunk that lies in the file's `range` into pieces, as ranges within the chunk. Of a chunk that is sent
/// whole, the whole has to be right before its first byte leaves.
fn pieces(chunk: ReadChunk, range: &Range<u64>) -> Vec<Piece> {
    let from = range.start.max(chunk.offset) - chunk.offset;
    let to = range.end.min(chunk.offset + chunk.length) - chunk.offset;
    let depth = if from == 0 && to == chunk.length { Depth::Whole } else { Depth::Blocks };
    let chunk = Arc::new(chunk);
    let mut pieces = Vec::new();
    let mut at = from;
    while at < to {
        let end = to.min((at / PIECE + 1) * PIECE);
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
            for Piece { part, depth, .. } in pieces(chunk(offset, length), &range) {
                assert_eq!(part.start, at);
                assert_eq!(part.start / PIECE, (part.end - 1) / PIECE);
                assert_eq!(depth == Depth::Whole, wanted == (0..length));
                at = part.end;
            }
            assert_eq!(at, wanted.end);
        }
    }
}
