//! The one thread that appends to volumes: it takes what is ready, writes it at once, syncs once, and answers all.
//!
//! There is no timer: an idle disk syncs at once, and whoever comes while a sync runs shares the next one.

use std::{
    collections::BTreeMap,
    io::IoSlice,
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_env::disk::DiskFile;
use tokio::sync::oneshot;

use super::{
    Shared,
    index::{Edit, Mark, Place, Row, Stage},
    pool::{Slot, path_of},
    queue::{Copied, Job, Put},
    record::{self, Epoch, HEADER_BYTES, Header, Kind, PAGE_BYTES, VOLUME_HEADER_BYTES, record_bytes},
    volume::Volume,
};
use crate::{
    error::Error,
    sums::{self, BLOCK_BYTES},
};

/// The next volume is prepared once this share of the open one is used: early enough to be ready, too late for a store that holds
/// next to nothing.
const FOLLOWED_PERCENT: u64 = 25;

static ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// Appends to volumes.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    open: Option<Open>,
    group: Group,
}

/// The volume that is appended to.
#[derive(Debug)]
struct Open {
    volume: Arc<Volume>,
    /// Where the next record goes.
    at: u64,
    /// Whether its header is written and synced.
    begun: bool,
    /// Whether the keeper was asked for the next one.
    followed: bool,
}

/// Records that are written together.
#[derive(Debug, Default)]
struct Group {
    records: Vec<Record>,
    edit: Edit,
    waiters: Vec<Waiter>,
    /// Records that nothing will point to.
    dead: Vec<Place>,
}

#[derive(Debug)]
struct Record {
    header: [u8; HEADER_BYTES],
    parts: Vec<Bytes>,
    padding: usize,
}

