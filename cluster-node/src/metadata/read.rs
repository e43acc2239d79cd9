//! The cluster's metadata as the node's other parts use it: changes by Raft, linearizable reads, manifests.

use std::{ops::Range, time::Duration};

use flotilla_api::{
    ChunkId, CommandId, Epoch, FileName, NodeId, RequestId, WriterId, codec,
    peer::{Documents, ListRequest},
};
use flotilla_chunk_store::Facts;
use flotilla_env::Entropy;
use flotilla_http_server::DocumentCache;
use flotilla_kv::{Family, View};
use flotilla_raft_store::{Applied, Group};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    Answer, Command, FileMachine,
    keys::{self, SegmentId},
    list,
    rows::{ChunkRef, ChunkRow, Content, FileRow, KeyRow, NodeRow, SegmentRow},
};

/// How long a read barrier may take; a new leader is elected well within it.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// How long a proposal may take, for the same reason.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Why the metadata could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Raft group could not serve.
    #[error(transparent)]
    Raft(#[from] flotilla_raft_store::Error),
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// The version was replaced or deleted, and has lingered long enough.
    #[error("the version was replaced, and its chunks are released")]
    Gone,
    /// A row does not decode, or one that must be there is not.
    #[error("metadata of '{family}' is corrupt: {what}")]
    Corrupt {
        /// The family.
        family: Family,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// Whether a change that failed so may have been made, or be made later.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        matches!(self, Self::Raft(error) if error.kind() == flotilla_raft_store::Kind::Indeterminate)
    }
}

/// A chunk as a reader needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Where it begins in its tree, in bytes.
    pub tree_offset: u64,
    /// Its length, in bytes.
    pub length: u64,
    /// Its chaining value.
    pub cv: [u8; 32],
    /// The nodes with a copy.
    pub replicas: Vec<NodeId>,
}

impl ReadChunk {
    /// What every copy must say of itself.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts { length: self.length, tree_offset: self.tree_offset, cv: self.cv }
    }
}

/// A cheap handle to the cluster's metadata.
#[derive(Clone)]
pub struct Metadata {
    group: Group<FileMachine>,
}

impl Metadata {
    /// Wraps the node's Raft group.
    #[must_use]
    pub fn new(group: Group<FileMachine>) -> Self {
        Self { group }
    }

    /// The group itself, for membership and status.
    #[must_use]
    pub fn group(&self) -> &Group<FileMachine> {
        &self.group
    }

    /// Makes a command id of ours: random, and carrying the applied index seen here.
    #[must_use]
    pub fn fresh_id(&self, entropy: &dyn Entropy) -> CommandId {
        CommandId { id: RequestId::from_bits(entropy.u128()), seen: Some(self.group.applied_index()) }
    }

    /// Changes the metadata.
    ///
    /// # Errors
    /// [`Error::Raft`], whose kind tells whether the change can have happened.
    ///
    /// # Cancel safety
    /// A dropped future may leave the command on its way; propose again under the same id to learn its answer.
    pub async fn propose(&self, id: CommandId, command: Command) -> Result<Applied<Answer>, Error> {
        flotilla_env::failpoint!("metadata.before_propose", |_| Err(flotilla_raft_store::Error::NoLeader.into()));
        let applied = self.group.propose(id, command, PROPOSE_DEADLINE).await?;
        flotilla_env::failpoint!("metadata.after_propose", |_| Err(flotilla_raft_store::Error::Indeterminate.into()));
        Ok(applied)
    }

    /// Waits until the local state holds everything that was acked before the call.
    ///
    /// # Errors
    /// [`Error::Raft`]; the caller may try again.
    pub async fn barrier(&self) -> Result<(), Error> {
        self.group.read(READ_DEADLINE).await?;
        Ok(())
    }

    /// Reads a key's row as it is applied here: linearizable after [`Metadata::barrier`], a hint otherwise.
    ///
    /// # Errors
    /// [`Error::Kv`] and [`Error::Corrupt`]; trying again does not help.
    pub fn key(&self, name: &FileName) -> Result<Option<KeyRow>, Error> {
        self.row(keys::FILES, &keys::file(name))
    }

