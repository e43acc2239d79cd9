//! Homes that end: closed in this log first, released in the directory then, their records dropped in the order of their epochs.
//!
//! An upload does not hold its home: one that comes too late for its epoch asks for a fresh one and is sent again.

use flotilla_api::{Epoch, FileName};
use flotilla_raft_store::{Fault, Position, Txn};
use uuid::Uuid;

use super::{
    super::{
        bound::Budget,
        keys,
        rows::{ClosedRow, HomeState, IdleRow, KeyRow},
        table::{first, get, put},
    },
    Answer, clock, done,
};

/// The most homes that one command hears of as released.
pub const RELEASED_MAX: usize = 128;

/// Queues a home that lost its file.
pub fn idle(state: &mut dyn Txn, name: &FileName, epoch: Epoch, at: Position) -> Result<(), Fault> {
    let now = clock::now(state)?;
    put(state, keys::IDLE, keys::queued(now, at.index), &IdleRow { name: name.clone(), epoch });
    Ok(())
}

/// Gives the floor: what has no record here and an epoch up to it was closed.
pub fn floor(state: &dyn Txn) -> Result<Epoch, Fault> {
    Ok(get(state, keys::SYSTEM, keys::SEALED_FLOOR)?.unwrap_or_default())
}

/// Refuses first commits under epochs up to `upto` from now on. What is open stays open: the floor is asked about first commits
/// alone.
pub fn raise_floor(state: &mut dyn Txn, upto: Epoch, directory: Uuid) -> Result<Answer, Fault> {
    put(state, keys::SYSTEM, keys::NEXT_DIRECTORY.to_vec(), &directory);
    flotilla_env::failpoint!("rebuild.no_fence", |_| Ok(done(0, false)));
    let raised = floor(state)?.max(upto);
    put(state, keys::SYSTEM, keys::SEALED_FLOOR.to_vec(), &raised);
    Ok(done(0, false))
}

/// Closes homes that lost their file at or before `upto_ms` and did not get another one.
pub fn close_idle(state: &mut dyn Txn, upto_ms: u64) -> Result<Answer, Fault> {
    let mut budget = Budget::default();
    let mut count = 0;
    // The scan, the queued row removed, the key's row read and written, the closed one written.
    while budget.take(5) {
        let Some((key, row)) = first::<IdleRow>(state, keys::IDLE)? else { return Ok(done(count, false)) };
        if keys::queued_at(&key).is_none_or(|at| at > upto_ms) {
            return Ok(done(count, false));
        }
        state.delete(keys::IDLE, key);
        let IdleRow { name, epoch } = row;
        let held: Option<KeyRow> = get(state, keys::FILES, &keys::file(&name))?;
        let without = |row: &KeyRow| row.epoch == epoch && row.home == HomeState::Open && row.file.is_none();
        if held.is_some_and(|row| without(&row)) {
            write_closed(state, name, epoch);
            count += 1;
        }
    }
    Ok(done(count, true))
}

/// Closes a home that was granted and never used. What this log says of the key decides.
pub fn close(state: &mut dyn Txn, name: &FileName, epoch: Epoch) -> Result<Answer, Fault> {
    let held: Option<KeyRow> = get(state, keys::FILES, &keys::file(name))?;
    if held.as_ref().is_some_and(|row| row.epoch >= epoch) {
        let fenced = held.is_some_and(|row| row.home == HomeState::Closed || row.epoch > epoch);
        return Ok(if fenced { Answer::Closed } else { Answer::InUse });
    }
    if held.is_some_and(|row| row.home != HomeState::Closed) {
        // A home of an earlier epoch that was never closed: the directory can't have granted a later one.
        return Ok(Answer::InUse);
    }
    if epoch > floor(state)? {
        write_closed(state, name.clone(), epoch);
    } else {
        // No record, and under the floor: nothing can be committed. The directory has yet to hear of it.
        put(state, keys::CLOSED, keys::epoch(epoch), &ClosedRow { name: name.clone(), released: false });
    }
    Ok(Answer::Closed)
}

fn write_closed(state: &mut dyn Txn, name: FileName, epoch: Epoch) {
    put(state, keys::FILES, keys::file(&name), &KeyRow { epoch, home: HomeState::Closed, file: None });
    put(state, keys::CLOSED, keys::epoch(epoch), &ClosedRow { name, released: false });
}

/// Notes which closed homes the directory has let go of, then drops records from the lowest epoch on as far as they are released.
pub fn released(state: &mut dyn Txn, epochs: &[Epoch]) -> Result<Answer, Fault> {
    let mut budget = Budget::default();
    for epoch in epochs.iter().take(RELEASED_MAX) {
        let key = keys::epoch(*epoch);
        if let Some(row) = get::<ClosedRow>(state, keys::CLOSED, &key)?.filter(|row| !row.released) {
            put(state, keys::CLOSED, key, &ClosedRow { released: true, ..row });
        }
    }
    // What was spent above, and the floor.
    let mut more = !budget.take(2 * RELEASED_MAX + 2);
    let mut floor_now = floor(state)?;
    let mut count = 0;
    loop {
        // The scan, the closed row, the key's row read and removed.
        if !budget.take(4) {
            more = true;
            break;
        }
        let Some((key, row)) = first::<ClosedRow>(state, keys::CLOSED)? else { break };
        let Some(epoch) = key.first_chunk().map(|bytes| Epoch(u64::from_be_bytes(*bytes))) else { break };
        if !row.released {
            break;
        }
        state.delete(keys::CLOSED, key);
        let held: Option<KeyRow> = get(state, keys::FILES, &keys::file(&row.name))?;
        if held.is_some_and(|held| held.epoch == epoch && held.home == HomeState::Closed) {
            state.delete(keys::FILES, keys::file(&row.name));
        }
        floor_now = floor_now.max(epoch);
        count += 1;
    }
    if count > 0 {
        put(state, keys::SYSTEM, keys::SEALED_FLOOR.to_vec(), &floor_now);
    }
    Ok(done(count, more))
}