#[derive(Debug)]
enum Waiter {
    Put(Box<Put>),
    Remove(oneshot::Sender<Result<(), Error>>),
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: None, group: Group::default() }
    }

    /// Serves the queue until it is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(jobs) = self.shared.clone().queue.take() {
            self.serve(jobs);
        }
    }

    /// Serves all that is ready, and does not wait for more.
    pub(crate) fn run_ready(&mut self) {
        while let Some(jobs) = self.shared.clone().queue.take_ready() {
            self.serve(jobs);
        }
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            match job {
                Job::Put(put) => self.put(put),
                Job::Remove { ids, done } => self.remove(&ids, done),
                Job::Copy { records, done } => self.copy(&records, &done),
            }
        }
        let _ = self.flush(); // those who wait were told
    }

    fn put(&mut self, mut put: Box<Put>) {
        let place = match self.take_place(put.stored.length) {
            Ok((place, epoch)) => {
                let (kind, sums) = (put.kind, std::mem::take(&mut put.sums));
                let header = Header { epoch, kind, length: put.stored.length, sums };
                self.group.records.push(Record::new(&header, std::mem::take(&mut put.parts)));
                place
            }
            Err(error) => return drop(put.done.send(Err(error))), // the asker may have gone
        };
        self.group.edit.point(put.id, None, place);
        self.group.waiters.push(Waiter::Put(put));
    }

    fn remove(&mut self, ids: &[ChunkId], done: oneshot::Sender<Result<(), Error>>) {
        match self.add_removal(ids) {
            Ok(()) => self.group.waiters.push(Waiter::Remove(done)),
            Err(error) => drop(done.send(Err(error))), // the asker may have gone
        }
    }

    fn add_removal(&mut self, ids: &[ChunkId]) -> Result<(), Error> {
        let mut gone = BTreeMap::new(); // by id, as one may be named twice
        for id in ids {
            if let Some(place) = self.group.edit.find(&self.shared.index, *id)? {
                gone.insert(*id, place);
            }
        }
        if gone.is_empty() {
            return Ok(()); // answered with the group, and costs nothing
        }
        let data = record::encode_removal(gone.keys().copied());
        let (_, epoch) = self.take_place(data.len() as u64)?;
        let sums = data.chunks(BLOCK_BYTES).map(sums::of_block).collect();
        let header = Header { epoch, kind: Kind::Removal, length: data.len() as u64, sums };
        self.group.records.push(Record::new(&header, vec![data.into()]));
        for (id, place) in gone {
            self.group.edit.forget(id, place);
            self.group.dead.push(place);
        }
        Ok(())
    }

    /// Writes records again that are still where they were read.
    fn copy(&mut self, records: &[Copied], done: &mpsc::SyncSender<Result<(), Error>>) {
        let mut result = Ok(());
        for copied in records {
            result = self.add_copy(copied);
            if result.is_err() {
                break;
            }
        }
        let flushed = self.flush();
        let _ = done.send(result.and(flushed)); // the keeper may be ending
    }

    fn add_copy(&mut self, copied: &Copied) -> Result<(), Error> {
        let current = |committer: &Self| committer.group.edit.find(&committer.shared.index, copied.id);
        if current(self)? != Some(copied.from) {
            return Ok(()); // removed since it was read
        }
        let (place, epoch) = self.take_place(copied.from.length)?;
        let header = Header { epoch, kind: copied.kind, length: copied.from.length, sums: copied.sums.clone() };
        self.group.records.push(Record::new(&header, vec![copied.data.clone()]));
        self.group.edit.point(copied.id, Some(copied.from), place);
        Ok(())
    }

    /// Gives the next record its place, in another volume if this one has no room for it.
    fn take_place(&mut self, length: u64) -> Result<(Place, Epoch), Error> {
        self.shared.health.check()?;
        let bytes = record_bytes(length);
        if self.open.as_ref().is_none_or(|open| open.at + bytes > open.volume.capacity) {
            self.flush()?;
            self.seal();
            self.open = Some(self.begin()?);
        }
        let open = self.open.as_mut().expect("just opened");
        let Volume { number, epoch, .. } = *open.volume;
        let place = Place { volume: number, order: epoch.order, offset: open.at, length };
        open.at += bytes;
        Ok((place, epoch))
    }

    /// Makes the group durable, then visible, then acked.
    fn flush(&mut self) -> Result<(), Error> {
        let group = std::mem::take(&mut self.group);
        let mut result = Ok(());
        if !group.records.is_empty() {
            result = self.write(&group.records).and_then(|end| self.index(group.edit, end));
            if result.is_err() {
                // What reached the volume is not known, and of a new one the header may be missing: nothing may follow.
                self.seal();
            }
        }
        for waiter in group.waiters {
            waiter.answer(result.as_ref().copied().map_err(again));
        }
        if result.is_ok() {
            self.shared.chores.freed(group.dead);
            self.shared.gauges.show(&self.shared.pool.usage());
        }
        result
    }

    /// Writes and syncs records behind each other; gives where the last one ends.
    fn write(&mut self, records: &[Record]) -> Result<u64, Error> {
        let health = &self.shared.health;
        health.check()?;
        let open = self.open.as_mut().expect("records were given places in it");
        let header = record::encode_volume_header(&open.volume.header());
        let mut slices = Vec::with_capacity(2 + records.len() * 3);
        if !open.begun {
            slices.extend([IoSlice::new(&header), IoSlice::new(&ZEROS[header.len()..])]);
        }
        for record in records {
            slices.push(IoSlice::new(&record.header));
            slices.extend(record.parts.iter().map(|part| IoSlice::new(part)));
            slices.push(IoSlice::new(&ZEROS[..record.padding]));
        }
        let length: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let file = open.volume.opened().expect("opened before records were given places in it");
        flotilla_env::failpoint!("volumes.before_append", |arg| Err(
            health.judge("write to a volume", flotilla_env::failpoint::io_error(arg))
        ));
        file.write_at(open.at - length, &slices).map_err(|error| health.judge("write to a volume", error))?;
        flotilla_env::failpoint!("volumes.appended", |arg| Err(
            health.poison("sync a volume", &flotilla_env::failpoint::io_error(arg))
        ));
        health.sync_volume(&**file)?;
        health.check()?;
        open.begun = true;
        if !open.followed && open.at * 100 >= open.volume.capacity * FOLLOWED_PERCENT {
            open.followed = true;
            self.shared.chores.prepare();
        }
        Ok(open.at)
    }

    /// Makes synced records visible.
    fn index(&self, edit: Edit, end: u64) -> Result<(), Error> {
        flotilla_env::failpoint!("volumes.before_index", |arg| Err(self
            .shared
            .health
            .poison("write the index of the volumes", &flotilla_env::failpoint::io_error(arg))));
        let Volume { number, epoch, .. } = *self.open.as_ref().expect("it was just written to").volume;
        let mark = Mark { order: epoch.order, offset: end };
        let written = self.shared.pool.write(&self.shared.index, edit, Some(mark), |state, edit| {
            let slot = state.slots.get_mut(&number).expect("an open volume has a slot");
            slot.row.end = end;
            edit.set_row(number, &slot.row);
        });
        // What is synced but in no index must not be acked, and nothing may be acked behind it.
        written.map_err(|error| self.shared.health.poison("write the index of the volumes", &error))?;
        flotilla_env::failpoint!("volumes.after_index", |arg| Err(self
            .shared
            .health
            .poison("write the index of the volumes", &flotilla_env::failpoint::io_error(arg))));
        Ok(())
    }

    /// Ends the open volume. Its row goes to the index with the next group; a start seals it anyway.
    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let number = open.volume.number;
        if let Some(slot) = self.shared.pool.state().slots.get_mut(&number) {
            slot.row.stage = Stage::Sealed;
        }
        self.shared.chores.sealed(number);
    }

    /// Opens the next volume: one that was prepared, or a new one.
    fn begin(&self) -> Result<Open, Error> {
        let salt = self.shared.entropy.u64();
        let volume = match self.begin_free(salt) {
            Some(volume) => volume,
            None => match self.begin_new(salt) {
                // The last room may be that of the volume in preparation.
                Err(Error::Full) => {
                    self.shared.pool.await_prepared();
                    self.begin_free(salt).ok_or(Error::Full)?
                }
                begun => begun?,
            },
        };
        let opened = volume.file(&*self.shared.disk);
        opened.map_err(|error| self.shared.health.judge("open a volume", error))?;
        Ok(Open { volume, at: VOLUME_HEADER_BYTES, begun: false, followed: false })
    }

    fn begin_free(&self, salt: u64) -> Option<Arc<Volume>> {
        let state = &mut *self.shared.pool.state();
        let number = state.take_free()?;
        let epoch = state.take_epoch(salt);
        let slot = state.slots.get_mut(&number).expect("just found");
        Some(slot.begin(Arc::new(slot.volume.renewed(epoch))))
    }

    fn begin_new(&self, salt: u64) -> Result<Arc<Volume>, Error> {
        let (number, file) = self.shared.make_file(false)?;
        let state = &mut *self.shared.pool.state();
        let epoch = state.take_epoch(salt);
        let path = path_of(&self.shared.dir, number);
        let volume = Arc::new(Volume::lazy(number, epoch, self.shared.capacity, path).with_file(file));
        state.slots.insert(number, Slot::of(volume.clone()));
        Ok(volume)
    }
}

