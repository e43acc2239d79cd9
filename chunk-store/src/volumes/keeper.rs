//! The thread that keeps volumes in shape, behind the one that commits: prepares the next one, punches out what is dead, and copies
//! what is alive out of volumes that are mostly dead.
//!
//! Recycling goes in this order, and a crash between any two steps loses nothing: the copies are synced, the index points to them,
//! the volume's row says free, the database is synced; only then is anything written over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Shared,
    index::{Place, Stage},
    pool::{Slot, path_of},
    queue::{Copied, Job},
    record::{Kind, VOLUME_HEADER_BYTES, record_bytes},
    scan::{self, Source},
    space::PUNCH_BYTES_MIN,
    volume::Volume,
};
use crate::error::Error;

/// How many bytes are copied by one job of the committer: what others may have to wait for.
const COPY_BYTES: u64 = 1 << 20;

/// Volumes that have dead runs waiting for their seal; those of others are left to compaction.
const WAITING_MAX: usize = 16;

/// Something to do for the keeper.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Makes sure that a volume is ready for the time when the open one is full.
    Prepare,
    /// Records that nothing points to any more.
    Freed(Vec<Place>),
    /// A volume that is not appended to any more.
    Sealed(u32),
    /// Compacts all that it pays for, and tells how many volumes that was.
    Compact(oneshot::Sender<Result<u64, Error>>),
    /// Ends.
    Close,
}

/// Chores that wait for the keeper. One too many is dropped: its dead space is found when the volume is compacted, and a
/// volume that was not prepared is made when it is needed. The committer must never wait for the keeper, which waits for it.
const CHORES_MAX: usize = 4096;

/// The way to the keeper.
#[derive(Debug)]
pub(crate) struct Chores {
    send: SyncSender<Chore>,
    closed: AtomicBool,
}

/// Keeps volumes in shape.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    /// Dead runs of the open volume: punching it would give a sync of it more to do than data.
    waiting: BTreeMap<(u32, u64), BTreeSet<(u64, u64)>>,
}

/// Makes a keeper's queue.
pub(crate) fn chores() -> (Chores, Receiver<Chore>) {
    let (send, receive) = mpsc::sync_channel(CHORES_MAX);
    (Chores { send, closed: AtomicBool::new(false) }, receive)
}

impl Chores {
    pub(crate) fn prepare(&self) {
        self.send(Chore::Prepare);
    }

    pub(crate) fn freed(&self, dead: Vec<Place>) {
        if !dead.is_empty() {
            self.send(Chore::Freed(dead));
        }
    }

    pub(crate) fn sealed(&self, number: u32) {
        self.send(Chore::Sealed(number));
    }

    pub(crate) fn compact(&self, done: oneshot::Sender<Result<u64, Error>>) {
        self.send(Chore::Compact(done));
    }

