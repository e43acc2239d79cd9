//! All plain files below a folder, as keys; symbolic links and special files are told, not followed.

use std::path::{Path, PathBuf};

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::mpsc;
use walkdir::{DirEntry, WalkDir};

use super::part;
use crate::exit::{Exit, Failure};

/// Files found ahead of those under way; a page of a folder.
const AHEAD: usize = 256;

/// What a walk comes upon.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A plain file.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its path below the folder, parted by slashes.
        relative: String,
    },
    /// Something that can't be stored.
    Skipped {
        /// Where it lies.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

/// Walks a folder in the order of the keys' bytes, on a blocking thread; what can't be read is an error and the walk goes on.
///
/// # Bounds
/// A fixed number of entries is found ahead.
pub fn files(root: PathBuf) -> BoxStream<'static, Result<Found, Failure>> {
    let (found_in, mut found_out) = mpsc::channel(AHEAD);
    drop(tokio::task::spawn_blocking(move || {
        for entry in WalkDir::new(&root).sort_by(by_key) {
            let found = match entry {
                Ok(entry) => sort(&root, &entry).transpose(),
                Err(e) => {
                    let path = e.path().unwrap_or(&root).display().to_string();
                    let failure = Failure::new(Exit::Other, crate::exit::chain(&e));
                    Some(Err(failure.about(path)))
                }
            };
            if found.is_some_and(|found| found_in.blocking_send(found).is_err()) {
                return;
            }
        }
    }));
    stream::poll_fn(move |cx| found_out.poll_recv(cx)).boxed()
}

/// Orders the entries of one folder as their keys are: a folder's go on with a slash, which stands behind some characters.
fn by_key(a: &DirEntry, b: &DirEntry) -> std::cmp::Ordering {
    let key = |entry: &DirEntry| {
        let mut key = entry.file_name().as_encoded_bytes().to_vec();
        if entry.file_type().is_dir() {
            key.push(b'/');
        }
        key
    };
    key(a).cmp(&key(b))
}

fn sort(root: &Path, entry: &DirEntry) -> Result<Option<Found>, Failure> {
    let (path, kind) = (entry.path().to_owned(), entry.file_type());
    if kind.is_dir() {
        return Ok(None);
    }
    if kind.is_symlink() {
        return Ok(Some(Found::Skipped { path, what: "a symbolic link" }));
    }
    if !kind.is_file() {
        return Ok(Some(Found::Skipped { path, what: "a special file" }));
    }
    if path.file_name().and_then(|name| name.to_str()).is_some_and(part::is_own_name) {
        return Ok(Some(Found::Skipped { path, what: "an unfinished download" }));
    }
    let relative = relative(root, &path)
        .ok_or_else(|| Failure::new(Exit::Other, "the name is not UTF-8, as keys are").about(path.display()))?;
    Ok(Some(Found::File { path, relative }))
}

fn relative(root: &Path, path: &Path) -> Option<String> {
    let parts = path.strip_prefix(root).ok()?.iter().map(|part| part.to_str());
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    use super::*;

    #[tokio::test]
    async fn plain_files_are_found_and_links_are_told() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("b/empty")).expect("the folder is writable");
        std::fs::create_dir_all(at("z")).expect("the folder is writable");
        for name in ["a", "b/c", "z/.hidden"] {
            std::fs::write(at(name), "x").expect("the folder is writable");
        }
        std::os::unix::fs::symlink(at("z"), at("link")).expect("links can be made");
        std::fs::write(root.path().join(OsStr::from_bytes(b"\xff")), "x").expect("the folder is writable");
        let all: Vec<_> = files(root.path().to_owned()).collect().await;
        let mut keys = Vec::new();
        let (mut skipped, mut failed) = (0, 0);
        for found in all {
            match found {
                Ok(Found::File { relative, .. }) => keys.push(relative),
                Ok(Found::Skipped { path, .. }) => {
                    assert_eq!(path, at("link"));
                    skipped += 1;
                }
                Err(_) => failed += 1,
            }
        }
        assert_eq!(keys, ["a", "b/c", "z/.hidden"]);
        assert_eq!((skipped, failed), (1, 1));
    }

    #[tokio::test]
    async fn files_come_in_the_order_of_their_keys() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for folder in ["a", "a b", "a0"] {
            std::fs::create_dir(root.path().join(folder)).expect("the folder is writable");
        }
        for name in ["a/x", "a b/x", "a0/x", "a.txt", "a-", ".flotilla-0123456789abcdef.part"] {
            std::fs::write(root.path().join(name), "x").expect("the folder is writable");
        }
        let all: Vec<_> = files(root.path().to_owned()).collect().await;
        let keys: Vec<_> = all
            .into_iter()
            .filter_map(|found| match found.expect("all can be read") {
                Found::File { relative, .. } => Some(relative),
                Found::Skipped { what, .. } => {
                    assert_eq!(what, "an unfinished download");
                    None
                }
            })
            .collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!((keys.len(), &keys), (5, &sorted));
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().expect("a temporary folder").path().join("none");
        let all: Vec<_> = files(root).collect().await;
        assert!(matches!(&all[..], [Err(_)]));
    }
}
