//! Reads the repository's text files; the only module that does I/O.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// One text file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path with forward slashes, relative to the root.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl File {
    /// Makes a file from a path and a text.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Tells whether the path ends with `.extension`.
    #[must_use]
    pub fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// Gives the repository's root: the folder above this crate, as whoever runs it says.
///
/// What the compiler was told is the second choice: checkouts that share a target folder share this binary too.
#[must_use]
pub fn root() -> PathBuf {
    let krate = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&krate).parent().expect("the crate lies in a folder of the repository").to_owned()
}

/// Reads every text file that git tracks or would track; ignored and binary files are left out.
///
/// # Errors
/// Git is missing or the folder is no checkout, or a file can't be read.
pub fn load(root: &Path) -> io::Result<Vec<File>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()?;
    if !listing.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&listing.stderr).trim().to_owned()));
    }
    let names = String::from_utf8(listing.stdout).map_err(io::Error::other)?;
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let path = root.join(name);
        // Deleted but not yet committed, or a link to a folder.
        if !path.is_file() {
            continue;
        }
        if let Ok(text) = String::from_utf8(fs::read(&path)?) {
            files.push(File { path: name.to_owned(), text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
