//! The fleet's secret in its file: read once at start, refused when others could read it too.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
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
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
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

#[cfg(test)]
mod tests {
    use super::*;

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
