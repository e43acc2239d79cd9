//! One upload: body to chunks, chunks to replicas, manifest to a commit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use flotilla_api::{ChunkId, CommandId, Epoch, FileName, NodeId, RequestId, Version, WriterId};
use flotilla_chunk_store::ChunkStore;
use flotilla_client::PeerClient;
use flotilla_env::{Clock, Entropy};
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    manifest::Manifest,
    open_chunk::OpenChunk,
    places::{self, Places},
};
use crate::metadata::{
    self, Answer, Command, Commit, Metadata, Precondition, Refusal,
    commit::Body as CommitBody,
    rows::{Etag, INLINE_MAX, SEGMENT_CHUNKS_MAX, SEGMENTS_MAX},
};

/// Memory that one big upload can hold: frames between the sockets and the writers.
const UPLOAD_BYTES: u32 = 4 << 20;
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
    /// What must hold of the current version.
    pub precondition: Precondition,
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

    pub(super) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// Gives the id of a new chunk of this process.
    pub(super) fn next_id(&self) -> ChunkId {
        let seq = self.inner.next_seq.fetch_add(1, Ordering::Relaxed);
        ChunkId { writer: self.inner.parts.writer, seq }
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
                        let offset = manifest.length();
                        let reserve = request.length.map_or(chunk_size, |n| n.saturating_sub(offset).min(chunk_size));
                        OpenChunk::begin(self, offset, reserve.max(frame.len().min(chunk_size as usize) as u64)).await?
                    }
                };
                let room = usize::try_from(chunk_size - chunk.length()).unwrap_or(usize::MAX);
                let part = frame.split_to(frame.len().min(room));
                chunk.write(part).await?;
                match chunk.length() == chunk_size {
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
            precondition: request.precondition,
            node: parts.node,
            writer: parts.writer,
            now_ms: parts.clock.wall_ms(),
            size,
            etag: etag.clone(),
            media_type: request.media_type,
            body,
        };
        let command = Command::Commit(Box::new(commit));
        let mut answer = parts.metadata.propose(request.command.clone(), command.clone()).await?.answer;
        if answer == Answer::Holds {
            answer = parts.metadata.propose(behind_probe(&request.command), command).await?.answer;
        }
        fail::fail_point!("gateway.after_commit");
        match answer {
            Answer::Committed { version, created } => Ok(Committed { version, created, size, etag: etag.to_string() }),
            Answer::Made { version, created, size, etag } => {
                Ok(Committed { version, created, size, etag: etag.to_string() })
            }
            Answer::Refused(refusal) => Err(Error::Refused(refusal)),
            other => Err(Error::Internal(format!("a commit was answered with {other:?}"))),
        }
    }
}

/// Makes the id of a commit whose own id already stands for a probe that held: the same one at every retry.
#[must_use]
pub fn behind_probe(id: &CommandId) -> CommandId {
    let hash = blake3::derive_key("flotilla commit behind a probe v1", id.id.as_str().as_bytes());
    let bits = u128::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
    CommandId { id: RequestId::from_bits(bits), seen: id.seen }
}
