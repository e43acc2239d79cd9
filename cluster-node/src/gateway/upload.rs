//! One upload: body to chunks, chunks to replicas, manifest to a commit.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flotilla_api::{ChunkId, CommandId, Epoch, FileName, NodeId, RequestId, Version, WriterId};
use flotilla_chunk_store::ChunkStore;
use flotilla_client::PeerClient;
use flotilla_env::{Clock, Entropy};
use futures::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    budget::Budget,
    download,
    manifest::Manifest,
    open_chunk::OpenChunk,
    places::{self, Places},
    sequence::Sequence,
    trace::Trace,
};
use crate::{
    homes::{self, Homes},
    life::Released,
    metadata::{
        self, Answer, Command, Commit, Metadata, Precondition, Refusal,
        commit::Body as CommitBody,
        life::purge::HOLDERS_MAX,
        rows::{Etag, INLINE_MAX, SEGMENT_CHUNKS_MAX, SEGMENTS_MAX},
    },
};

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
    /// The home ended during the upload, and no other one could be had.
    #[error(transparent)]
    Home(#[from] homes::Error),
    /// What a change keeps of the version before it could not be read.
    #[error(transparent)]
    Read(#[from] download::Error),
    /// A broken invariant; nothing was committed.
    #[error("upload failed inside: {0}")]
    Internal(String),
    /// A broken invariant of the commit: it may have been made.
    #[error("commit failed inside: {0}")]
    Unknown(String),
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
    pub budget: Budget,
    /// Wall time for display.
    pub clock: Arc<dyn Clock>,
    /// Ids of segment appends.
    pub entropy: Arc<dyn Entropy>,
    /// Where keys are at home, for commits that come too late for their epoch.
    pub homes: Homes,
    /// Where failed uploads leave their chunks.
    pub released: Released,
    /// The numbers of chunks.
    pub sequence: Sequence,
}

struct Inner {
    parts: Parts,
}

impl Uploads {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts }) }
    }

    /// Copies per chunk.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.inner.parts.replicas
    }

    /// Gives the parts.
    pub(super) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// Gives the id of a new chunk of this process, for an upload that has a trace.
    pub(super) fn next_id(&self) -> ChunkId {
        ChunkId { writer: self.inner.parts.writer, seq: self.inner.parts.sequence.next() }
    }

    /// Stores a body and makes it the file's current version.
    ///
    /// # Durability
    /// Ok means: every chunk is synced on R distinct nodes, and the commit is synced on a quorum.
    ///
    /// # Errors
    /// See [`Error`]. Only [`Error::Metadata`] of an indeterminate kind and [`Error::Unknown`] leave open whether the version became
    /// current.
    ///
    /// # Cancel safety
    /// A dropped future gives its chunks up; a commit on its way is refused if the log hears of that first.
    pub async fn put<S>(&self, request: Request, body: S) -> Result<Committed, Error>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let parts = &self.inner.parts;
        let size_max = (SEGMENTS_MAX * SEGMENT_CHUNKS_MAX) as u64 * parts.chunk_size;
        if request.length.is_some_and(|length| length > size_max) {
            return Err(Error::TooLarge { max_bytes: size_max });
        }
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
                self.commit(request, head.len() as u64, root, CommitBody::Inline(head), &self.trace()).await
            }
            Some(frame) => {
                let first = futures::stream::iter([Ok(head), Ok(frame)]);
                let done = self.put_chunks(request, size_max, first.chain(body)).await;
                match done {
                    // A leader without a quorum hears of nobody either; that it leads is proved by a read alone.
                    Err(Error::Place(places::Error::TooFew { .. }) | Error::Copies { full: false, .. }) => {
                        self.inner.parts.metadata.barrier().await?;
                        done
                    }
                    done => done,
                }
            }
        }
    }

    /// Waits for memory, in turn.
    pub(super) async fn reserve(&self, bytes: u32) -> Result<OwnedSemaphorePermit, Error> {
        self.inner.parts.budget.acquire(Some(u64::from(bytes)), bytes).await.ok_or(Error::Busy)
    }

    async fn put_chunks<S>(&self, request: Request, size_max: u64, mut body: S) -> Result<Committed, Error>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
    {
        let trace = self.trace();
        let mut manifest = Manifest::new(self.clone(), trace.clone());
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
                        let reserve = reserve.max(frame.len().min(chunk_size as usize) as u64);
                        OpenChunk::begin(self, &trace, offset, reserve).await?
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
        flotilla_env::failpoint!("gateway.before_commit", |_| Err(Error::Metadata(
            flotilla_raft_store::Error::NoLeader.into()
        )));
        self.commit(request, size, root, body, &trace).await
    }

    /// Begins to note the chunks of one upload.
    pub(super) fn trace(&self) -> Trace {
        let parts = &self.inner.parts;
        // Any member may be chosen for a copy; this one is told first, since it nearly always has one.
        let members = parts.metadata.group().status().members;
        let others = members.into_keys().filter(|node| *node != parts.node);
        let nodes = std::iter::once(parts.node).chain(others).take(HOLDERS_MAX).collect();
        Trace::new(parts.sequence.begin(), parts.released.clone(), nodes)
    }

    /// Commits, and once more under a fresh epoch if the home ended during the upload.
    pub(super) async fn commit(
        &self,
        request: Request,
        size: u64,
        root: [u8; 32],
        body: CommitBody,
        trace: &Trace,
    ) -> Result<Committed, Error> {
        let parts = &self.inner.parts;
        let mut commit = Commit {
            name: request.name,
            epoch: request.epoch,
            precondition: request.precondition,
            node: parts.node,
            writer: parts.writer,
            now_ms: parts.clock.wall_ms(),
            size,
            etag: Etag::Root(root),
            media_type: request.media_type,
            body,
        };
        let id = request.command;
        match self.attempt(id.clone(), commit.clone(), trace).await? {
            Proposed::Committed(done) => Ok(done),
            Proposed::Refused { refusal: refusal @ (Refusal::WrongHome | Refusal::BelowFloor), replayed } => {
                // A refusal that was kept tells of an earlier epoch: the one at hand is to be tried first.
                if !replayed {
                    commit.epoch = parts.homes.again(&commit.name, commit.epoch).await?;
                }
                tracing::debug!(name = %commit.name.to_header(), epoch = %commit.epoch, ?refusal, "commit is sent again");
                match self.attempt(again(&id), commit, trace).await? {
                    Proposed::Committed(done) => Ok(done),
                    Proposed::Refused { refusal, .. } => Err(Error::Refused(refusal)),
                }
            }
            Proposed::Refused { refusal, .. } => Err(Error::Refused(refusal)),
        }
    }

    /// Proposes a commit under its id, or behind the probe that stands under it.
    async fn attempt(&self, id: CommandId, commit: Commit, trace: &Trace) -> Result<Proposed, Error> {
        let metadata = &self.inner.parts.metadata;
        let (size, etag) = (commit.size, commit.etag.to_string());
        let command = Command::Commit(Box::new(commit));
        let mut applied = metadata.propose(id.clone(), command.clone()).await;
        if applied.as_ref().is_ok_and(|applied| applied.answer == Answer::Holds) {
            applied = metadata.propose(behind_probe(&id), command).await;
        }
        flotilla_env::failpoint!("gateway.after_commit", |_| Err(Error::Metadata(
            flotilla_raft_store::Error::Indeterminate.into()
        )));
        let (answer, replayed) = applied.map(|applied| (applied.answer, applied.replayed))?;
        let done = match answer {
            Answer::Committed { version, created } => Committed { version, created, size, etag },
            Answer::Made { version, created, size, etag } => {
                Committed { version, created, size, etag: etag.to_string() }
            }
            Answer::Refused(refusal) => return Ok(Proposed::Refused { refusal, replayed }),
            other => return Err(Error::Unknown(format!("a commit was answered with {other:?}"))),
        };
        // At a replay the chunks that are named may be an earlier attempt's; the log spares those of this one that are.
        if !replayed {
            trace.named();
        }
        Ok(Proposed::Committed(done))
    }
}

/// What the log said of a commit.
enum Proposed {
    Committed(Committed),
    Refused { refusal: Refusal, replayed: bool },
}

/// Makes the id of a commit whose own id already stands for a probe that held: the same one at every retry.
#[must_use]
pub fn behind_probe(id: &CommandId) -> CommandId {
    derived(id, "flotilla commit behind a probe v1")
}

/// Makes the id of a commit that is sent again under a fresh epoch: the same one at every retry.
#[must_use]
pub fn again(id: &CommandId) -> CommandId {
    derived(id, "flotilla commit under a fresh epoch v1")
}

fn derived(id: &CommandId, purpose: &str) -> CommandId {
    let hash = blake3::derive_key(purpose, id.id.as_str().as_bytes());
    let bits = u128::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
    CommandId { id: RequestId::from_bits(bits), seen: id.seen }
}
