//! The growing chunk list of one upload: chunks in order as their syncs end, segments appended as they fill.

use flotilla_api::ChunkId;
use futures::{StreamExt, stream::FuturesOrdered};
use tokio_util::task::AbortOnDropHandle;

use super::{
    open_chunk::{Ending, OpenChunk},
    places,
    trace::Trace,
    tree::{ChunkHash, TreeHasher},
    upload::{Error, Uploads},
};
use crate::metadata::{
    Answer, Command, SegmentAppend,
    commit::Body as CommitBody,
    rows::{ChunkRef, SEGMENT_CHUNKS_MAX},
    segments::PlacedChunk,
};

/// Chunks whose syncs may be under way while the next one streams.
const SYNCING_MAX: usize = 2;

/// The growing chunk list of one upload.
pub(super) struct Manifest {
    uploads: Uploads,
    tree: TreeHasher,
    offset: u64,
    syncing: FuturesOrdered<Ending>,
    tail: Vec<PlacedChunk>,
    upload: Option<u64>,
    trace: Trace,
}

impl Manifest {
    /// Makes an empty list.
    pub(super) fn new(uploads: Uploads, trace: Trace) -> Self {
        let (tree, syncing) = (TreeHasher::default(), FuturesOrdered::new());
        Self { uploads, tree, offset: 0, syncing, tail: Vec::new(), upload: None, trace }
    }

    /// Gives the number of bytes in the list.
    pub(super) fn length(&self) -> u64 {
        self.offset
    }

    /// Ends a chunk and takes it; waits while too many before it are not synced.
    pub(super) async fn push(&mut self, chunk: OpenChunk) -> Result<(), Error> {
        self.offset += chunk.length();
        let (hash, task) = chunk.finish();
        self.tree.push(hash);
        self.syncing.push_back(task);
        while self.syncing.len() > SYNCING_MAX {
            self.take_synced().await?;
        }
        Ok(())
    }

    /// Takes a stored chunk into the new part of the list.
    pub(super) async fn push_stored(&mut self, chunk: ChunkRef) -> Result<(), Error> {
        self.pass(&chunk);
        // Behind the chunks that are not synced yet, since the list is in order.
        let stored = tokio::spawn(async move { Ok(PlacedChunk { chunk, replicas: Vec::new() }) });
        self.syncing.push_back(AbortOnDropHandle::new(stored));
        while self.syncing.len() > SYNCING_MAX {
            self.take_synced().await?;
        }
        Ok(())
    }

    /// Takes a chunk whose whole segment stays: it counts for the tree alone.
    pub(super) fn pass(&mut self, chunk: &ChunkRef) {
        self.offset += u64::from(chunk.length);
        self.tree.push(ChunkHash::stored(chunk.cv));
    }

    async fn take_synced(&mut self) -> Result<(), Error> {
        let Some(result) = self.syncing.next().await else { return Ok(()) };
        self.tail.push(result.map_err(|error| Error::Internal(error.to_string()))??);
        // A full tail is appended only when more follows: the commit itself takes one segment.
        if self.tail.len() == SEGMENT_CHUNKS_MAX && !self.syncing.is_empty() {
            self.append().await?;
        }
        Ok(())
    }

    async fn append(&mut self) -> Result<(), Error> {
        flotilla_env::failpoint!("gateway.before_segment", |_| Err(Error::Metadata(
            flotilla_raft_store::Error::NoLeader.into()
        )));
        let parts = self.uploads.parts();
        let id = parts.metadata.fresh_id(&*parts.entropy);
        let chunks = std::mem::take(&mut self.tail);
        let ids: Vec<ChunkId> = chunks.iter().map(|placed| placed.chunk.id).collect();
        let append = SegmentAppend { upload: self.upload, node: parts.node, writer: parts.writer, chunks };
        self.trace.appending(id.clone(), append.clone());
        // An append is no commit: whatever became of it, a file that names it can't come to be any more.
        let applied = parts.metadata.propose(id, Command::AppendSegment(append)).await;
        flotilla_env::failpoint!("gateway.after_segment", |_| Err(Error::Place(places::Error::NoLeader(
            "a failpoint".into()
        ))));
        let applied = applied.map_err(|error| match error.is_indeterminate() {
            true => Error::Place(places::Error::NoLeader(error.to_string())),
            false => Error::Metadata(error),
        })?;
        match applied.answer {
            Answer::Appended { upload } => {
                self.trace.appended(upload, &ids);
                self.upload = Some(upload);
            }
            Answer::Refused(refusal) => {
                self.trace.not_appended();
                return Err(Error::Refused(refusal));
            }
            other => return Err(Error::Internal(format!("an append was answered with {other:?}"))),
        }
        Ok(())
    }

    /// Waits for every chunk and gives the tree's root and what the commit names.
    pub(super) async fn finish(mut self) -> Result<([u8; 32], CommitBody), Error> {
        while !self.syncing.is_empty() {
            self.take_synced().await?;
        }
        let root = self.tree.root();
        let chunk_shift = self.uploads.parts().chunk_size.trailing_zeros() as u8;
        Ok((root, CommitBody::Tree { root, chunk_shift, upload: self.upload, tail: self.tail }))
    }
}
