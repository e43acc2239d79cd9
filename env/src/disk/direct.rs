//! Reads and writes past the page cache, for files that are open without that; knows `O_DIRECT` and who refuses it.
//!
//! A page of the cache that was not used lately has to be cleared, or even to be had from the host of a virtual machine first,
//! which costs several times what the copy into it does. Large chunks are written once and read seldom, so they go around it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{fs::OFlags, io::Errno};

/// What offset, length and address of a direct read or write are multiples of: no device in use has larger logical blocks.
pub const DIRECT_ALIGN: usize = 4096;

/// Refuses what a device would: a run that does not start and end on its blocks.
pub(super) fn check(offset: u64, bytes: &[u8]) -> io::Result<()> {
    let on_block = |number: usize| number.is_multiple_of(DIRECT_ALIGN);
    if offset.is_multiple_of(DIRECT_ALIGN as u64) && on_block(bytes.len()) && on_block(bytes.as_ptr().addr()) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "a direct read or write is not aligned"))
    }
}

/// The second handle of an open file, made at its first use.
#[derive(Debug, Default)]
pub(super) struct Direct {
    handle: OnceLock<Option<File>>,
    /// Set where the file system takes the flag and then refuses the reads or writes.
    refused: AtomicBool,
}

impl Direct {
    /// Writes the first part of `bytes` and tells how long that was; 0 where the cache must be used.
    pub(super) fn write(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.with(|| reopen(file, true), |direct| direct.write_at(bytes, offset))
    }

    /// Reads the first part of `out` and tells how long that was; 0 at the end, or where the cache must be used.
    pub(super) fn read(&self, file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.with(|| reopen(file, false), |direct| direct.read_at(out, offset))
    }

    fn with(
        &self,
        open: impl FnOnce() -> Option<File>,
        mut act: impl FnMut(&File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.refused.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let Some(file) = self.handle.get_or_init(open) else { return Ok(0) };
        loop {
            match act(file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    self.refused.store(true, Ordering::Relaxed);
                    return Ok(0);
                }
                result => return result,
            }
        }
    }
}

/// Opens the same file once more: the flag belongs to a handle, and the first handle is used through the cache as well.
fn reopen(file: &File, write: bool) -> Option<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("flags of open are a C int");
    // The file itself, whatever its name has become; without /proc, and on file systems that know no direct I/O, there is none.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).write(write).custom_flags(flags).open(path).ok()
}

#[cfg(test)]
impl Direct {
    /// A file system that takes the flag and refuses the first read or write with it.
    pub(super) fn refused() -> Self {
        let direct = Self::default();
        let first = direct.with(|| tempfile::tempfile().ok(), |_| Err(Errno::INVAL.into()));
        assert!(matches!(first, Ok(0)), "{first:?}");
        direct
    }

    /// A file system that does not know the flag, or a machine without /proc.
    pub(super) fn unknown() -> Self {
        Self { handle: OnceLock::from(None), refused: AtomicBool::new(false) }
    }
}