    /// Ends the keeper after the step that it is at.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.send(Chore::Close);
    }

    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn send(&self, chore: Chore) {
        // A keeper that has ended, or is far behind, leaves dead records where they are for now.
        let _ = self.send.try_send(chore);
    }
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, waiting: BTreeMap::new() }
    }

    pub(crate) fn run(mut self, chores: &Receiver<Chore>) {
        while let Ok(chore) = chores.recv() {
            if self.shared.chores.closed() {
                return;
            }
            self.work(chore);
        }
    }

    /// Does one chore.
    pub(crate) fn work(&mut self, chore: Chore) {
        let (what, result) = match chore {
            Chore::Close => return,
            Chore::Prepare => ("prepare a volume", self.prepare()),
            Chore::Freed(dead) => ("punch a volume", self.freed(dead)),
            Chore::Sealed(number) => ("tidy a volume", self.sealed(number)),
            Chore::Compact(done) => {
                let result = self.compact();
                drop(done.send(result)); // the asker may have gone
                return;
            }
        };
        match result {
            // Nothing that was acked hangs on it; a failed sync has poisoned the store.
            Err(Error::Full | Error::Poisoned | Error::Closed) | Ok(()) => {}
            Err(error) => tracing::warn!(%error, what, "volumes stay as they are"),
        }
        self.shared.gauges.show(&self.shared.pool.usage());
    }

    /// Makes sure that one free volume has all of its blocks written.
    fn prepare(&mut self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.health.check()?;
        let free = {
            let state = shared.pool.state();
            if state.take_free().is_some() {
                return Ok(());
            }
            let unpinned = |slot: &&Slot| slot.row.stage == Stage::Free && Arc::strong_count(&slot.volume) == 1;
            state.slots.values().find(unpinned).map(|slot| (slot.volume.clone(), slot.row.punched_bytes))
        };
        if let Some((volume, punched)) = free {
            let _preparing = shared.pool.preparing(volume.capacity);
            return shared.refill(volume, punched);
        }
        let space = shared.disk.space(&shared.dir).map_err(|error| shared.health.judge("measure the space", error))?;
        if space.free_bytes < shared.reserve_free_bytes + 2 * shared.capacity {
            return Ok(()); // made when it is needed, if there is still room
        }
        let _preparing = shared.pool.preparing(shared.capacity);
        let (number, file) = shared.make_file(true)?;
        let volume = Volume::lazy(number, Default::default(), shared.capacity, path_of(&shared.dir, number));
        shared.pool.state().slots.insert(number, Slot::free(volume.with_file(file), true));
        Ok(())
    }

    /// Notes dead records, gives their space back where that is possible yet, and compacts what has become mostly dead.
    fn freed(&mut self, dead: Vec<Place>) -> Result<(), Error> {
        let mut touched = BTreeSet::new();
        for place in dead {
            let volume = (place.volume, place.order);
            if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&volume) {
                continue;
            }
            let end = place.offset + record_bytes(place.length);
            self.waiting.entry(volume).or_default().insert((place.offset, end));
            touched.insert(place.volume);
        }
        for number in touched {
            self.punch_if_sealed(number)?;
        }
        self.compact().map(drop)
    }

    /// Gives back what a sealed volume does not use.
    fn sealed(&mut self, number: u32) -> Result<(), Error> {
        self.shared.punch_tail(number)?;
        self.punch_if_sealed(number)?;
        self.compact().map(drop)
    }

    fn punch_if_sealed(&mut self, number: u32) -> Result<(), Error> {
        let sealed = {
            let state = self.shared.pool.state();
            let slot = state.slots.get(&number).filter(|slot| slot.row.stage == Stage::Sealed);
            slot.map(|slot| slot.volume.clone())
        };
        let Some(volume) = sealed else { return Ok(()) };
        let Some(dead) = self.waiting.remove(&(number, volume.epoch.order)) else { return Ok(()) };
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (start, end) in dead {
            match runs.last_mut().filter(|last| last.1 == start) {
                Some(last) => last.1 = end,
                None => runs.push((start, end)),
            }
        }
        let (long, short): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(from, to)| to - from >= PUNCH_BYTES_MIN);
        if !short.is_empty() {
            self.waiting.insert((number, volume.epoch.order), short.into_iter().collect()); // may grow together
        }
        self.shared.punch(&volume, &long)
    }

    /// Empties volumes while it pays.
    fn compact(&mut self) -> Result<u64, Error> {
        let mut emptied = 0;
        while let Some(volume) = self.shared.pool.worth_emptying() {
            if self.shared.chores.closed() {
                return Err(Error::Closed);
            }
            self.shared.health.check()?;
            self.waiting.remove(&(volume.number, volume.epoch.order));
            emptied += u64::from(self.empty(volume)?);
        }
        if emptied > 0 {
            self.prepare()?; // an emptied volume may be all the room that there is
        }
        Ok(emptied)
    }

    /// Moves all live records out of a volume and frees it. Tells whether it is free: a damaged record keeps it as it is.
    fn empty(&self, volume: Arc<Volume>) -> Result<bool, Error> {
        let shared = &self.shared;
        let number = volume.number;
        let row = |number| shared.pool.state().slots.get(&number).map(|slot| slot.row);
        let Some(before) = row(number) else { return Ok(false) };
        if before.live_chunks > 0 {
            let file = volume.file(&*shared.disk).map_err(|error| shared.health.judge("open a volume", error))?;
            let mut copies = Copies { shared, records: Vec::new(), bytes: 0 };
            let range = (VOLUME_HEADER_BYTES, before.end);
            scan::records(&**file, volume.epoch, range, Source::Cache, |found| copies.add(&volume, found))?;
            copies.submit()?;
        }
        if row(number).is_none_or(|row| row.live_chunks > 0) {
            tracing::warn!(path = %volume.path.display(), "a volume has damaged records and is not compacted");
            if let Some(slot) = shared.pool.state().slots.get_mut(&number) {
                slot.spared = true;
            }
            return Ok(false);
        }
        shared.free(volume)?;
        Ok(true)
    }
}

/// Live records on their way to another volume.
struct Copies<'a> {
    shared: &'a Shared,
    records: Vec<Copied>,
    bytes: u64,
}

impl Copies<'_> {
    fn add(&mut self, volume: &Volume, found: scan::Found<'_>) -> Result<(), Error> {
        let Kind::Chunk { id, .. } = found.header.kind else { return Ok(()) };
        let length = found.header.length;
        let from = Place { volume: volume.number, order: volume.epoch.order, offset: found.offset, length };
        if found.checked.is_err() || self.shared.index.find(id)? != Some(from) {
            return Ok(());
        }
        let data = Bytes::copy_from_slice(found.data);
        self.records.push(Copied { id, from, kind: found.header.kind, sums: found.header.sums, data });
        self.bytes += length;
        if self.bytes >= COPY_BYTES { self.submit() } else { Ok(()) }
    }

    fn submit(&mut self) -> Result<(), Error> {
        if self.shared.chores.closed() {
            return Err(Error::Closed);
        }
        self.bytes = 0;
        let records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return Ok(());
        }
        let (done, wait) = mpsc::sync_channel(1);
        self.shared.queue.push(Job::Copy { records, done });
        self.shared.one_thread.commit_ready();
        wait.recv().unwrap_or(Err(Error::Closed))
    }
}

impl Slot {
    pub(crate) fn free(volume: Volume, prepared: bool) -> Self {
        let row = super::index::Row {
            epoch: volume.epoch,
            capacity: volume.capacity,
            stage: Stage::Free,
            end: VOLUME_HEADER_BYTES,
            live_bytes: 0,
            live_chunks: 0,
            // What a volume has been through is known to the process that saw it.
            punched_bytes: if prepared { 0 } else { volume.capacity },
        };
        Self { volume: Arc::new(volume), row, prepared, spared: false }
    }
}
