//! The mark that a failed metadata disk leaves: a node that finds one does not start by itself.

use std::path::{Path, PathBuf};

use crate::Error;

fn path(dir: &Path) -> PathBuf {
    dir.join("metadata.failed")
}

/// Refuses a marked folder.
///
/// # Errors
/// [`Error::Marked`].
pub fn check(dir: &Path) -> Result<(), Error> {
    let path = path(dir);
    match path.exists() {
        true => Err(Error::Marked(path.display().to_string())),
        false => Ok(()),
    }
}

/// Leaves a mark, if the disk still takes one.
pub fn leave(dir: &Path, why: &str) {
    if let Err(error) = std::fs::write(path(dir), why) {
        tracing::error!(%error, "the failed disk does not even take its mark");
    }
}

/// Removes the mark.
///
/// # Errors
/// [`Error::Listener`] with what the file system said.
pub fn remove(dir: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path(dir)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::Listener(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
