//! A decorator that makes another disk fail on command: errors, lies, torn writes, flipped bits, stalls.
//!
//! Knows nothing of the disk under it.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile, Entry, Space};

/// The kinds of calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Disk::create_dir_all`]
    CreateDir,
    /// [`Disk::create`]
    Create,
    /// [`Disk::open`] and [`Disk::open_rw`]
    Open,
    /// [`Disk::rename`]
    Rename,
    /// [`Disk::remove`]
    Remove,
    /// [`Disk::list`]
    List,
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`Disk::space`]
    Space,
    /// [`DiskFile::write_at`] and [`DiskFile::write_direct`]
    Write,
    /// [`DiskFile::read_at`] and [`DiskFile::read_direct`]
    Read,
    /// [`DiskFile::read_at_nowait`]
    ReadNowait,
    /// [`DiskFile::allocate`]
    Allocate,
    /// [`DiskFile::set_len`]
    SetLen,
    /// [`DiskFile::start_writeback`]
    Writeback,
    /// [`DiskFile::sync_data`]
    SyncData,
    /// [`DiskFile::length`]
    Length,
    /// [`DiskFile::punch`]
    Punch,
    /// [`DiskFile::read_past_cache`]
    ReadPastCache,
}

const CALLS: usize = Call::ReadPastCache as usize + 1;

/// Which calls of a kind a fault meets. Calls are counted from the moment of [`FaultyDisk::on`], the first is number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// One call.
    Nth(u64),
    /// This call and all after it.
    From(u64),
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The device fails: EIO.
    Io,
    /// No space left: ENOSPC.
    Full,
    /// The answer would have to wait for the disk (for [`Call::ReadNowait`]).
    WouldBlock,
    /// The call does nothing and claims success; calls that return something are passed on instead.
    Skip,
    /// A write puts this many bytes down and then fails with EIO; a read ends after this many bytes.
    Short(usize),
    /// A read returns this bit, counted from the start of what it read, flipped.
    FlipBit(u64),
    /// The call waits until the gate opens, then happens.
    Stall(Arc<Gate>),
}

/// Holds calls up until it is opened.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// Makes a closed gate.
    #[must_use]
    pub fn closed() -> Arc<Self> {
        Arc::default()
    }

    /// Lets all calls pass that wait, and all that come later.
    pub fn open(&self) {
        self.state().open = true;
        self.moved.notify_all();
    }

    /// Waits until `count` calls are held up; blocks the thread.
    pub fn await_waiting(&self, count: usize) {
        let state = self.state();
        drop(self.moved.wait_while(state, |state| state.waiting < count).unwrap_or_else(PoisonError::into_inner));
    }

    fn pass(&self) {
        let mut state = self.state();
        state.waiting += 1;
        self.moved.notify_all();
        let mut state = self.moved.wait_while(state, |state| !state.open).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk whose calls fail as told.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: [u64; CALLS],
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    call: Call,
    from: u64,
    to: u64,
    fault: Fault,
}

/// What is left to do of a call that neither failed nor stalled.
enum Meet {
    Pass,
    Skip,
    Short(usize),
    FlipBit(u64),
}

impl FaultyDisk {
    /// Makes a disk that does what `inner` does until told otherwise.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// Lets `fault` happen on later calls of a kind; the first rule that fits a call counts.
    pub fn on(&self, call: Call, when: When, fault: Fault) {
        let mut plan = plan(&self.plan);
        let before = plan.calls[call as usize];
        let (from, to) = match when {
            When::Nth(number) => (number, number),
            When::From(number) => (number, u64::MAX - before),
        };
        plan.rules.push(Rule { call, from: before + from, to: before + to, fault });
    }

    /// Forgets all faults; calls that stall stay held until their gate opens.
    pub fn heal(&self) {
        plan(&self.plan).rules.clear();
    }

    /// Gives how many calls of a kind there have been, failed ones too.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        plan(&self.plan).calls[call as usize]
    }

    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { inner, plan: self.plan.clone() })
    }
}

