//! A disk in memory that can lose power: it knows names from data, and synced from unsynced, of both.
//!
//! It is harsher than most file systems: after a power cut each unsynced change of a name and each unsynced 512-byte sector
//! is kept or lost on its own, in any order. Code that survives it relies on nothing but the syncs it asked for.

mod data;
mod names;
mod power;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::{
    data::{Budget, Inode},
    names::{Change, Names, Node},
    power::{Fate, Power},
};
use super::{Disk, DiskFile, Entry, Space};

/// What [`MemDisk::new`] offers: enough that only a test which asks for less ever sees a full disk.
const SPACE_BYTES_DEFAULT: u64 = 1 << 40;

/// A disk in memory. Clones share their contents.
#[derive(Debug, Clone)]
pub struct MemDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    power: Power,
    budget: Budget,
    names: Mutex<Names>,
}

#[derive(Debug)]
struct MemFile {
    shared: Arc<Shared>,
    inode: Arc<Inode>,
    writable: bool,
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemDisk {
    /// Makes an empty disk with more space than a test fills.
    #[must_use]
    pub fn new() -> Self {
        Self::with_space(SPACE_BYTES_DEFAULT)
    }

    /// Makes an empty disk of `total_bytes`.
    #[must_use]
    pub fn with_space(total_bytes: u64) -> Self {
        Self::build(Budget::new(total_bytes), Names::default())
    }

    fn build(budget: Budget, names: Names) -> Self {
        Self(Arc::new(Shared { power: Power::default(), budget, names: Mutex::new(names) }))
    }

    /// Cuts the power: stops this disk for good and gives the disk as the next start finds it.
    ///
    /// What was synced is there. Each unsynced change of a name (create, rename, remove, new folder) and each unsynced sector is
    /// kept or lost as the seed says; an unsynced length ends up at its old or new value or between them.
    /// Seed 0 loses all of it, seed 1 keeps all of it, any other decides by its own coin for each.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.stop_after(0);
        let budget = Budget::new(self.0.budget.total_bytes());
        let names = self.0.names().after_crash(&mut Fate::new(seed), &budget);
        Self::build(budget, names)
    }

    /// Gives what a power cut now would leave for certain, as a disk of its own; this one goes on.
    #[must_use]
    pub fn synced(&self) -> Self {
        let budget = Budget::new(self.0.budget.total_bytes());
        let names = self.0.names().after_crash(&mut Fate::new(0), &budget);
        Self::build(budget, names)
    }

    /// Gives how many operations that change or sync something were asked for.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.0.power.ops()
    }

    /// Lets the next `count` operations that change or sync something pass; every operation after them, reads too, fails
    /// with [`super::PowerOff`].
    pub fn stop_after(&self, count: u64) {
        self.0.power.stop_after(count);
    }
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.power.check()?;
        let inode = self.names().file(path)?;
        Ok(Arc::new(MemFile { shared: self.clone(), inode, writable }))
    }
}

impl Disk for MemDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.power.step()?;
        let mut names = self.0.names();
        let mut missing: Vec<PathBuf> = Vec::new();
        for folder in path.ancestors() {
            match names.node(folder) {
                Some(Node::Dir) => break,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => missing.push(folder.to_owned()),
            }
        }
        missing.into_iter().rev().for_each(|folder| names.change(Change::Set(folder, Node::Dir)));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.power.step()?;
        let mut names = self.0.names();
        names.folder_of(path)?;
        if names.node(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Inode::default());
        names.change(Change::Set(path.to_owned(), Node::File(inode.clone())));
        Ok(Arc::new(MemFile { shared: self.0.clone(), inode, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, false)
    }

    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.power.step()?;
        let mut names = self.0.names();
        let inode = names.file(from)?;
        names.folder_of(to)?;
        match names.node(to) {
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(old)) if Arc::ptr_eq(old, &inode) => return Ok(()),
            Some(Node::File(old)) => old.unlink(&self.0.budget),
            None => {}
        }
        names.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.power.step()?;
        let mut names = self.0.names();
        names.file(path)?.unlink(&self.0.budget);
        names.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.power.check()?;
        self.0.names().list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.power.step()?;
        self.0.names().sync(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.power.check()?;
        match self.0.names().node(path) {
            Some(_) => Ok(self.0.budget.space()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl MemFile {
    /// Counts a change, and refuses it on a file that was opened for reading.
    fn change(&self) -> io::Result<()> {
        self.shared.power.step()?;
        if self.writable { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }
}

impl DiskFile for MemFile {
    fn write_at(&self, offset: u64, parts: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.change()?;
        self.inode.write(offset, parts, &self.shared.budget)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.shared.power.check()?;
        Ok(self.inode.read(offset, out))
    }

    fn read_at_nowait(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.read_at(offset, out)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.change()?;
        self.inode.allocate(length, &self.shared.budget)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.change()?;
        self.inode.punch(offset, length, &self.shared.budget)?;
        Ok(true)
    }

    fn read_past_cache(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.read_at(offset, out) // what is written here is what the device holds; only a power cut loses it
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change()?;
        self.inode.set_len(length, &self.shared.budget)
    }

    fn start_writeback(&self, _offset: u64, _length: u64) -> io::Result<()> {
        self.shared.power.step() // moves nothing: a write that was only started is as lost as one that was not
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.power.step()?;
        self.inode.sync();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.shared.power.check()?;
        Ok(self.inode.length())
    }
}
