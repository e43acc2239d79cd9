//! Who a data folder belongs to: written and synced once, before its process answers any peer.

use std::{
    fs::TryLockError,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    time::Duration,
};

use flotilla_api::NodeId;
use flotilla_env::Disk;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of the file within the data folder.
const FILE: &str = "identity";
/// The most bytes of a file that is read here; the longest that is written has the names of five members.
const LENGTH_MAX: u64 = 4096;

/// The identity of a data folder.
///
/// # Shape
/// The file `identity`: one JSON object with these fields; `format` is 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The version of this file's shape.
    pub format: u32,
    /// The fleet, derived from its secret.
    pub fleet: Uuid,
    /// The group's name: a cluster's, or `supernodes`.
    pub group: String,
    /// The group's identity, chosen at formation.
    pub uuid: Uuid,
    /// The node's id within the group.
    pub node: NodeId,
    /// The folder's own identity.
    pub disk: Uuid,
}

/// Why an identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error("'{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The file is there, but it does not say what it should.
    #[error("'{}' can't be understood: {why}; restore it, or move the folder away to join as a new node", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a JSON file that [`write_synced`] made; none if there is no such file.
///
/// # Errors
/// [`Error`]; trying again does not help.
pub fn read<T: for<'de> Deserialize<'de>>(disk: &dyn Disk, path: &Path) -> Result<Option<T>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let length = file.length().map_err(io)?.min(LENGTH_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes).map_err(io)?;
    serde_json::from_slice(&bytes[..read])
        .map(Some)
        .map_err(|error| Error::Malformed { path: path.to_owned(), why: error.to_string() })
}

/// Writes a small JSON file so that it is there whole or not at all.
///
/// # Durability
/// Ok means: content and name are synced.
///
/// # Errors
/// [`Error::Io`].
pub fn write_synced<T: Serialize>(disk: &dyn Disk, path: &Path, value: &T) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let bytes = serde_json::to_vec_pretty(value).expect("an identity has nothing that JSON can't hold");
    let temporary = path.with_extension("tmp");
    match disk.remove(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let file = disk.create(&temporary).map_err(io)?;
    file.write_at(0, &[IoSlice::new(&bytes)]).map_err(io)?;
    file.sync_data().map_err(io)?;
    flotilla_env::failpoint!("identity.before_rename", |arg| Err(io(flotilla_env::failpoint::io_error(arg))));
    disk.rename(&temporary, path).map_err(io)?;
    disk.sync_dir(path.parent().unwrap_or(path)).map_err(io)
}

impl Identity {
    /// Reads a folder's identity; none if it never joined a group.
    ///
    /// # Errors
    /// [`Error`]; the process should end with exit code 78.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        match read::<Self>(disk, &path)? {
            Some(identity) if identity.format != 1 => {
                Err(Error::Malformed { path, why: format!("its format is {}", identity.format) })
            }
            identity => Ok(identity),
        }
    }

    /// Writes a folder's identity.
    ///
    /// # Durability
    /// Ok means: it survives a power cut.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        write_synced(disk, &dir.join(FILE), self)?;
        flotilla_env::failpoint!("identity.after_write", |arg| Err(Error::Io {
            path: dir.join(FILE),
            source: flotilla_env::failpoint::io_error(arg)
        }));
        Ok(())
    }
}

/// How long a start waits for the process that held the folder before. A killed process is a zombie, so gone for its
/// supervisor, while its last threads still hold its files.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// A data folder held by this process; let go when it is dropped, or when the process ends in any way.
#[derive(Debug)]
pub struct FolderLock {
    _held: std::fs::File,
}

impl FolderLock {
    /// Makes the folder if it is missing, and holds it; waits for at most [`LOCK_PATIENCE`].
    ///
    /// # Errors
    /// [`Error::Io`]: `WouldBlock` means that another process holds the folder.
    ///
    /// # Cancel safety
    /// A dropped future holds nothing.
    pub async fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("LOCK");
        let io = |source| Error::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(io)?;
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        let locked = tokio::time::timeout(LOCK_PATIENCE, async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
        });
        let held = || io::Error::new(io::ErrorKind::WouldBlock, "another process has this data folder open");
        locked.await.unwrap_or_else(|_| Err(held())).map_err(io)?;
        Ok(Self { _held: file })
    }
}
