//! The one system call that has no safe wrapper in our dependencies: `sync_file_range`.

use std::{fs::File, io, os::fd::AsRawFd};

/// Starts writing the dirty pages of a range back, without waiting and without any promise of durability.
///
/// The WAIT flags stay unused: they stall the writer behind the device and still make nothing durable (no metadata, no cache
/// flush).
///
/// # Source
/// `sync_file_range(2)`, "SYNC_FILE_RANGE_WRITE" and "Warning".
pub(super) fn start(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = |value: u64| libc::off64_t::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, length) = (range(offset)?, range(length)?);
    // SAFETY: the call takes plain numbers and a descriptor that `file` keeps open; it reads and writes no memory of ours.
    #[allow(unsafe_code)] // rustix 1.1 has no sync_file_range
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