fn plan(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a call and lets its fault happen.
fn meet(shared: &Mutex<Plan>, call: Call) -> io::Result<Meet> {
    let fault = {
        let mut plan = plan(shared);
        plan.calls[call as usize] += 1;
        let number = plan.calls[call as usize];
        let fits = |rule: &&Rule| rule.call == call && (rule.from..=rule.to).contains(&number);
        plan.rules.iter().find(fits).map(|rule| rule.fault.clone())
    };
    match fault {
        None => Ok(Meet::Pass),
        Some(Fault::Io) => Err(io::Error::from_raw_os_error(libc::EIO)),
        Some(Fault::Full) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        Some(Fault::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Some(Fault::Skip) => Ok(Meet::Skip),
        Some(Fault::Short(count)) => Ok(Meet::Short(count)),
        Some(Fault::FlipBit(bit)) => Ok(Meet::FlipBit(bit)),
        Some(Fault::Stall(gate)) => {
            gate.pass();
            Ok(Meet::Pass)
        }
    }
}

/// Lets a call without a result meet its fault.
fn meet_or(shared: &Mutex<Plan>, call: Call, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match meet(shared, call)? {
        Meet::Skip => Ok(()),
        Meet::Pass | Meet::Short(_) | Meet::FlipBit(_) => act(),
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        meet_or(&self.plan, Call::CreateDir, || self.inner.create_dir_all(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        meet(&self.plan, Call::Create)?;
        Ok(self.file(self.inner.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        meet(&self.plan, Call::Open)?;
        Ok(self.file(self.inner.open(path)?))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        meet(&self.plan, Call::Open)?;
        Ok(self.file(self.inner.open_rw(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        meet_or(&self.plan, Call::Rename, || self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        meet_or(&self.plan, Call::Remove, || self.inner.remove(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        meet(&self.plan, Call::List)?;
        self.inner.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        meet_or(&self.plan, Call::SyncDir, || self.inner.sync_dir(path))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        meet(&self.plan, Call::Space)?;
        self.inner.space(path)
    }
}

impl FaultyFile {
    fn read(&self, call: Call, out: &mut [u8], read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        damaged(meet(&self.plan, call)?, out, read)
    }
}

/// Reads, and does to what was read what the fault says.
fn damaged(meet: Meet, out: &mut [u8], read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    match meet {
        Meet::Pass | Meet::Skip => read(out),
        Meet::Short(count) => {
            let count = count.min(out.len());
            read(&mut out[..count])
        }
        Meet::FlipBit(bit) => {
            let count = read(out)?;
            if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|index| out[..count].get_mut(index)) {
                *byte ^= 1 << (bit % 8);
            }
            Ok(count)
        }
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, offset: u64, parts: &[io::IoSlice<'_>]) -> io::Result<()> {
        match meet(&self.plan, Call::Write)? {
            Meet::Pass | Meet::FlipBit(_) => self.inner.write_at(offset, parts),
            Meet::Skip => Ok(()),
            Meet::Short(count) => {
                let head: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(count).collect();
                self.inner.write_at(offset, &[io::IoSlice::new(&head)])?;
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        }
    }

    fn write_direct(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match meet(&self.plan, Call::Write)? {
            Meet::Pass | Meet::FlipBit(_) => self.inner.write_direct(offset, bytes),
            Meet::Skip => Ok(()),
            Meet::Short(count) => {
                self.inner.write_at(offset, &[io::IoSlice::new(&bytes[..count.min(bytes.len())])])?;
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.read(Call::Read, out, |out| self.inner.read_at(offset, out))
    }

    fn read_direct(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        match meet(&self.plan, Call::Read)? {
            // A short read and a flipped bit may leave the blocks of the device.
            Meet::Pass | Meet::Skip => self.inner.read_direct(offset, out),
            meet => damaged(meet, out, |out| self.inner.read_at(offset, out)),
        }
    }

    fn read_at_nowait(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.read(Call::ReadNowait, out, |out| self.inner.read_at_nowait(offset, out))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        meet_or(&self.plan, Call::Allocate, || self.inner.allocate(length))
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<bool> {
        match meet(&self.plan, Call::Punch)? {
            Meet::Skip => Ok(false), // as a file system that can't
            Meet::Pass | Meet::Short(_) | Meet::FlipBit(_) => self.inner.punch(offset, length),
        }
    }

    fn read_past_cache(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.read(Call::ReadPastCache, out, |out| self.inner.read_past_cache(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        meet_or(&self.plan, Call::SetLen, || self.inner.set_len(length))
    }

    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()> {
        meet_or(&self.plan, Call::Writeback, || self.inner.start_writeback(offset, length))
    }

    fn sync_data(&self) -> io::Result<()> {
        meet_or(&self.plan, Call::SyncData, || self.inner.sync_data())
    }

    fn length(&self) -> io::Result<u64> {
        meet(&self.plan, Call::Length)?;
        self.inner.length()
    }

    fn forget_cached(&self, offset: u64, length: u64) -> io::Result<()> {
        self.inner.forget_cached(offset, length)
    }
}
