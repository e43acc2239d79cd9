//! What a start does with volumes: reads again what the index may have missed, and seals what was open.
//!
//! The work is bounded by what was written since the last mark, and by the number of volumes, not by that of chunks.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use flotilla_env::disk::{Disk, DiskFile};

use super::{
    index::{Edit, Index, Mark, Place, Row, Stage},
    pool::{Pool, Slot, State, path_of},
    record::{self, Kind, PAGE_BYTES, VOLUME_HEADER_BYTES, VolumeHeader, record_bytes},
    scan::{self, Found, Source},
    volume::Volume,
};
use crate::{error::Error, health::Health};

/// What a start read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rescan {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

/// A volume with records that the index may not know.
struct Unknown {
    volume: Volume,
    row: Row,
    /// Where they start.
    from: u64,
}

/// Gives all volumes of a folder, and the numbers of those that it sealed.
pub(crate) fn recover(
    disk: &dyn Disk,
    health: &Health,
    index: &Index,
    dir: &Path,
    capacity: u64,
) -> Result<(Pool, Vec<u32>, Rescan), Error> {
    let mark = index.mark()?;
    let mut rows = index.rows()?;
    let mut state = State::from_order(mark.map_or(1, |mark| mark.order + 1));
    let mut unknown = Vec::new();
    for (number, length) in files(disk, dir)? {
        let row = rows.remove(&number);
        state.next_number = state.next_number.max(number + 1);
        let volume =
            Volume::lazy(number, row.map_or_else(Default::default, |row| row.epoch), length, path_of(dir, number));
        let known = row.filter(|row| row.stage != Stage::Free && mark.is_some_and(|mark| row.epoch.order < mark.order));
        if let Some(row) = known {
            state.slots.insert(number, sealed(volume, row));
            continue;
        }
        match to_read_again(disk, volume, row, mark)? {
            Ok(found) => {
                state.next_order = state.next_order.max(found.volume.epoch.order + 1);
                unknown.push(found);
            }
            Err(free) if free.capacity == capacity => {
                state.slots.insert(number, Slot::free(free, false));
            }
            // It was not finished, or is of another size than volumes have now.
            Err(free) => disk.remove(&free.path).map_err(|error| health.judge("remove a volume", error))?,
        }
    }
    let mut lost = Edit::default();
    for (number, row) in rows {
        state.next_number = state.next_number.max(number + 1);
        if row.stage == Stage::Free {
            lost.drop_row(number);
            continue;
        }
        tracing::error!(path = %path_of(dir, number).display(), chunks = row.live_chunks, "a volume is gone");
        let volume = Volume::lazy(number, row.epoch, row.capacity, path_of(dir, number));
        state.slots.insert(number, Slot { spared: true, ..sealed(volume, row) });
    }
    unknown.sort_by_key(|unknown| unknown.volume.epoch.order);
    let pool = Pool::of(state);
    write(health, pool.write(index, lost, None, |_, _| {}))?;
    let (mut numbers, mut rescan) = (Vec::new(), Rescan::default());
    for unknown in unknown {
        numbers.push(unknown.volume.number);
        read_again(disk, health, index, &pool, unknown, &mut rescan)?;
    }
    Ok((pool, numbers, rescan))
}

/// Lists the volumes of a folder with their lengths.
fn files(disk: &dyn Disk, dir: &Path) -> Result<BTreeMap<u32, u64>, Error> {
    let entries = disk.list(dir).map_err(|source| Error::Io { what: "list volumes", source })?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let stem = entry.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".vol"));
        match stem.filter(|stem| stem.len() == 8).and_then(|stem| u32::from_str_radix(stem, 16).ok()) {
            Some(number) if !entry.dir => drop(files.insert(number, entry.length)),
            _ => tracing::warn!(path = %entry.path.display(), "not a volume of this store, left alone"),
        }
    }
    Ok(files)
}

