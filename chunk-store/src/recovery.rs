//! Opens a store: makes its folders, throws away what was never acked, and makes durable what is there.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use flotilla_env::{
    Clock, clock,
    disk::{Cause, Disk, Space},
};
use tokio::task::spawn_blocking;

use crate::{
    error::Error,
    health::Health,
    names::{Found, Names, SHELVES, recognise},
    store::{ChunkStore, Counts, Inner},
};

/// What a store is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds the chunks; made if it is not there.
    pub dir: PathBuf,
    /// The disk that the folder lies on.
    pub disk: Arc<dyn Disk>,
    /// The clock that syncs are timed by.
    pub clock: Arc<dyn Clock>,
    /// Bytes of the file system that chunks leave free, for the metadata.
    pub reserve_free_bytes: u64,
}

impl Options {
    /// Names a folder on a disk, with the machine's clock.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, disk: Arc<dyn Disk>, reserve_free_bytes: u64) -> Self {
        Self { dir: dir.into(), disk, clock: clock::system(), reserve_free_bytes }
    }
}

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Unfinished chunks that were thrown away.
    pub removed_temporaries: u64,
    /// Chunks that are there.
    pub chunks: u64,
    /// What they take on disk, with padding and checksums.
    pub bytes: u64,
}

impl ChunkStore {
    /// Opens the store of a folder; one process at a time. Reads names and lengths, no data.
    ///
    /// # Errors
    /// Marked if a write or sync failed here before; Poisoned if a sync fails now; Io.
    ///
    /// # Durability
    /// Every chunk that is here after Ok is synced, those too that an earlier process wrote but never acked.
    pub async fn open(options: Options) -> Result<(Self, Recovery), Error> {
        spawn_blocking(move || recover(&options)).await.unwrap_or(Err(Error::Closed))
    }

    /// Takes away the marker of a failed write or sync: the operator trusts the disk again.
    ///
    /// # Errors
    /// Io.
    ///
    /// # Durability
    /// Ok: the marker will not come back.
    pub async fn accept(dir: PathBuf, disk: Arc<dyn Disk>) -> Result<(), Error> {
        let work = move || {
            let names = Names::new(dir);
            match disk.remove(&names.marker()) {
                Err(error) if Cause::of(&error) == Cause::Missing => Ok(()),
                result => result.and_then(|()| disk.sync_dir(names.root())).map_err(io_error("remove the marker")),
            }
        };
        spawn_blocking(work).await.unwrap_or(Err(Error::Closed))
    }
}

fn recover(options: &Options) -> Result<(ChunkStore, Recovery), Error> {
    let names = Names::new(options.dir.clone());
    let disk = &options.disk;
    refuse_marked(&**disk, &names)?;
    let health = Health::new(disk.clone(), options.clock.clone(), options.dir.clone(), names.marker());
    make_shelves(&**disk, &names)?;
    let mut recovery = Recovery::default();
    for shelf in 0..SHELVES {
        clear_shelf(&**disk, &names.shelf(shelf), shelf, &mut recovery)?;
        // An earlier process may have ended between a chunk's rename and its sync: what callers see must be durable.
        health.sync_dir(&names.shelf(shelf))?;
    }
    health.sync_dir(&names.shelves())?;
    health.sync_dir(names.root())?;
    sync_parent(&health, &**disk, names.root())?;
    let store = Inner {
        disk: disk.clone(),
        names,
        health,
        claims: Arc::default(),
        lanes: (0..SHELVES).map(|_| Default::default()).collect(),
        counts: Counts::new(recovery.chunks, recovery.bytes),
        cache: Default::default(),
        trust: Default::default(),
        buffers: Arc::default(),
        page: Mutex::default(),
        space: Mutex::new(Space::default()),
        reserve_free_bytes: options.reserve_free_bytes,
    };
    store.room()?;
    Ok((ChunkStore(Arc::new(store)), recovery))
}

fn refuse_marked(disk: &dyn Disk, names: &Names) -> Result<(), Error> {
    match disk.open(&names.marker()) {
        Ok(_) => Err(Error::Marked(names.marker())),
        Err(error) if Cause::of(&error) == Cause::Missing => Ok(()),
        Err(error) => Err(io_error("look for the marker")(error)),
    }
}

fn make_shelves(disk: &dyn Disk, names: &Names) -> Result<(), Error> {
    let there = match disk.list(&names.shelves()) {
        Ok(entries) => entries,
        Err(error) if Cause::of(&error) == Cause::Missing => Vec::new(),
        Err(error) => return Err(io_error("list the folders of chunks")(error)),
    };
    let missing = (0..SHELVES).map(|shelf| names.shelf(shelf));
    for folder in missing.filter(|folder| there.iter().all(|entry| entry.path != *folder)) {
        disk.create_dir_all(&folder).map_err(io_error("make a folder for chunks"))?;
    }
    Ok(())
}

fn clear_shelf(disk: &dyn Disk, folder: &Path, shelf: u8, recovery: &mut Recovery) -> Result<(), Error> {
    for entry in disk.list(folder).map_err(io_error("list chunks"))? {
        match recognise(shelf, &entry.path) {
            Found::Chunk(_) if !entry.dir => {
                recovery.chunks += 1;
                recovery.bytes += entry.length;
            }
            Found::Temporary if !entry.dir => {
                disk.remove(&entry.path).map_err(io_error("remove an unfinished chunk"))?;
                recovery.removed_temporaries += 1;
            }
            Found::Chunk(_) | Found::Temporary | Found::Foreign => {
                tracing::warn!(path = %entry.path.display(), "not a chunk of this store, left alone");
            }
        }
    }
    Ok(())
}

/// Syncs the name of the store's own folder, where the process may read the folder around it.
fn sync_parent(health: &Health, disk: &dyn Disk, root: &Path) -> Result<(), Error> {
    let Some(parent) = root.parent() else { return Ok(()) };
    match disk.sync_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(dir = %root.display(), "the folder around it can't be read, its name is not synced");
            Ok(())
        }
        result => result.map_err(|error| health.judge("sync the folder around the chunks", error)),
    }
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, source }
}
