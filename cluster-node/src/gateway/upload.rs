//! One upload: body to chunks, chunks to replicas, manifest to a commit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use flotilla_api::{ChunkId, CommandId, Epoch, FileName, NodeId, Version, WriterId, peer::ChunkAck};
use flotilla_chunk_store::{ChunkStore, Sums};
use flotilla_client::PeerClient;
use flotilla_env::{Clock, Entropy};
use futures::{Stream, StreamExt, stream::FuturesOrdered};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use super::{
    places::{self, Places},
    replicate::{ChunkHead, Fan, Hop, Trailer},
    tree::{ChunkHash, ChunkHasher, TreeHasher},
};
use crate::metadata::{
    self, Answer, Command, Commit, Metadata, Precondition, Refusal, SegmentAppend,
    machine::{Body as CommitBody, PlacedChunk},
    rows::{ChunkRef, Etag, INLINE_MAX, SEGMENT_CHUNKS_MAX, SEGMENTS_MAX},
};

/// Chunks whose syncs may be under way while the next one streams.
const SYNCING_MAX: usize = 2;
/// How often a chunk that lacks copies is sent to another node.
const COPY_TRIES_MAX: usize = 3;
/// Memory that one big upload can hold: frames between the sockets and the writers.
const UPLOAD_BYTES: u32 = 4 << 20;
/// How much of a chunk is read back at once for another copy.
const COPY_STEP: u64 = 256 << 10;
/// How long an upload waits for memory before it is refused.
const BUDGET_WAIT: Duration = Duration::from_secs(10);

/// Why an upload failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body broke off or was malformed; nothing was committed.
    #[error("the body broke off: {0}")]
    Body(#[source] BodyError),
    /// The body is longer than a manifest can hold.
    #[error("the body is longer than {max_bytes} bytes")]
    TooLarge {
        /// The longest body.
        max_bytes: u64,
    },
    /// There is no place for a chunk.
    #[error(transparent)]
    Place(#[from] places::Error),
    /// A chunk did not get its copies; nothing was committed.
    #[error("a chunk has {copies} of {needed} copies")]
    Copies {
        /// How many it has.
        copies: usize,
        /// How many it needs.
        needed: usize,
        /// Whether a full disk is the reason.
        full: bool,
    },
    /// This node holds too many bodies in memory.
    #[error("too many uploads at once")]
    Busy,
    /// The metadata could not be changed; the kind tells whether the commit can have happened.
    #[error(transparent)]
    Metadata(#[from] metadata::read::Error),
    /// The cluster's own log refused the commit.
    #[error("commit refused: {0:?}")]
    Refused(Refusal),
    /// A broken invariant.
    #[error("upload failed inside: {0}")]
    Internal(String),
}

/// What a body's stream fails with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What an upload is told.
#[derive(Debug, Clone)]
pub struct Request {
    /// The file.
    pub name: FileName,
    /// The epoch to commit under.
    pub epoch: Epoch,
    /// The key of the commit.
    pub command: CommandId,
    /// The media type that the client gave.
    pub media_type: Option<String>,
    /// The body's length, if it was announced.
    pub length: Option<u64>,
}

/// A committed upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The version.
    pub version: Version,
    /// Whether there was no live version before.
    pub created: bool,
    /// Length, in bytes.
    pub size: u64,
    /// The ETag, without quotes.
    pub etag: String,
}

/// What uploads need. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    inner: Arc<Inner>,
}

/// The parts of [`Uploads`].
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// The process start's writer id.
    pub writer: WriterId,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// This node's chunks.
    pub store: ChunkStore,
    /// The way to other nodes.
    pub peers: PeerClient,
    /// Where new chunks go.
    pub places: Places,
    /// The size of every chunk but the last; a power of two.
    pub chunk_size: u64,
    /// Copies per chunk.
    pub replicas: u32,
    /// Body bytes that all requests of this node may hold.
    pub budget: Arc<Semaphore>,
    /// Wall time for display.
    pub clock: Arc<dyn Clock>,
    /// Ids of segment appends.
    pub entropy: Arc<dyn Entropy>,
}

struct Inner {
    parts: Parts,
    next_seq: AtomicU64,
}

