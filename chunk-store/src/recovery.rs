//! Opens a store: makes its folders, makes durable what is there, and throws away what was never acked.
//!
//! What grows with the number of chunks is done behind the start, see [`crate::counts`].

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use flotilla_api::ChunkId;
use flotilla_env::{
    Clock, Entropy, blocking, clock,
    disk::{Cause, Disk, Space},
    entropy,
};
use flotilla_kv::Kv;

use crate::{
    buffers::Buffers,
    counts::Counts,
    error::Error,
    health::Health,
    names::{Found, Names, SHELVES, recognise},
    pace::Pace,
    store::{ChunkStore, Inner},
    volumes::{IndexHandle, Parts, VOLUME_BYTES, Volumes},
};

/// What a store is made of.
#[derive(Clone)]
pub struct Options {
    /// The folder that holds the chunks; made if it is not there.
    pub dir: PathBuf,
    /// The disk that the folder lies on.
    pub disk: Arc<dyn Disk>,
    /// The database that knows where small chunks lie; it has [`crate::FAMILIES`] and never goes back behind a sync.
    pub kv: Arc<dyn Kv>,
    /// The clock that syncs are timed by.
    pub clock: Arc<dyn Clock>,
    /// What the epochs of volumes are salted with.
    pub entropy: Arc<dyn Entropy>,
    /// The size of a volume, a multiple of 4 KiB and larger than a record: tests want small ones.
    pub volume_bytes: u64,
    /// Bytes of the file system that chunks leave free, for the metadata.
    pub reserve_free_bytes: u64,
}

impl Options {
    /// Names a folder on a disk and the database of the same process, with the machine's clock and entropy.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, disk: Arc<dyn Disk>, kv: Arc<dyn Kv>, reserve_free_bytes: u64) -> Self {
        Self {
            dir: dir.into(),
            disk,
            kv,
            clock: clock::system(),
            entropy: entropy::system(),
            volume_bytes: VOLUME_BYTES,
            reserve_free_bytes,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("dir", &self.dir).field("disk", &self.disk).finish_non_exhaustive()
    }
}

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Chunks that lie in volumes.
    pub volume_chunks: u64,
    /// Bytes of volumes that were read again, since the database may not have known them.
    pub rescanned_bytes: u64,
    /// Records that were found there.
    pub rescanned_records: u64,
}

impl ChunkStore {
    /// Opens the store of a folder; one process at a time. How long it takes doesn't grow with the number of chunks: files are
    /// counted behind it, and of the volumes only their end is read again.
    ///
    /// # Errors
    /// Marked if a write or sync failed here before; Poisoned if a sync fails now; Io.
    ///
    /// # Durability
    /// Every chunk that is here after Ok is synced, those too that an earlier process wrote but never acked.
    pub async fn open(options: Options) -> Result<(Self, Recovery), Error> {
        let opened = blocking::spawn(move || recover(&options)).await.unwrap_or(Err(Error::Closed))?;
        let (store, counts) = (Arc::downgrade(&opened.0.0), opened.0.0.counts.clone());
        drop(blocking::spawn(move || tidy(&store, &counts))); // ends by itself; only `settled` waits for it
        Ok(opened)
    }

    /// Waits until the files are counted and what unfinished ones left is removed, as begun by the start; [`ChunkStore::usage`] is
    /// exact from then on. Tells whether it could be done.
    pub async fn settled(&self) -> bool {
        self.0.counts.settled().await
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
        blocking::spawn(work).await.unwrap_or(Err(Error::Closed))
    }
}

fn recover(options: &Options) -> Result<(ChunkStore, Recovery), Error> {
    let names = Names::new(options.dir.clone());
    let disk = &options.disk;
    refuse_marked(&**disk, &names)?;
    let health = Health::new(disk.clone(), options.clock.clone(), options.dir.clone(), names.marker());
    let health = Arc::new(health);
    make_shelves(&**disk, &names)?;
    disk.create_dir_all(&names.volumes()).map_err(io_error("make the folder for volumes"))?;
    for shelf in 0..SHELVES {
        // An earlier process may have ended between a chunk's rename and its sync: what callers see must be durable.
        health.sync_dir(&names.shelf(shelf))?;
    }
    health.sync_dir(&names.shelves())?;
    health.sync_dir(names.root())?;
    sync_parent(&health, &**disk, names.root())?;
    let buffers = Arc::<Buffers>::default();
    let parts = Parts {
        disk: disk.clone(),
        health: health.clone(),
        entropy: options.entropy.clone(),
        index: IndexHandle(options.kv.clone()),
        dir: names.volumes(),
        buffers: buffers.clone(),
        capacity: options.volume_bytes,
        reserve_free_bytes: options.reserve_free_bytes,
    };
    let (volumes, rescan) = Volumes::open(parts)?;
    let recovery = Recovery {
        volume_chunks: volumes.usage().chunks,
        rescanned_bytes: rescan.bytes,
        rescanned_records: rescan.records,
    };
    let store = Inner {
        disk: disk.clone(),
        names,
        health,
        claims: Arc::default(),
        lanes: (0..SHELVES).map(|_| Default::default()).collect(),
        counts: Default::default(),
        volumes,
        cache: Default::default(),
        trust: Default::default(),
        pace: Pace::new(options.clock.clone()),
        buffers,
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

/// Counts the files of all shelves and removes what unfinished chunks of an earlier process left.
fn tidy(store: &Weak<Inner>, counts: &Counts) {
    for shelf in 0..SHELVES {
        let Some(store) = store.upgrade() else { break };
        let counted = counts.count(shelf, || tidy_shelf(&store, shelf));
        drop(store); // whoever hears of the end may drop the last handle and open the folder again
        match counted {
            Ok(()) => counts.tell_counted(),
            Err(error) => {
                tracing::warn!(%error, "files of chunks could not be counted, the usage is not exact");
                break;
            }
        }
    }
    counts.give_up();
}

fn tidy_shelf(store: &Inner, shelf: u8) -> Result<HashMap<ChunkId, u64>, Error> {
    let mut there = HashMap::new();
    for entry in store.disk.list(&store.names.shelf(shelf)).map_err(io_error("list chunks"))? {
        match recognise(shelf, &entry.path) {
            Found::Chunk(id) if !entry.dir => drop(there.insert(id, entry.length)),
            Found::Temporary(id) if !entry.dir => {
                // Nobody begins this chunk while its old file goes; one that is being written already keeps its file.
                let Ok(_claim) = store.claims.take_to_remove(id) else { continue };
                match store.disk.remove(&entry.path) {
                    Err(error) if Cause::of(&error) != Cause::Missing => {
                        return Err(io_error("remove an unfinished chunk")(error));
                    }
                    _ => {}
                }
            }
            Found::Chunk(_) | Found::Temporary(_) | Found::Foreign => {
                tracing::warn!(path = %entry.path.display(), "not a chunk of this store, left alone");
            }
        }
    }
    there.retain(|id, _| !store.claims.holds(*id));
    Ok(there)
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
