//! Files of the operating system.
//!
//! Knows Linux calls and their quirks; knows nothing of what the files are for.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, IoSlice, IoSliceMut},
    num::NonZeroU64,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{Advice, FallocateFlags},
    io::{Errno, ReadWriteFlags, retry_on_intr},
};

use super::{DIRECT_ALIGN, Disk, DiskFile, Entry, Space, direct, direct::Direct, writeback};

/// Nobody but the process's user reads users' bytes.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Files of the operating system; needs Linux 4.14.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Gives the operating system's files as a seam.
    #[must_use]
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// Set once the file system said that it can't read without waiting, so that we don't ask for every read.
    always_waits: AtomicBool,
    direct: Direct,
}

impl RealFile {
    fn shared(file: File) -> Arc<dyn DiskFile> {
        Arc::new(Self { file, always_waits: AtomicBool::new(false), direct: Direct::default() })
    }
}

/// Reads until `out` is full or the file ends.
fn fill(file: &File, mut offset: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read_at(&mut out[filled..], offset) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// As [`fill`] for a file opened for direct reads: after a piece that ends within a block, the file has ended, and to read on
/// from there would be refused.
fn fill_direct(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() && filled.is_multiple_of(DIRECT_ALIGN) {
        match file.read_at(&mut out[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE).open(path).map(RealFile::shared)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        File::open(path).map(RealFile::shared)
    }

    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OpenOptions::new().read(true).write(true).open(path).map(RealFile::shared)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(meta) => {
                    let length = if meta.is_dir() { 0 } else { meta.len() };
                    entries.push(Entry { path: entry.path(), dir: meta.is_dir(), length });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // removed since the folder was read
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
        let mut rest = parts.as_mut_slice();
        while !rest.is_empty() {
            // rustix passes on as many parts as the kernel takes at once (UIO_MAXIOV), the loop brings the others.
            let written = retry_on_intr(|| rustix::io::pwritev(&self.file, rest, offset))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        fill(&self.file, offset, out)
    }

    fn write_direct(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        direct::check(offset, bytes)?;
        // A short write ends on a block of the device, so the loop stays aligned for it.
        while !bytes.is_empty() {
            match self.direct.write(&self.file, offset, bytes)? {
                0 => return self.write_at(offset, &[IoSlice::new(bytes)]),
                written => {
                    offset += written as u64;
                    bytes = &bytes[written..];
                }
            }
        }
        Ok(())
    }

    fn read_direct(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        direct::check(offset, out)?;
        let filled = self.direct.read(&self.file, offset, out)?;
        if filled == out.len() {
            return Ok(filled);
        }
        // The end of the file, a pause of the device, or no direct I/O: the cache knows.
        Ok(filled + self.read_at(offset + filled as u64, &mut out[filled..])?)
    }

    fn read_at_nowait(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        if self.always_waits.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut parts = [IoSliceMut::new(out)];
        match retry_on_intr(|| rustix::io::preadv2(&self.file, &mut parts, offset, ReadWriteFlags::NOWAIT)) {
            Ok(count) => Ok(count),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.always_waits.store(true, Ordering::Relaxed);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(()); // the kernel refuses an empty range
        }
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, length)) {
            // A file system without preallocation: a full disk then shows at the write, which is handled as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<bool> {
        if length == 0 {
            return Ok(true);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, flags, offset, length)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read_past_cache(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        debug_assert!(offset.is_multiple_of(DIRECT_ALIGN as u64) && out.len().is_multiple_of(DIRECT_ALIGN));
        // The kernel writes dirty pages of the range out before a direct read.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
        let mut space = vec![0; out.len() + DIRECT_ALIGN];
        let start = space.as_ptr().align_offset(DIRECT_ALIGN);
        let aligned = &mut space[start..start + out.len()];
        let read = direct.and_then(|file| fill_direct(&file, offset, aligned));
        let count = match read {
            // A file system without direct reads: what was forgotten comes from the device as well.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.forget_cached(offset, out.len() as u64)?;
                return self.read_at(offset, out);
            }
            other => other?,
        };
        out[..count].copy_from_slice(&aligned[..count]);
        Ok(count)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(()); // zero would mean "to the end of the file"
        }
        writeback::start(&self.file, offset, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn forget_cached(&self, offset: u64, length: u64) -> io::Result<()> {
        let Some(length) = NonZeroU64::new(length) else { return Ok(()) };
        Ok(rustix::fs::fadvise(&self.file, offset, Some(length), Advice::DontNeed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DIRECT_ALIGN;

    #[test]
    fn a_file_system_without_direct_io_is_used_through_the_cache() {
        for direct in [Direct::refused(), Direct::unknown()] {
            let file = RealFile {
                file: tempfile::tempfile().expect("a file for the test"),
                always_waits: AtomicBool::new(false),
                direct,
            };
            let memory = vec![7; 3 * DIRECT_ALIGN];
            let start = memory.as_ptr().addr().wrapping_neg() % DIRECT_ALIGN;
            let mut bytes = memory;
            let bytes = &mut bytes[start..][..2 * DIRECT_ALIGN];
            file.write_direct(DIRECT_ALIGN as u64, bytes).expect("written");
            assert_eq!(file.length().expect("length"), 3 * DIRECT_ALIGN as u64);
            bytes.fill(0);
            let count = file.read_direct(DIRECT_ALIGN as u64, bytes).expect("read");
            assert_eq!((count, bytes.iter().all(|byte| *byte == 7)), (2 * DIRECT_ALIGN, true));
        }
    }
}
