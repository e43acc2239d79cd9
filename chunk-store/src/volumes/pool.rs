//! All volumes of a disk, what is known of each, and the order in which that goes into the index.
//!
//! Two threads change it: the one that commits, and the keeper. What they write to the index is a function of what stands here, so
//! both hold [`Pool::turn`] while they change this and write that.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{
    index::{Edit, Index, Mark, Place, Row, Stage},
    record::{Epoch, VOLUME_HEADER_BYTES},
    volume::Volume,
};

/// How many handles of sealed volumes are kept: 16 GiB of small chunks, a fraction of the handles that a process gets.
const OPEN_MAX: usize = 256;

/// More than this share of a sealed volume's records dead: copying the others pays.
const DEAD_PERCENT_MAX: u64 = 40;

/// Sealed volumes with less than this share in use are merged, at least two of them: every start leaves one.
const SPARSE_PERCENT_MAX: u64 = 25;

/// What the store has in volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VolumeUsage {
    /// How many chunks lie in volumes.
    pub chunks: u64,
    /// What their records take.
    pub live_bytes: u64,
    /// What is taken by records of chunks that are gone, and by removals, until it is punched out or compacted.
    pub dead_bytes: u64,
    /// What was given back to the file system from volumes that are still in use.
    pub punched_bytes: u64,
    /// Volumes that wait for their next use.
    pub free: u64,
    /// Volumes that records are appended to.
    pub open: u64,
    /// Volumes that are only read.
    pub sealed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
    turn: Mutex<()>,
    /// Woken when the volume in preparation is ready, or will not be.
    prepared: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) slots: BTreeMap<u32, Slot>,
    pub(crate) next_number: u32,
    pub(crate) next_order: u64,
    /// What the volume that the keeper is preparing will hold: its space is taken, and it cannot be appended to yet.
    preparing_bytes: u64,
    /// Volumes whose handle was opened for reading, the oldest first.
    opened: VecDeque<u32>,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) volume: Arc<Volume>,
    pub(crate) row: Row,
    /// Free, and its blocks are all written: appending changes nothing but data.
    pub(crate) prepared: bool,
    /// Compaction could not empty it: a record is damaged, so a scrub has to find and mend it first.
    pub(crate) spared: bool,
}

/// A volume that the keeper is preparing.
#[derive(Debug)]
pub(crate) struct Preparing<'a>(&'a Pool);

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.state().preparing_bytes = 0;
        self.0.prepared.notify_all();
    }
}

impl Pool {
    pub(crate) fn of(state: State) -> Self {
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to change rows and write them.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the volume of a place, unless it has been recycled since.
    pub(crate) fn volume(&self, place: &Place) -> Option<Arc<Volume>> {
        let state = self.state();
        let volume = &state.slots.get(&place.volume)?.volume;
        (volume.epoch.order == place.order).then(|| volume.clone())
    }

    /// Notes that a handle was opened, and closes the oldest of too many that nobody reads from.
    pub(crate) fn opened(&self, number: u32) {
        let state = &mut *self.state();
        if !state.opened.contains(&number) {
            state.opened.push_back(number);
        }
        for _ in OPEN_MAX..state.opened.len() {
            let Some(oldest) = state.opened.pop_front() else { return };
            match state.slots.get_mut(&oldest) {
                Some(slot) if slot.row.stage == Stage::Sealed && Arc::strong_count(&slot.volume) == 1 => {
                    let Volume { number, epoch, capacity, .. } = *slot.volume;
                    slot.volume = Arc::new(Volume::lazy(number, epoch, capacity, slot.volume.path.clone()));
                }
                Some(_) => state.opened.push_back(oldest),
                None => {}
            }
        }
    }

    /// Gives what can be appended before another volume has to be made.
    pub(crate) fn unused_bytes(&self) -> u64 {
        let unused = |slot: &Slot| match slot.row.stage {
            Stage::Open => slot.row.capacity - slot.row.end,
            Stage::Free if slot.prepared => slot.row.capacity - VOLUME_HEADER_BYTES,
            Stage::Free | Stage::Sealed => 0,
        };
        let state = self.state();
        state.slots.values().map(unused).sum::<u64>() + state.preparing_bytes
    }

    /// Counts a volume as usable from when its space is taken until what is returned is dropped.
    pub(crate) fn preparing(&self, capacity: u64) -> Preparing<'_> {
        self.state().preparing_bytes = capacity - VOLUME_HEADER_BYTES;
        Preparing(self)
    }