/// Tells from where a volume has to be read again, or that nothing in it counts.
fn to_read_again(
    disk: &dyn Disk,
    volume: Volume,
    row: Option<Row>,
    mark: Option<Mark>,
) -> Result<Result<Unknown, Volume>, Error> {
    let unreadable = |source| Error::Io { what: "read a volume's header", source };
    let mut page = vec![0; PAGE_BYTES as usize];
    let file = volume.file(disk).map_err(unreadable)?;
    let filled = file.read_past_cache(0, &mut page).map_err(unreadable)?;
    let header = record::decode_volume_header(&page[..filled]).filter(|header| header.number == volume.number);
    let Some(VolumeHeader { epoch, capacity, .. }) = header else { return Ok(Err(volume)) };
    let mark = mark.unwrap_or_default();
    let kept = row.filter(|row| row.epoch == epoch && row.stage != Stage::Free);
    if kept.is_none() && epoch.order <= mark.order {
        return Ok(Err(volume)); // free, or removed and back: a volume in use has a row from its first mark on
    }
    let from = if epoch.order == mark.order { mark.offset } else { VOLUME_HEADER_BYTES };
    let fresh = Row {
        epoch,
        capacity,
        stage: Stage::Sealed,
        end: VOLUME_HEADER_BYTES,
        live_bytes: 0,
        live_chunks: 0,
        punched_bytes: 0,
    };
    // Without a mark the index counts for nothing, and all is read.
    let row = kept.filter(|row| epoch.order == mark.order || row.epoch.order < mark.order).unwrap_or(fresh);
    Ok(Ok(Unknown { volume: volume.renewed(epoch), row, from }))
}

/// Brings the records of a volume into the index that are not there yet, and seals the volume.
fn read_again(
    disk: &dyn Disk,
    health: &Health,
    index: &Index,
    pool: &Pool,
    unknown: Unknown,
    rescan: &mut Rescan,
) -> Result<(), Error> {
    let Unknown { volume, row, from } = unknown;
    let (number, epoch, capacity) = (volume.number, volume.epoch, row.capacity);
    let file: Arc<dyn DiskFile> = volume.file(disk).map_err(|error| health.judge("open a volume", error))?.clone();
    // A killed process leaves pages that are not on the device; what is seen from here on must be.
    health.sync_volume(&*file)?;
    pool.state().slots.insert(number, sealed(volume, row));
    let (mut edit, mut end) = (Edit::default(), from.max(row.end));
    scan::records(&*file, epoch, (from, capacity), Source::Device, |found| {
        if found.checked.is_err() {
            return Ok(()); // torn, so never acked
        }
        end = end.max(found.offset + record_bytes(found.header.length));
        rescan.records += 1;
        replay(index, &mut edit, number, &found)
    })?;
    rescan.bytes += capacity - from;
    let mark = Mark { order: epoch.order, offset: capacity };
    let written = pool.write(index, edit, Some(mark), |state, edit| {
        if let Some(slot) = state.slots.get_mut(&number) {
            slot.row.end = end;
            edit.set_row(number, &slot.row);
        }
    });
    write(health, written)
}

fn replay(index: &Index, edit: &mut Edit, number: u32, found: &Found<'_>) -> Result<(), Error> {
    match found.header.kind {
        Kind::Chunk { id, .. } => {
            let (order, length) = (found.header.epoch.order, found.header.length);
            let place = Place { volume: number, order, offset: found.offset, length };
            let old = edit.find(index, id)?;
            if old != Some(place) {
                edit.point(id, old, place);
            }
        }
        Kind::Removal => {
            for id in record::decode_removal(found.data) {
                if let Some(place) = edit.find(index, id)? {
                    edit.forget(id, place);
                }
            }
        }
    }
    Ok(())
}

fn sealed(volume: Volume, row: Row) -> Slot {
    let row = Row { stage: Stage::Sealed, ..row };
    Slot { volume: Arc::new(volume), row, prepared: false, spared: false }
}

fn write(health: &Health, written: Result<(), flotilla_kv::Error>) -> Result<(), Error> {
    written.map_err(|error| health.poison("write the index of the volumes", &error))
}
