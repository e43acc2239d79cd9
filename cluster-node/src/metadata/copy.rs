//! What makes a file from another one of the same cluster: a copy references the source's segments again, a move takes them over. Pure.

use flotilla_api::{Epoch, FileName, Version};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    commit::open_home,
    delete::bury,
    keys,
    life::reclaim::replaced,
    machine::{Answer, Outcome, Refusal},
    precondition::Precondition,
    rows::{Content, FileRow, HomeState, KeyRow, SegmentRow},
    table::{get, put},
};

/// The most segments of a source that is copied: each costs two rows, and a command touches at most 1,024. At 256 chunks of 8 MiB
/// they are 896 GiB. A move references nothing anew, so it has no such bound.
pub const COPY_SEGMENTS_MAX: usize = 448;

/// A file made from another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The source; its home is here.
    pub from: FileName,
    /// What must hold of the source.
    pub from_precondition: Precondition,
    /// Whether the source ends with this command.
    pub moves: bool,
    /// The file that is made.
    pub to: FileName,
    /// The epoch that its home must have.
    pub epoch: Epoch,
    /// What must hold of its current version.
    pub precondition: Precondition,
    /// The proposer's wall clock, in milliseconds since 1970.
    pub now_ms: u64,
}

pub(super) fn copy_file(state: &mut dyn Txn, copy: Copy, at: Position) -> Result<Outcome, Fault> {
    if copy.from == copy.to {
        return Ok(Err(Refusal::Invalid("a file is not made from itself".into())));
    }
    let (from_epoch, source) = match source(state, &copy)? {
        Ok(source) => source,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let before = match open_home(state, &copy.to, copy.epoch)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = copy.precondition.check(before.as_ref().and_then(|row| row.file.as_ref())) {
        return Ok(Err(refusal));
    }
    if copy.moves {
        bury(state, &copy.from, from_epoch, at)?;
    } else if let Err(refusal) = reference_again(state, &source.content)? {
        return Ok(Err(refusal));
    }
    let version = Version { epoch: copy.epoch, index: at.index };
    let created = before.as_ref().is_none_or(|row| row.file.is_none());
    replaced(state, before, at)?;
    let (size, etag) = (source.size, source.etag.clone());
    let file = FileRow { version, modified_ms: copy.now_ms, ..source };
    let row = KeyRow { epoch: copy.epoch, home: HomeState::Open, file: Some(file) };
    put(state, keys::FILES, keys::file(&copy.to), &row);
    Ok(Ok(Answer::Made { version, created, size, etag }))
}

/// The source's home and current version, if it may be copied or moved.
fn source(state: &dyn Txn, copy: &Copy) -> Result<Result<(Epoch, FileRow), Refusal>, Fault> {
    let row: Option<KeyRow> = get(state, keys::FILES, &keys::file(&copy.from))?;
    let Some(KeyRow { epoch, home, file: Some(file) }) = row else { return Ok(Err(Refusal::NotFound)) };
    Ok(match home {
        HomeState::Closed => Err(Refusal::WrongHome),
        HomeState::Sealed if copy.moves => Err(Refusal::Sealed),
        HomeState::Open | HomeState::Sealed => match copy.from_precondition.check(Some(&file)) {
            Ok(()) => Ok((epoch, file)),
            Err(_) => Err(Refusal::SourceChanged(file.etag)),
        },
    })
}

fn reference_again(state: &mut dyn Txn, content: &Content) -> Result<Result<(), Refusal>, Fault> {
    let Content::Trees(trees) = content else { return Ok(Ok(())) };
    if trees.iter().map(|tree| tree.segments.len()).sum::<usize>() > COPY_SEGMENTS_MAX {
        return Ok(Err(Refusal::SourceTooLong));
    }
    for id in trees.iter().flat_map(|tree| &tree.segments) {
        let mut segment: SegmentRow = get(state, keys::SEGMENTS, &id.to_bytes())?
            .expect("a live version's segments are referenced, so they stay");
        segment.references += 1;
        put(state, keys::SEGMENTS, id.to_bytes(), &segment);
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests;
