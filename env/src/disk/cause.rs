//! What a disk error means to whoever got it; the one place that reads error numbers of the operating system.

use std::io;

/// The meaning of a disk error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No space or quota left: nothing is broken, free some and try again.
    Full,
    /// There is no such file or folder.
    Missing,
    /// The name is taken.
    Exists,
    /// The answer would have to wait for the disk.
    WouldBlock,
    /// The process has run out of file handles or memory; the disk is well.
    Exhausted,
    /// A [`super::MemDisk`] was stopped: the machine that asked no longer exists.
    PowerOff,
    /// Anything else: the device or the file system failed, and what it holds is in doubt.
    Failing,
}

/// The error inside every [`io::Error`] of a stopped [`super::MemDisk`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("power is off")]
pub struct PowerOff;

impl Cause {
    /// Reads the meaning of an error.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<PowerOff>()) {
            return Self::PowerOff;
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::WouldBlock => Self::WouldBlock,
            io::ErrorKind::OutOfMemory => Self::Exhausted,
            _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => Self::Exhausted,
            _ => Self::Failing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_have_meanings() {
        let check = |number, cause| assert_eq!(Cause::of(&io::Error::from_raw_os_error(number)), cause, "{number}");
        check(libc::ENOSPC, Cause::Full);
        check(libc::EDQUOT, Cause::Full);
        check(libc::ENOENT, Cause::Missing);
        check(libc::EEXIST, Cause::Exists);
        check(libc::EAGAIN, Cause::WouldBlock);
        check(libc::EMFILE, Cause::Exhausted);
        check(libc::ENFILE, Cause::Exhausted);
        check(libc::ENOMEM, Cause::Exhausted);
        check(libc::EIO, Cause::Failing);
        check(libc::EROFS, Cause::Failing);
        assert_eq!(Cause::of(&io::Error::other(PowerOff)), Cause::PowerOff);
        assert_eq!(Cause::of(&io::Error::other("else")), Cause::Failing);
    }
}
