//! The contents of files on a [`super::MemDisk`], written and synced, and the space that they take.

use std::{
    collections::BTreeSet,
    io,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::power::Fate;
use crate::disk::Space;

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What a file system hands out space in.
const BLOCK_BYTES: u64 = 4096;

/// The space of a disk.
#[derive(Debug)]
pub(super) struct Budget {
    total_bytes: u64,
    used_bytes: AtomicU64,
}

/// A file without its name.
#[derive(Debug, Default)]
pub(super) struct Inode(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors that differ, or may differ, between `live` and `synced`.
    dirty: BTreeSet<usize>,
    /// Space taken from the budget, the holes included.
    charged_bytes: u64,
    /// Blocks that were punched out and not written or allocated since.
    holes: BTreeSet<u64>,
    unlinked: bool,
}

impl Budget {
    pub(super) fn new(total_bytes: u64) -> Self {
        Self { total_bytes, used_bytes: AtomicU64::new(0) }
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub(super) fn space(&self) -> Space {
        let used = self.used_bytes.load(Ordering::SeqCst);
        Space { total_bytes: self.total_bytes, free_bytes: self.total_bytes.saturating_sub(used) }
    }

    fn exchange(&self, old: u64, new: u64) -> io::Result<()> {
        let next = |used: u64| (used - old).checked_add(new).filter(|&sum| sum <= self.total_bytes || new <= old);
        match self.used_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        }
    }
}

impl Inode {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn length(&self) -> u64 {
        self.contents().live.len() as u64
    }

    pub(super) fn write(&self, offset: u64, parts: &[io::IoSlice<'_>], budget: &Budget) -> io::Result<()> {
        let mut contents = self.contents();
        let mut start = usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let end = start + parts.iter().map(|part| part.len()).sum::<usize>();
        if end == start {
            return Ok(());
        }
        contents.charge_at_least(end as u64, budget)?;
        contents.fill_holes(offset..end as u64, budget)?;
        if contents.live.len() < end {
            contents.live.resize(end, 0);
        }
        contents.dirty.extend(sectors(start..end));
        for part in parts {
            contents.live[start..start + part.len()].copy_from_slice(part);
            start += part.len();
        }
        Ok(())
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let contents = self.contents();
        let rest = usize::try_from(offset).ok().and_then(|start| contents.live.get(start..)).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn allocate(&self, length: u64, budget: &Budget) -> io::Result<()> {
        let mut contents = self.contents();
        contents.charge_at_least(length, budget)?;
        contents.fill_holes(0..length, budget)
    }

    /// Zeros the whole blocks of a range and gives their space back.
    pub(super) fn punch(&self, offset: u64, length: u64, budget: &Budget) -> io::Result<()> {
        let contents = &mut *self.contents();
        let blocks = offset.div_ceil(BLOCK_BYTES)..((offset + length).min(contents.charged_bytes) / BLOCK_BYTES);
        for block in blocks {
            if !contents.holes.insert(block) {
                continue;
            }
            if !contents.unlinked {
                budget.exchange(BLOCK_BYTES, 0)?;
            }
            let start =
                usize::try_from(block * BLOCK_BYTES).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            let end = (start + 4096).min(contents.live.len());
            if start < end {
                contents.live[start..end].fill(0);
                contents.dirty.extend(sectors(start..end));
            }
        }
        Ok(())
    }

    pub(super) fn set_len(&self, length: u64, budget: &Budget) -> io::Result<()> {
        let mut contents = self.contents();
        let new = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        contents.charge(length, budget)?;
        let old = contents.live.len();
        contents.dirty.extend(sectors(new.min(old)..new.max(old)));
        contents.live.resize(new, 0);
        Ok(())
    }

    pub(super) fn sync(&self) {
        let contents = &mut *self.contents();
        contents.synced.resize(contents.live.len(), 0);
        for sector in std::mem::take(&mut contents.dirty) {
            let range = range_of(sector, contents.live.len());
            contents.synced[range.clone()].copy_from_slice(&contents.live[range]);
        }
    }

    /// Gives the space back; open handles keep working.
    pub(super) fn unlink(&self, budget: &Budget) {
        let mut contents = self.contents();
        let give_back = contents.charge(0, budget);
        debug_assert!(give_back.is_ok(), "space can always be given back");
        contents.unlinked = true;
    }

    /// Gives the contents after a power cut; see [`super::MemDisk::crash`].
    pub(super) fn after_crash(&self, fate: &mut Fate, budget: &Budget) -> Self {
        let contents = self.contents();
        let (old, new) = (contents.synced.len(), contents.live.len());
        let length = match (old == new, fate.keeps()) {
            (true, _) | (_, true) => new,
            _ if fate.keeps() => fate.between(old.min(new), old.max(new)),
            _ => old,
        };
        let mut left = contents.synced.clone();
        left.resize(length, 0);
        for &sector in &contents.dirty {
            let range = range_of(sector, length);
            if range.is_empty() || !fate.keeps() {
                continue;
            }
            let kept = range_of(sector, new.min(length));
            left[range].fill(0);
            left[kept.clone()].copy_from_slice(&contents.live[kept]);
        }
        let charged_bytes = (length as u64).next_multiple_of(BLOCK_BYTES);
        // A hole that was lost has its old bytes back, and takes space again.
        let block = |block: u64| usize::try_from(block * BLOCK_BYTES).unwrap_or(usize::MAX);
        let zeros =
            |at: &u64| left.get(block(*at)..left.len().min(block(*at + 1))).unwrap_or_default().iter().all(|b| *b == 0);
        let holes: BTreeSet<u64> =
            contents.holes.iter().copied().filter(|at| at * BLOCK_BYTES < charged_bytes).filter(zeros).collect();
        let used = charged_bytes - holes.len() as u64 * BLOCK_BYTES;
        budget.used_bytes.fetch_add(used, Ordering::SeqCst); // a lost removal may fill the disk beyond its brim
        Self(Mutex::new(Contents { live: left.clone(), synced: left, charged_bytes, holes, ..Contents::default() }))
    }
}

impl Contents {
    fn charge_at_least(&mut self, length: u64, budget: &Budget) -> io::Result<()> {
        if length > self.charged_bytes { self.charge(length, budget) } else { Ok(()) }
    }

    fn charge(&mut self, length: u64, budget: &Budget) -> io::Result<()> {
        let new = length.next_multiple_of(BLOCK_BYTES);
        let beyond = self.holes.range(new / BLOCK_BYTES..).count();
        let (old_holes, new_holes) = (self.holes.len() as u64, (self.holes.len() - beyond) as u64);
        if !self.unlinked {
            budget.exchange(self.charged_bytes - old_holes * BLOCK_BYTES, new - new_holes * BLOCK_BYTES)?;
        }
        self.holes.split_off(&(new / BLOCK_BYTES));
        self.charged_bytes = new;
        Ok(())
    }

    /// Takes space again for the holes that a range touches.
    fn fill_holes(&mut self, bytes: Range<u64>, budget: &Budget) -> io::Result<()> {
        let touched: Vec<u64> =
            self.holes.range(bytes.start / BLOCK_BYTES..bytes.end.div_ceil(BLOCK_BYTES)).copied().collect();
        if !self.unlinked {
            budget.exchange(0, touched.len() as u64 * BLOCK_BYTES)?;
        }
        for block in touched {
            self.holes.remove(&block);
        }
        Ok(())
    }
}

fn sectors(bytes: Range<usize>) -> Range<usize> {
    bytes.start / SECTOR_BYTES..bytes.end.div_ceil(SECTOR_BYTES)
}

/// The bytes of a sector in a file of `length` bytes; empty beyond its end.
fn range_of(sector: usize, length: usize) -> Range<usize> {
    let start = (sector * SECTOR_BYTES).min(length);
    start..(start + SECTOR_BYTES).min(length)
}