impl Slot {
    /// A volume that begins.
    fn of(volume: Arc<Volume>) -> Self {
        let row = Row {
            epoch: volume.epoch,
            capacity: volume.capacity,
            stage: Stage::Open,
            end: VOLUME_HEADER_BYTES,
            live_bytes: 0,
            live_chunks: 0,
            punched_bytes: 0,
        };
        Self { volume, row, prepared: false, spared: false }
    }

    fn begin(&mut self, volume: Arc<Volume>) -> Arc<Volume> {
        *self = Self::of(volume.clone());
        volume
    }
}

impl Shared {
    /// Makes a volume's file under a new number, durable with its name, all of its space set aside.
    ///
    /// A `filled` one is written through, so that a later sync finds no new blocks to note; that takes a while.
    pub(crate) fn make_file(&self, filled: bool) -> Result<(u32, Arc<dyn DiskFile>), Error> {
        let number = self.pool.state().take_number();
        let path = path_of(&self.dir, number);
        let judge = |what| move |error| self.health.judge(what, error);
        let file = self.disk.create(&path).map_err(judge("make a volume"))?;
        let made = || {
            file.allocate(self.capacity).map_err(judge("reserve space for a volume"))?;
            file.set_len(self.capacity).map_err(judge("reserve space for a volume"))?;
            if filled {
                self.fill(&*file)?;
            }
            self.health.sync_volume(&*file)?;
            self.health.sync_dir(&self.dir)
        };
        match made() {
            Ok(()) => Ok((number, file)),
            Err(error) => {
                if let Err(error) = self.disk.remove(&path) {
                    tracing::warn!(%error, path = %path.display(), "a volume that could not be made stays");
                }
                Err(error)
            }
        }
    }
}

impl Record {
    fn new(header: &Header, parts: Vec<Bytes>) -> Self {
        let padding = record_bytes(header.length) - HEADER_BYTES as u64 - header.length;
        let padding = usize::try_from(padding).expect("less than a page");
        Self { header: record::encode(header), parts, padding }
    }
}

impl Waiter {
    fn answer(self, result: Result<(), Error>) {
        // The asker may have gone; what is synced stays.
        match self {
            Self::Remove(done) => drop(done.send(result)),
            Self::Put(put) => {
                let Put { claim, promise, done, stored, .. } = *put;
                drop((claim, promise)); // the index has it already
                drop(done.send(result.map(|()| stored)));
            }
        }
    }
}

/// Gives an error to one more of those who share it.
fn again(error: &Error) -> Error {
    match error {
        Error::Full => Error::Full,
        Error::Io { what, source } => {
            Error::Io { what, source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        _ => Error::Poisoned,
    }
}