    /// Reads the floor applied here: what has no record and an epoch up to it was closed.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn floor(&self) -> Result<Epoch, Error> {
        Ok(self.row(keys::SYSTEM, keys::SEALED_FLOOR)?.unwrap_or_default())
    }

    /// Reads the documents applied here.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn documents(&self) -> Result<Documents, Error> {
        Ok(self.row(keys::SYSTEM, keys::DOCUMENTS)?.unwrap_or_default())
    }

    /// Whether all data is to go off a node, as applied here.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn is_draining(&self, node: NodeId) -> Result<bool, Error> {
        let row: Option<NodeRow> = self.row(keys::NODES, &keys::node(node))?;
        Ok(row.is_some_and(|row| row.draining))
    }

    /// Gives the writer id of a node's last start, as it is applied here.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn writer_of(&self, node: NodeId) -> Result<Option<WriterId>, Error> {
        self.row(keys::WRITERS, &keys::node(node))
    }

    /// Gives the node that a disk which joined belongs to, as it is applied here.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn node_of(&self, disk: Uuid) -> Result<Option<NodeId>, Error> {
        self.row(keys::DISKS, disk.as_bytes())
    }

    /// Brings decoded documents up to what is applied here.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn refresh(&self, cache: &DocumentCache) -> Result<(), Error> {
        let documents = self.documents()?;
        if documents.revision != cache.revision() {
            cache.replace(documents);
        }
        Ok(())
    }

    /// Reads one page of a bucket as it is applied here.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn list(&self, request: &ListRequest) -> Result<list::Page, Error> {
        list::page(&*self.group.consistent_view()?, request).map_err(|error| match error {
            list::Error::Kv(error) => Error::Kv(error),
            list::Error::Corrupt(error) => Error::Corrupt { family: keys::FILES, what: error.to_string() },
        })
    }

    /// Reads the chunks that hold `range` of a version, at most one segment's worth; the caller goes on behind the last one.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn chunks(&self, file: &FileRow, range: Range<u64>) -> Result<Vec<ReadChunk>, Error> {
        let Content::Trees(trees) = &file.content else { return Ok(Vec::new()) };
        let mut tree_at = 0;
        for tree in trees {
            let tree_end = tree_at + tree.length;
            if range.start < tree_end {
                let chunk_size = 1u64 << tree.chunk_shift;
                let per_segment = chunk_size * super::rows::SEGMENT_CHUNKS_MAX as u64;
                let ordinal = (range.start - tree_at) / per_segment;
                let id = usize::try_from(ordinal)
                    .ok()
                    .and_then(|n| tree.segments.get(n))
                    .ok_or_else(|| corrupt(keys::FILES, "a tree has too few segments"))?;
                let segment_at = tree_at + ordinal * per_segment;
                // A current version holds a reference to each of its segments, so this one is current no more.
                let segment: SegmentRow = self.row(keys::SEGMENTS, &id.to_bytes())?.ok_or(Error::Gone)?;
                return self.placed(&segment, tree_at, segment_at, range);
            }
            tree_at = tree_end;
        }
        Ok(Vec::new())
    }

    /// Reads from one consistent view, away from the request threads.
    ///
    /// # Errors
    /// [`Error::Raft`] while a snapshot is being installed; the caller may try again.
    pub async fn with_view<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let group = self.group.clone();
        let done = flotilla_env::blocking::spawn(move || Ok(read(&*group.consistent_view()?))).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Reads which nodes have a copy of a chunk; none of one that is gone.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn replicas_of(&self, chunk: ChunkId) -> Result<Vec<NodeId>, Error> {
        let row: Option<ChunkRow> = self.row(keys::CHUNKS, &chunk.to_bytes())?;
        Ok(row.map(|row| row.replicas).unwrap_or_default())
    }

    /// Reads the chunks of a segment.
    ///
    /// # Errors
    /// As [`Metadata::key`].
    pub fn segment(&self, id: SegmentId) -> Result<Vec<ChunkRef>, Error> {
        let row: Option<SegmentRow> = self.row(keys::SEGMENTS, &id.to_bytes())?;
        let row = row.ok_or_else(|| corrupt(keys::SEGMENTS, &format!("segment {} is missing", id.0)))?;
        Ok(row.chunks)
    }

    fn placed(
        &self,
        segment: &SegmentRow,
        tree_at: u64,
        mut at: u64,
        range: Range<u64>,
    ) -> Result<Vec<ReadChunk>, Error> {
        let mut wanted = Vec::new();
        for chunk in &segment.chunks {
            let end = at + u64::from(chunk.length);
            if end > range.start && at < range.end {
                wanted.push((at, *chunk));
            }
            at = end;
        }
        let ids: Vec<Vec<u8>> = wanted.iter().map(|(_, chunk)| chunk.id.to_bytes().to_vec()).collect();
        let rows = self.group.consistent_view()?.get_many(keys::CHUNKS, &ids)?;
        wanted
            .into_iter()
            .zip(rows)
            .map(|((offset, chunk), row)| {
                let row: ChunkRow = decode(keys::CHUNKS, &row.ok_or(Error::Gone)?)?;
                let length = u64::from(chunk.length);
                let (id, cv, tree_offset) = (chunk.id, chunk.cv, offset - tree_at);
                Ok(ReadChunk { id, offset, tree_offset, length, cv, replicas: row.replicas })
            })
            .collect()
    }

    fn row<T: DeserializeOwned>(&self, family: Family, key: &[u8]) -> Result<Option<T>, Error> {
        self.group.whole(|kv| kv.get(family, key))??.map(|bytes| decode(family, &bytes)).transpose()
    }
}

fn decode<T: DeserializeOwned>(family: Family, bytes: &[u8]) -> Result<T, Error> {
    codec::decode(bytes).map_err(|error| Error::Corrupt { family, what: error.to_string() })
}

fn corrupt(family: Family, what: &str) -> Error {
    Error::Corrupt { family, what: what.to_owned() }
}
