//! Which chunks are being written, and the space that is promised to them; memory only.
//!
//! A claimed chunk is invisible: its bytes may be on disk already, but no sync round has vouched for its name yet.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flotilla_api::ChunkId;

use crate::error::Error;

/// How many chunks are written at the same time: each holds a file handle and, at its sync, one of tokio's 512 blocking threads.
pub const WRITERS_MAX: usize = 512;

/// All claims of a store.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ids: HashSet<ChunkId>,
    reserved_bytes: u64,
    /// The part of `reserved_bytes` that the file system does not count as used yet.
    unallocated_bytes: u64,
    /// Whether no id can be claimed any more.
    drains: bool,
}

/// The right to write one chunk; dropping it makes the id free again and the chunk, if it is there, visible.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Arc<Claims>,
    id: ChunkId,
    bytes: u64,
    allocated: bool,
    hidden: bool,
}

impl Claims {
    /// Claims an id and promises it `bytes` of space.
    pub(crate) fn take(self: &Arc<Self>, id: ChunkId, bytes: u64) -> Result<Claim, Error> {
        let state = self.state();
        if state.drains {
            return Err(Error::Draining);
        }
        self.take_of(state, id, bytes)
    }

    /// Claims an id to remove what an unfinished write left, also while the store drains.
    pub(crate) fn take_to_remove(self: &Arc<Self>, id: ChunkId) -> Result<Claim, Error> {
        self.take_of(self.state(), id, 0)
    }

    fn take_of(self: &Arc<Self>, mut state: MutexGuard<'_, State>, id: ChunkId, bytes: u64) -> Result<Claim, Error> {
        if state.ids.contains(&id) {
            return Err(Error::Busy(id));
        }
        if state.ids.len() >= WRITERS_MAX {
            return Err(Error::Overloaded);
        }
        state.ids.insert(id);
        state.reserved_bytes += bytes;
        state.unallocated_bytes += bytes;
        Ok(Claim { claims: self.clone(), id, bytes, allocated: false, hidden: false })
    }

    pub(crate) fn holds(&self, id: ChunkId) -> bool {
        self.state().ids.contains(&id)
    }

    /// Refuses new claims from now on, or takes them again.
    pub(crate) fn drain(&self, on: bool) {
        self.state().drains = on;
    }

    /// Whether no chunk is being written, and none will be.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.state();
        state.drains && state.reserved_bytes == 0
    }

    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.state().reserved_bytes
    }

    /// Gives what is promised but not yet missing from the file system's free space.
    pub(crate) fn unallocated_bytes(&self) -> u64 {
        self.state().unallocated_bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    pub(crate) fn id(&self) -> ChunkId {
        self.id
    }

    /// Notes that the file system has set the space aside.
    pub(crate) fn allocated(&mut self) {
        if !std::mem::replace(&mut self.allocated, true) {
            self.claims.state().unallocated_bytes -= self.bytes;
        }
    }

    /// Keeps the chunk invisible for ever: its name may or may not survive a power cut, so nobody may count on it.
    pub(crate) fn hide(mut self) {
        self.hidden = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.allocated();
        let mut state = self.claims.state();
        state.reserved_bytes -= self.bytes;
        if !self.hidden {
            state.ids.remove(&self.id);
        }
    }
}
