//! What makes a version current: the commit, what must hold for it, and the home it is made in. Pure.

use flotilla_api::{Epoch, FileName, NodeId, Version, WriterId};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    keys,
    life::{homes::floor, reclaim::replaced},
    machine::{Answer, Outcome, Refusal},
    precondition::Precondition,
    rows::{Content, Etag, FileRow, HomeState, KeyRow, Tree},
    segments::{PlacedChunk, add_segments},
    table::{get, put},
    writers::writer_is_live,
};

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
        /// The last chunks, at most [`super::rows::SEGMENT_CHUNKS_MAX`].
        tail: Vec<PlacedChunk>,
    },
    /// The one tree of the current version with a part written anew; that version is the precondition. Segments that stay pass from
    /// it to the new version, so that no row of theirs is touched.
    Patch {
        /// The root.
        root: [u8; 32],
        /// How many segments stay at the front.
        front: u32,
        /// The upload that holds the full segments of the new part; ended by the commit.
        upload: Option<u64>,
        /// The last chunks of the new part, at most [`super::rows::SEGMENT_CHUNKS_MAX`].
        tail: Vec<PlacedChunk>,
        /// How many segments stay at the back.
        back: u32,
    },
}

/// Asks whether a commit that is still to be made would be refused.
///
/// It stands under the commit's own id: a refusal is then what the commit itself is told, however the two arrive, and a commit that
/// was made already answers for the probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The file.
    pub name: FileName,
    /// The epoch that the home must have.
    pub epoch: Epoch,
    /// What must hold of the current version.
    pub precondition: Precondition,
}

pub(super) fn probe(state: &dyn Txn, probe: &Probe) -> Result<Outcome, Fault> {
    let before = match open_home(state, &probe.name, probe.epoch)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let current = before.as_ref().and_then(|row| row.file.as_ref());
    Ok(probe.precondition.check(current).map(|()| Answer::Holds))
}

pub(super) fn commit_version(state: &mut dyn Txn, commit: Commit, at: Position) -> Result<Outcome, Fault> {
    if !writer_is_live(state, commit.node, commit.writer)? {
        return Ok(Err(Refusal::ChunkGone));
    }
    let mut before = match open_home(state, &commit.name, commit.epoch)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = commit.precondition.check(before.as_ref().and_then(|row| row.file.as_ref())) {
        return Ok(Err(refusal));
    }
    let content = match commit.body {
        Body::Inline(bytes) => Content::Inline(bytes),
        Body::Tree { root, chunk_shift, upload, tail } => {
            let segments = match add_segments(state, (upload, commit.writer), tail, 0, at)? {
                Ok(segments) => segments,
                Err(refusal) => return Ok(Err(refusal)),
            };
            Content::Trees(vec![Tree { length: commit.size, root, chunk_shift, segments }])
        }
        Body::Patch { root, front, upload, tail, back } => {
            let Some(base) = base(&commit.precondition, before.as_mut()) else {
                return Ok(Err(Refusal::Invalid("a patch is made from one tree of a known version".into())));
            };
            let (front, back, count) = (front as usize, back as usize, base.segments.len());
            if front.saturating_add(back) > count {
                return Ok(Err(Refusal::Invalid("a patch keeps more segments than there are".into())));
            }
            let new = match add_segments(state, (upload, commit.writer), tail, front + back, at)? {
                Ok(new) => new,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // Only what is replaced stays with the version before, to be given up with it.
            let mut segments = std::mem::take(&mut base.segments);
            base.segments = segments.splice(front..count - back, new).collect();
            Content::Trees(vec![Tree { length: commit.size, root, chunk_shift: base.chunk_shift, segments }])
        }
    };
    let version = Version { epoch: commit.epoch, index: at.index };
    let created = before.as_ref().is_none_or(|row| row.file.is_none());
    replaced(state, before, at)?;
    let (size, etag) = (commit.size, commit.etag.clone());
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
    Ok(Ok(match commit.precondition {
        // Made from another version: a retry reads another one, so the answer itself says what came of it.
        Precondition::Version(_) => Answer::Made { version, created, size, etag },
        Precondition::Always | Precondition::Etags { .. } => Answer::Committed { version, created },
    }))
}

/// The one tree of the version that a patch is made from.
fn base<'r>(precondition: &Precondition, before: Option<&'r mut KeyRow>) -> Option<&'r mut Tree> {
    match (precondition, &mut before?.file.as_mut()?.content) {
        (Precondition::Version(_), Content::Trees(trees)) if trees.len() == 1 => trees.first_mut(),
        (Precondition::Version(_) | Precondition::Always | Precondition::Etags { .. }, _) => None,
    }
}

/// Whether the cluster's own log allows a write under `epoch`; the row before the write if it does.
pub(super) fn open_home(
    state: &dyn Txn,
    name: &FileName,
    epoch: Epoch,
) -> Result<Result<Option<KeyRow>, Refusal>, Fault> {
    let row: Option<KeyRow> = get(state, keys::FILES, &keys::file(name))?;
    flotilla_env::failpoint!("homes.any_epoch", |_| Ok(Ok(row.clone())));
    Ok(match &row {
        Some(KeyRow { epoch: held, home, .. }) => match home {
            HomeState::Open if *held == epoch => Ok(row),
            HomeState::Sealed if *held == epoch => Err(Refusal::Sealed),
            // Granted anew before the record of its closed predecessor was dropped.
            HomeState::Closed if *held < epoch => above_floor(state, epoch)?,
            HomeState::Open | HomeState::Sealed | HomeState::Closed => Err(Refusal::WrongHome),
        },
        None => above_floor(state, epoch)?,
    })
}

fn above_floor(state: &dyn Txn, epoch: Epoch) -> Result<Result<Option<KeyRow>, Refusal>, Fault> {
    Ok(if epoch > floor(state)? { Ok(None) } else { Err(Refusal::BelowFloor) })
}

#[cfg(test)]
mod tests;
