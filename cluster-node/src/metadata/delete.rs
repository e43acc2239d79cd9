//! What ends a file: a tombstone that keeps the home. Pure.

use flotilla_api::{Epoch, FileName, Version};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};

use super::{
    commit::open_home,
    keys,
    life::{homes::idle, reclaim::replaced},
    machine::{Answer, Outcome, Refusal},
    precondition::Precondition,
    rows::{HomeState, KeyRow},
    table::put,
};

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The file.
    pub name: FileName,
    /// The epoch that the home must have.
    pub epoch: Epoch,
    /// What must hold of the current version.
    pub precondition: Precondition,
}

pub(super) fn delete_file(state: &mut dyn Txn, delete: &Delete, at: Position) -> Result<Outcome, Fault> {
    let before = match open_home(state, &delete.name, delete.epoch)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = delete.precondition.check(before.as_ref().and_then(|row| row.file.as_ref())) {
        return Ok(Err(refusal));
    }
    if before.as_ref().is_none_or(|row| row.file.is_none()) {
        return Ok(Err(Refusal::NotFound));
    }
    replaced(state, before, at)?;
    bury(state, &delete.name, delete.epoch, at)?;
    Ok(Ok(Answer::Deleted { version: Version { epoch: delete.epoch, index: at.index } }))
}

/// Leaves a tombstone, which keeps the home. What the file referenced is the caller's to give away or to reclaim.
pub(super) fn bury(state: &mut dyn Txn, name: &FileName, epoch: Epoch, at: Position) -> Result<(), Fault> {
    flotilla_env::failpoint!("metadata.tombstone");
    put(state, keys::FILES, keys::file(name), &KeyRow { epoch, home: HomeState::Open, file: None });
    idle(state, name, epoch, at)
}
