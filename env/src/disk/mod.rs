//! Files with durability spelled out: what is written is not synced, what is renamed is not synced.
//!
//! All calls block; call them from a blocking thread. Paths are absolute.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

mod cause;
mod direct;
mod faulty;
mod mem;
mod real;
mod writeback;

pub use cause::{Cause, PowerOff};
pub use direct::DIRECT_ALIGN;
pub use faulty::{Call, Fault, FaultyDisk, Gate, When};
pub use mem::MemDisk;
pub use real::RealDisk;

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: PathBuf,
    /// Whether it is a folder.
    pub dir: bool,
    /// Its length in bytes; 0 for a folder.
    pub length: u64,
}

/// Space of the file system under a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free to this process.
    pub free_bytes: u64,
}

/// A place that keeps files.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes a folder and its parents. Durable after [`Disk::sync_dir`] of each parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes a new file for reading and writing; fails with `AlreadyExists` if it is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing the target. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Lists a folder, sorted by path.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Syncs a folder: the names in it, as they are now, survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Tells the space under a folder.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Writes all of `parts`, one after the other, at `offset`.
    fn write_at(&self, offset: u64, parts: &[io::IoSlice<'_>]) -> io::Result<()>;
    /// Writes like [`DiskFile::write_at`] but past the cache, where the file system can do that; a hint about cost, not durability.
    ///
    /// Offset, length and the address of `bytes` are multiples of [`DIRECT_ALIGN`]; anything else is `InvalidInput`.
    fn write_direct(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        direct::check(offset, bytes)?;
        self.write_at(offset, &[io::IoSlice::new(bytes)])
    }
    /// Reads like [`DiskFile::read_at`] but past the cache, and leaves nothing in it, where the file system can do that.
    ///
    /// The same must be aligned as for [`DiskFile::write_direct`].
    fn read_direct(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        direct::check(offset, out)?;
        self.read_at(offset, out)
    }
    /// Reads into `out` from `offset`; gives how many bytes there were, short only at the end of the file.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Reads like [`DiskFile::read_at`] but only what needs no wait for the disk: `WouldBlock` or a short count otherwise.
    fn read_at_nowait(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Reserves `length` bytes from the start without changing the file's length beyond it; `StorageFull` if there is no space.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Gives the space of a range back without changing the length; the range reads as zeros from then on. Whole blocks of
    /// 4 KiB only. Tells whether the file system can do that; one that can't leaves the range as it is. Durable after
    /// [`DiskFile::sync_data`].
    fn punch(&self, offset: u64, length: u64) -> io::Result<bool>;
    /// Reads like [`DiskFile::read_at`], but what the device holds: the page cache may show bytes that a failed write-back lost.
    /// `offset` and the length of `out` are multiples of 4 KiB; the answer is short only at the end of the file.
    fn read_past_cache(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Cuts or extends the file to `length`.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Starts writing a range back without waiting for it.
    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Syncs the data and the length: they survive a power cut (the file's name does after [`Disk::sync_dir`]).
    ///
    /// After an error the file's contents are unknown; the file must not be used or synced again.
    fn sync_data(&self) -> io::Result<()>;
    /// Tells the length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Asks that synced bytes of a range be forgotten by the cache, so that the next read comes from the device. Only a hint.
    fn forget_cached(&self, offset: u64, length: u64) -> io::Result<()> {
        let _ = (offset, length);
        Ok(())
    }
}
