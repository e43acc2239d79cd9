//! Space of volumes: given back by holes and by removal, taken again by writing through.
//!
//! Must not know which volume deserves it.

use std::sync::Arc;

use flotilla_env::disk::{Cause, DiskFile};

use super::{
    Shared,
    index::{Edit, Row, Stage},
    record::{PAGE_BYTES, VOLUME_HEADER_BYTES},
    volume::Volume,
};
use crate::error::Error;

/// Free volumes that are kept: one that is prepared and one that was just emptied; the space of others is given back.
const FREE_MAX: usize = 2;

/// The shortest run of dead records that is punched out: shorter ones would cut the file into more pieces than they are worth, and
/// are left to compaction.
pub(super) const PUNCH_BYTES_MIN: u64 = 64 << 10;

/// How many bytes of zeros are written at a time.
const FILL_BYTES: usize = 1 << 20;

impl Shared {
    /// Writes the holes of a free volume through, and lets go of it.
    #[allow(clippy::needless_pass_by_value)] // a volume that is held cannot be begun
    pub(super) fn refill(&self, volume: Arc<Volume>, punched_bytes: u64) -> Result<(), Error> {
        let judge = |what| move |error| self.health.judge(what, error);
        let file = volume.file(&*self.disk).map_err(judge("open a volume"))?;
        if punched_bytes > 0 {
            flotilla_env::failpoint!("volumes.before_refill", |arg| Err(self
                .health
                .judge("fill a volume", flotilla_env::failpoint::io_error(arg))));
            file.allocate(volume.capacity).map_err(judge("reserve space for a volume"))?;
            self.fill(&**file)?;
            self.health.sync_volume(&**file)?;
        }
        if let Some(slot) = self.pool.state().slots.get_mut(&volume.number) {
            (slot.prepared, slot.row.punched_bytes) = (true, 0);
        }
        Ok(())
    }

    /// Puts an emptied volume into the free list, or gives its space back if there are enough.
    pub(super) fn free(&self, volume: Arc<Volume>) -> Result<(), Error> {
        flotilla_env::failpoint!("volumes.before_free", |arg| Err(self
            .health
            .poison("write the index of the volumes", &flotilla_env::failpoint::io_error(arg))));
        let number = volume.number;
        let written = self.pool.write(&self.index, Edit::default(), None, |state, edit| {
            if let Some(slot) = state.slots.get(&number) {
                edit.set_row(number, &Row { stage: Stage::Free, ..slot.row });
            }
        });
        written.map_err(|error| self.health.poison("write the index of the volumes", &error))?;
        // The copies are synced. From here on nothing that survives a crash points to this volume, and it survives as a free one:
        // the database keeps writes in their order, so this covers the pointers as well.
        self.sync_index()?;
        flotilla_env::failpoint!("volumes.after_free", |arg| Err(self
            .health
            .poison("sync the index of the volumes", &flotilla_env::failpoint::io_error(arg))));
        let enough = {
            let mut state = self.pool.state();
            let free = state.slots.values().filter(|slot| slot.row.stage == Stage::Free).count();
            match state.slots.get_mut(&number) {
                Some(slot) => {
                    let tail = slot.row.capacity - slot.row.end;
                    slot.row.stage = Stage::Free;
                    // Without holes it is as good as a prepared one.
                    slot.prepared = slot.row.punched_bytes == 0 && tail < PUNCH_BYTES_MIN;
                    slot.row.punched_bytes += tail;
                    slot.row.end = VOLUME_HEADER_BYTES;
                }
                None => return Ok(()),
            }
            free >= FREE_MAX
        };
        drop(volume);
        if enough { self.give_back(number) } else { Ok(()) }
    }

    fn give_back(&self, number: u32) -> Result<(), Error> {
        let Some(slot) = self.pool.state().slots.remove(&number) else { return Ok(()) };
        match self.disk.remove(&slot.volume.path) {
            Err(error) if Cause::of(&error) != Cause::Missing => {
                return Err(self.health.judge("remove a volume", error));
            }
            _ => {}
        }
        let written = self.pool.write(&self.index, Edit::default(), None, |_, edit| edit.drop_row(number));
        written.map_err(|error| self.health.poison("write the index of the volumes", &error))
    }

    fn sync_index(&self) -> Result<(), Error> {
        self.index.sync().map_err(|error| self.health.poison("sync the index of the volumes", &error))
    }

    /// Gives back what lies behind the last record of a sealed volume.
    pub(crate) fn punch_tail(&self, number: u32) -> Result<(), Error> {
        let tail = {
            let state = self.pool.state();
            let slot = state.slots.get(&number).filter(|slot| slot.row.stage == Stage::Sealed);
            slot.map(|slot| (slot.volume.clone(), slot.row.end))
        };
        let Some((volume, end)) = tail else { return Ok(()) };
        if volume.capacity - end < PUNCH_BYTES_MIN {
            return Ok(());
        }
        let file = volume.file(&*self.disk).map_err(|error| self.health.judge("open a volume", error))?;
        file.punch(end, volume.capacity - end).map_err(|error| self.health.judge("punch a volume", error))?;
        self.note_punched(&volume, 0)
    }

    /// Gives back the space of dead records. Their removal is synced.
    pub(super) fn punch(&self, volume: &Volume, runs: &[(u64, u64)]) -> Result<(), Error> {
        let mut punched = 0;
        for (from, to) in runs {
            self.health.check()?;
            let file = volume.file(&*self.disk).map_err(|error| self.health.judge("open a volume", error))?;
            let done = file.punch(*from, to - from).map_err(|error| self.health.judge("punch a volume", error))?;
            punched += if done { to - from } else { 0 };
        }
        if punched == 0 { Ok(()) } else { self.note_punched(volume, punched) }
    }

    fn note_punched(&self, volume: &Volume, bytes: u64) -> Result<(), Error> {
        let (number, order) = (volume.number, volume.epoch.order);
        let written = self.pool.write(&self.index, Edit::default(), None, |state, edit| {
            if let Some(slot) = state.slots.get_mut(&number).filter(|slot| slot.row.epoch.order == order) {
                slot.row.punched_bytes += bytes;
                edit.set_row(number, &slot.row);
            }
        });
        written.map_err(|error| self.health.poison("write the index of the volumes", &error))
    }

    /// Writes zeros through a volume's file.
    pub(crate) fn fill(&self, file: &dyn DiskFile) -> Result<(), Error> {
        let mut zeros = self.buffers.take(FILL_BYTES);
        zeros.fill(0);
        let mut at = 0;
        while at < self.capacity {
            if self.chores.closed() {
                return Err(Error::Closed);
            }
            let length = (self.capacity - at).min(FILL_BYTES as u64);
            // Past the page cache: nobody reads them, and the pages would cost ten times the write.
            let written = file.write_direct(at, &zeros[..usize::try_from(length).expect("a megabyte")]);
            written.map_err(|error| self.health.judge("fill a volume", error))?;
            at += length;
        }
        Ok(())
    }
}

const _: () = assert!(PUNCH_BYTES_MIN.is_multiple_of(PAGE_BYTES), "holes are whole pages");
