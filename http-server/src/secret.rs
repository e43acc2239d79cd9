//! The fleet's secret in its file: read once at start, refused when others could read it too; and which files of secrets are private.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use flotilla_api::peer::auth::FleetSecret;

/// The shortest secret, in bytes: 128 bits in hex.
const LENGTH_MIN: usize = 32;
/// The longest secret file, in bytes.
const LENGTH_MAX: u64 = 4096;

/// Why there is no secret: configuration, so exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("fleet secret '{}': {source}; make one of 64 random hex digits and give every process the same", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// Others can read the file.
    #[error("fleet secret '{}' is readable by others (mode {mode:o}); run chmod 600 on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold a secret.
    #[error("fleet secret '{}' has {length} bytes; it needs 32 to 4096 characters without spaces", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Length of its text.
        length: usize,
    },
}

/// Reads the fleet's secret.
///
/// # Errors
/// [`Error`]; each says what to do.
pub fn read(path: &Path) -> Result<FleetSecret, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !is_private(&metadata) {
        return Err(Error::Exposed { path: path.to_owned(), mode: metadata.permissions().mode() & 0o777 });
    }
    let malformed = |length| Error::Malformed { path: path.to_owned(), length };
    if metadata.len() > LENGTH_MAX {
        return Err(malformed(usize::try_from(metadata.len()).unwrap_or(usize::MAX)));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let secret = text.trim();
    if secret.len() < LENGTH_MIN || secret.contains(char::is_whitespace) {
        return Err(malformed(secret.len()));
    }
    Ok(FleetSecret::new(secret))
}

/// Whether a file with a secret can be read by this process alone.
///
/// A file of root may be readable by its group, for a process that is not root: that is how a volume of secrets is mounted into
/// a container, and there is no other way to give it to a user of its own.
#[must_use]
pub fn is_private(metadata: &Metadata) -> bool {
    let reader = rustix::process::geteuid().as_raw();
    private(metadata.permissions().mode(), metadata.uid(), reader)
}

/// `mode` is the file's, `owner` its user id and `reader` that of the process.
fn private(mode: u32, owner: u32, reader: u32) -> bool {
    let allowed = if owner == 0 && reader != 0 { 0o040 } else { 0 };
    mode & 0o077 & !allowed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_root_gives_to_a_user() {
        for (mode, owner, reader, wanted) in [
            (0o400, 7, 7, true),
            (0o600, 0, 0, true),
            (0o440, 0, 7, true),
            (0o640, 0, 7, true),
            (0o440, 0, 0, false),
            (0o440, 7, 7, false),
            (0o460, 0, 7, false),
            (0o444, 0, 7, false),
            (0o404, 0, 7, false),
        ] {
            assert_eq!(private(mode, owner, reader), wanted, "{mode:o} of {owner} for {reader}");
        }
    }

    #[test]
    fn a_secret_is_private_and_long_enough() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fleet.secret");
        assert!(matches!(read(&path), Err(Error::Io { .. })));
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("written");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
        mode(0o644);
        assert!(matches!(read(&path), Err(Error::Exposed { mode: 0o644, .. })));
        mode(0o600);
        assert!(read(&path).is_ok());
        std::fs::write(&path, "short").expect("written");
        assert!(matches!(read(&path), Err(Error::Malformed { length: 5, .. })));
    }
}