impl Uploads {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts, next_seq: AtomicU64::new(1) }) }
    }

    /// Copies per chunk.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.inner.parts.replicas
    }

    /// Stores a body and makes it the file's current version.
    ///
    /// # Durability
    /// Ok means: every chunk is synced on R distinct nodes, and the commit is synced on a quorum.
    ///
    /// # Errors
    /// See [`Error`]. Only [`Error::Metadata`] of an indeterminate kind leaves open whether the version became current.
    ///
    /// # Cancel safety
    /// A dropped future leaves chunks that nothing names (garbage), or a commit on its way.
    pub async fn put<S>(&self, request: Request, body: S) -> Result<Committed, Error>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let parts = &self.inner.parts;
        let size_max = (SEGMENTS_MAX * SEGMENT_CHUNKS_MAX) as u64 * parts.chunk_size;
        if request.length.is_some_and(|length| length > size_max) {
            return Err(Error::TooLarge { max_bytes: size_max });
        }
        let _held = self.reserve(request.length).await?;
        let mut body = body;
        let mut head = BytesMut::new();
        let mut rest = None;
        while head.len() <= INLINE_MAX {
            match body.next().await {
                None => break,
                Some(frame) => {
                    let frame = frame.map_err(Error::Body)?;
                    if head.len() + frame.len() > INLINE_MAX {
                        rest = Some(frame);
                        break;
                    }
                    head.extend_from_slice(&frame);
                }
            }
        }
        let head = head.freeze();
        match rest {
            None => {
                let root = *blake3::hash(&head).as_bytes();
                self.commit(request, head.len() as u64, root, CommitBody::Inline(head)).await
            }
            Some(frame) => {
                let first = futures::stream::iter([Ok(head), Ok(frame)]);
                self.put_chunks(request, size_max, first.chain(body)).await
            }
        }
    }

    async fn reserve(&self, length: Option<u64>) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = length.and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX).clamp(1, UPLOAD_BYTES);
        let acquire = Arc::clone(&self.inner.parts.budget).acquire_many_owned(bytes);
        match tokio::time::timeout(BUDGET_WAIT, acquire).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Error::Busy),
        }
    }

    async fn put_chunks<S>(&self, request: Request, size_max: u64, mut body: S) -> Result<Committed, Error>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let mut manifest = Manifest::new(self.clone());
        let mut open: Option<OpenChunk> = None;
        let mut size = 0u64;
        let chunk_size = self.inner.parts.chunk_size;
        while let Some(frame) = body.next().await {
            let mut frame = frame.map_err(Error::Body)?;
            size += frame.len() as u64;
            if size > size_max {
                return Err(Error::TooLarge { max_bytes: size_max });
            }
            while !frame.is_empty() {
                let mut chunk = match open.take() {
                    Some(chunk) => chunk,
                    None => {
                        let offset = manifest.offset;
                        let reserve = request.length.map_or(chunk_size, |n| n.saturating_sub(offset).min(chunk_size));
                        OpenChunk::begin(self, offset, reserve.max(frame.len().min(chunk_size as usize) as u64)).await?
                    }
                };
                let room = usize::try_from(chunk_size - chunk.length).unwrap_or(usize::MAX);
                let part = frame.split_to(frame.len().min(room));
                chunk.write(part).await?;
                match chunk.length == chunk_size {
                    true => manifest.push(chunk).await?,
                    false => open = Some(chunk),
                }
            }
        }
        if let Some(chunk) = open {
            manifest.push(chunk).await?;
        }
        let (root, body) = manifest.finish().await?;
        fail::fail_point!("gateway.before_commit");
        self.commit(request, size, root, body).await
    }

    async fn commit(&self, request: Request, size: u64, root: [u8; 32], body: CommitBody) -> Result<Committed, Error> {
        let parts = &self.inner.parts;
        let etag = Etag::Root(root);
        let commit = Commit {
            name: request.name,
            epoch: request.epoch,
            precondition: Precondition::Always,
            node: parts.node,
            writer: parts.writer,
            now_ms: parts.clock.wall_ms(),
            size,
            etag: etag.clone(),
            media_type: request.media_type,
            body,
        };
        let applied = parts.metadata.propose(request.command, Command::Commit(Box::new(commit))).await?;
        fail::fail_point!("gateway.after_commit");
        match applied.answer {
            Answer::Committed { version, created } => Ok(Committed { version, created, size, etag: etag.to_string() }),
            Answer::Refused(refusal) => Err(Error::Refused(refusal)),
            other => Err(Error::Internal(format!("a commit was answered with {other:?}"))),
        }
    }

    /// Brings a chunk that lacks copies to its number, from this node's own copy.
    async fn complete(
        &self,
        head: ChunkHead,
        length: u64,
        trailer: Trailer,
        mut ack: ChunkAck,
    ) -> Result<ChunkAck, Error> {
        let parts = &self.inner.parts;
        let needed = parts.replicas as usize;
        for _ in 0..COPY_TRIES_MAX {
            for (node, _) in &ack.failed {
                if *node != parts.node {
                    parts.places.failed(*node);
                }
            }
            let own = ack.copies.iter().any(|copy| copy.node == parts.node);
            if ack.copies.len() >= needed || !own {
                break;
            }
            let mut avoid: Vec<NodeId> = ack.failed.iter().map(|(node, _)| *node).collect();
            avoid.extend(ack.copies.iter().map(|c| c.node).filter(|id| *id != parts.node));
            let place = parts.places.take(&avoid).await?;
            let missing = needed - ack.copies.len();
            let hops: Vec<Hop> = place.into_iter().filter(|(id, _)| *id != parts.node).take(missing).collect();
            let (mut fan, _) = Fan::begin(head, parts.node, None, &parts.peers, &hops).await;
            let mut at = 0;
            while at < length && !fan.is_dead() {
                let end = length.min(at + COPY_STEP);
                let bytes = parts.store.read(head.id, at..end).await.map_err(|e| Error::Internal(e.to_string()))?;
                fan.write(parts.node, bytes).await;
                at = end;
            }
            let more = fan.finish(parts.node, length, trailer).await;
            ack.copies.extend(more.copies);
            ack.failed.extend(more.failed);
        }
        Ok(ack)
    }
}