    /// Waits for the volume in preparation, if there is one. Whoever prepares it must not wait for the caller.
    pub(crate) fn await_prepared(&self) {
        let unready = |state: &mut State| state.preparing_bytes > 0;
        drop(self.prepared.wait_while(self.state(), unready).unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes a row and writes it with the rest of an edit.
    pub(crate) fn write(
        &self,
        index: &Index,
        mut edit: Edit,
        mark: Option<Mark>,
        change: impl FnOnce(&mut State, &mut Edit),
    ) -> Result<(), flotilla_kv::Error> {
        let _turn = self.turn();
        {
            let state = &mut *self.state();
            change(state, &mut edit);
            edit.count_into(state);
        }
        if let Some(mark) = mark {
            edit.mark(mark);
        }
        index.write(edit.into_batch())
    }

    pub(crate) fn usage(&self) -> VolumeUsage {
        let mut usage = VolumeUsage::default();
        for slot in self.state().slots.values() {
            let row = &slot.row;
            match row.stage {
                Stage::Open => usage.open += 1,
                Stage::Sealed => usage.sealed += 1,
                Stage::Free => {
                    usage.free += 1;
                    continue;
                }
            }
            usage.chunks += row.live_chunks;
            usage.live_bytes += row.live_bytes;
            usage.punched_bytes += row.punched_bytes;
            usage.dead_bytes += dead(row);
        }
        usage
    }

    /// Gives the sealed volume that it pays most to empty, if there is one.
    pub(crate) fn worth_emptying(&self) -> Option<Arc<Volume>> {
        let state = self.state();
        let sealed = || state.slots.values().filter(|slot| slot.row.stage == Stage::Sealed && !slot.spared);
        let used = |row: &Row| row.end - VOLUME_HEADER_BYTES;
        let sparse = |row: &Row| row.live_bytes * 100 < row.capacity * SPARSE_PERCENT_MAX;
        let merge = sealed().filter(|slot| sparse(&slot.row)).count() > 1;
        let pays = |slot: &&Slot| {
            let row = &slot.row;
            let dead = used(row).saturating_sub(row.live_bytes);
            row.live_chunks == 0 || dead * 100 > used(row) * DEAD_PERCENT_MAX || (merge && sparse(row))
        };
        sealed().filter(pays).min_by_key(|slot| slot.row.live_bytes).map(|slot| slot.volume.clone())
    }
}

/// Gives the bytes of records that nothing points to and that were not given back.
fn dead(row: &Row) -> u64 {
    (row.end - VOLUME_HEADER_BYTES).saturating_sub(row.live_bytes + row.punched_bytes)
}

impl Edit {
    /// Applies what chunks came and went to the rows of their volumes, and adds those.
    fn count_into(&mut self, state: &mut State) {
        for (number, change) in self.take_changes() {
            // A row of another epoch belongs to another set of records.
            let slot = state.slots.get_mut(&number).filter(|slot| slot.row.epoch.order == change.order);
            if let Some(Slot { row, .. }) = slot {
                row.live_bytes = row.live_bytes.saturating_add_signed(change.bytes);
                row.live_chunks = row.live_chunks.saturating_add_signed(change.chunks);
                self.set_row(number, row);
            }
        }
    }
}

impl State {
    /// No volumes, and the first epoch to come.
    pub(crate) fn from_order(next_order: u64) -> Self {
        Self { next_order, ..Self::default() }
    }

    /// Gives a number that no volume has.
    pub(crate) fn take_number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Gives an epoch that no volume ever had.
    pub(crate) fn take_epoch(&mut self, salt: u64) -> Epoch {
        self.next_order += 1;
        Epoch { order: self.next_order - 1, salt }
    }

    /// Gives a free volume that nobody reads from, a prepared one if there is one.
    pub(crate) fn take_free(&self) -> Option<u32> {
        let free = self.slots.iter().filter(|(_, slot)| slot.row.stage == Stage::Free && slot.prepared);
        free.filter(|(_, slot)| Arc::strong_count(&slot.volume) == 1).map(|(number, _)| *number).next()
    }
}

/// Gives the path of a volume.
pub(crate) fn path_of(dir: &std::path::Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08x}.vol"))
}