/// A chunk that takes bytes.
struct OpenChunk {
    uploads: Uploads,
    head: ChunkHead,
    fan: Fan,
    hasher: ChunkHasher,
    sums: Sums,
    length: u64,
    full: bool,
}

impl OpenChunk {
    async fn begin(uploads: &Uploads, offset: u64, reserve: u64) -> Result<Self, Error> {
        let parts = &uploads.inner.parts;
        let place = parts.places.take(&[]).await?;
        let seq = uploads.inner.next_seq.fetch_add(1, Ordering::Relaxed);
        let head = ChunkHead { id: ChunkId { writer: parts.writer, seq }, tree_offset: offset, reserve };
        let own = place.iter().any(|(id, _)| *id == parts.node);
        let hops: Vec<Hop> = place.into_iter().filter(|(id, _)| *id != parts.node).collect();
        let (fan, refused) = Fan::begin(head, parts.node, own.then_some(&parts.store), &parts.peers, &hops).await;
        let full = matches!(refused, Some(flotilla_chunk_store::Error::Full));
        let (hasher, sums) = (ChunkHasher::new(offset), Sums::default());
        Ok(Self { uploads: uploads.clone(), head, fan, hasher, sums, length: 0, full })
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.hasher.update(&bytes);
        self.sums.update(&bytes);
        self.length += bytes.len() as u64;
        self.fan.write(self.uploads.inner.parts.node, bytes).await;
        if self.fan.is_dead() {
            let needed = self.uploads.inner.parts.replicas as usize;
            return Err(Error::Copies { copies: 0, needed, full: self.full });
        }
        Ok(())
    }

    /// Ends the chunk; the task goes on with its syncs while the next chunk streams.
    fn finish(self) -> (ChunkHash, JoinHandle<Result<PlacedChunk, Error>>) {
        let hash = self.hasher.finish();
        let (_, crc) = self.sums.finish();
        let trailer = Trailer { cv: hash.cv, crc };
        let task = tokio::spawn(async move {
            let parts = &self.uploads.inner.parts;
            let needed = parts.replicas as usize;
            let mut ack = self.fan.finish(parts.node, self.length, trailer).await;
            if ack.copies.len() < needed {
                ack = self.uploads.complete(self.head, self.length, trailer, ack).await?;
            }
            let mut replicas: Vec<NodeId> = ack.copies.iter().map(|copy| copy.node).collect();
            replicas.sort_unstable();
            replicas.dedup();
            if replicas.len() < needed {
                return Err(Error::Copies { copies: replicas.len(), needed, full: self.full });
            }
            let length = u32::try_from(self.length).expect("chunks are at most 64 MiB");
            Ok(PlacedChunk { chunk: ChunkRef { id: self.head.id, length, cv: hash.cv }, replicas })
        });
        (hash, task)
    }
}

/// The growing chunk list of one upload.
struct Manifest {
    uploads: Uploads,
    tree: TreeHasher,
    offset: u64,
    syncing: FuturesOrdered<JoinHandle<Result<PlacedChunk, Error>>>,
    tail: Vec<PlacedChunk>,
    upload: Option<u64>,
}

impl Manifest {
    fn new(uploads: Uploads) -> Self {
        let (tree, syncing) = (TreeHasher::default(), FuturesOrdered::new());
        Self { uploads, tree, offset: 0, syncing, tail: Vec::new(), upload: None }
    }

    async fn push(&mut self, chunk: OpenChunk) -> Result<(), Error> {
        self.offset += chunk.length;
        let (hash, task) = chunk.finish();
        self.tree.push(hash);
        self.syncing.push_back(task);
        while self.syncing.len() > SYNCING_MAX {
            self.take_synced().await?;
        }
        Ok(())
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
        let parts = &self.uploads.inner.parts;
        let id = parts.metadata.fresh_id(&*parts.entropy);
        let chunks = std::mem::take(&mut self.tail);
        let append = SegmentAppend { upload: self.upload, node: parts.node, writer: parts.writer, chunks };
        match parts.metadata.propose(id, Command::AppendSegment(append)).await?.answer {
            Answer::Appended { upload } => self.upload = Some(upload),
            Answer::Refused(refusal) => return Err(Error::Refused(refusal)),
            other => return Err(Error::Internal(format!("an append was answered with {other:?}"))),
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<([u8; 32], CommitBody), Error> {
        while !self.syncing.is_empty() {
            self.take_synced().await?;
        }
        let root = self.tree.root();
        let chunk_shift = self.uploads.inner.parts.chunk_size.trailing_zeros() as u8;
        Ok((root, CommitBody::Tree { root, chunk_shift, upload: self.upload, tail: self.tail }))
    }
}
