//! The folder of snapshots: which one is current, which are in use, and the files of each.
//!
//! # Shape
//! One folder, no subfolders: `NAME.manifest` and `NAME.000000`, `NAME.000001`, ... where NAME is `b-TERM-INDEX` for a snapshot
//! that was built here and `r-TERM-INDEX` for one that was received (16 hex digits each). A snapshot is whole if its manifest is
//! there, since that is written last. The database's row `snapshot` names the current one.

use std::{
    fmt,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use flotilla_env::{Disk, DiskFile};
use flotilla_kv::{Batch, Kv, View};
use openraft::{alias::SnapshotOf, storage::Snapshot};

use super::{
    manifest::{Manifest, PART_BYTES_MAX},
    part,
};
use crate::store::{StoreError, codec::LogIdRow, keys, lock, types::Types};

/// How long a manifest may be, in bytes: as many parts as are allowed, at some 40 bytes each.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A snapshot's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    pub(super) fn built(at: Option<LogIdRow>) -> Self {
        Self::new('b', at)
    }

    pub(super) fn received(at: Option<LogIdRow>) -> Self {
        Self::new('r', at)
    }

    fn new(origin: char, at: Option<LogIdRow>) -> Self {
        let at = at.unwrap_or(LogIdRow { term: 0, index: 0 });
        Self(format!("{origin}-{:016x}-{:016x}", at.term, at.index))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A snapshot whose files stay as long as a clone of this lives.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    pub(super) name: Arc<Name>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) snapshots: Weak<Snapshots>,
}

impl Staged {
    /// Gives the snapshot in openraft's form.
    pub(crate) fn into_snapshot(self) -> Result<SnapshotOf<Types, Self>, StoreError> {
        Ok(Snapshot { meta: self.manifest.meta()?, snapshot: self })
    }

    /// The folder it lies in.
    pub(super) fn snapshots(&self) -> Result<Arc<Snapshots>, StoreError> {
        self.snapshots.upgrade().ok_or_else(|| StoreError::Disk(io::Error::other("the group is closed")))
    }
}

/// The folder of a group's snapshots. Its calls block.
#[derive(Debug)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// How big a part gets before the next one is begun.
    pub(super) part_bytes: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    current: Option<Staged>,
    /// Whether the current one was found damaged, so that there is none although the log was purged.
    lost: bool,
    in_use: Vec<Weak<Name>>,
}

impl Snapshots {
    /// Opens the folder, making it if it is missing.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf, part_bytes: usize) -> Result<Arc<Self>, StoreError> {
        disk.create_dir_all(&dir)?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent)?;
        }
        Ok(Arc::new(Self { disk, dir, part_bytes, held: Mutex::default() }))
    }

    /// Finds the current snapshot as the database names it, and removes the files of all others. A damaged one counts as none:
    /// openraft builds another.
    pub(crate) fn recover(self: &Arc<Self>, kv: &dyn Kv) -> Result<(), StoreError> {
        if let Some(name) = self.named(kv, keys::SNAPSHOT)? {
            match self.load(name) {
                Ok(staged) => lock(&self.held).current = Some(staged),
                Err(error) => tracing::warn!(%error, "current snapshot is unusable"),
            }
        }
        self.sweep()
    }

    /// Reads a snapshot's name from the database.
    pub(super) fn named(&self, view: &dyn View, row: &[u8]) -> Result<Option<Name>, StoreError> {
        let Some(bytes) = view.get(keys::META, row)? else { return Ok(None) };
        let name = String::from_utf8(bytes).map_err(|error| StoreError::corrupt("snapshot name", error))?;
        Ok(Some(Name(name)))
    }

    pub(crate) fn current(&self) -> Option<Staged> {
        lock(&self.held).current.clone()
    }

    /// How many rows the current snapshot has.
    pub(crate) fn current_rows(&self) -> u64 {
        self.current().map_or(0, |current| current.manifest.rows())
    }

    pub(crate) fn lost(&self) -> bool {
        lock(&self.held).lost
    }

    /// Drops the current snapshot, whose files turned out to be damaged.
    pub(super) fn lose(&self, staged: &Staged) {
        let mut held = lock(&self.held);
        if held.current.as_ref().is_some_and(|current| current.name == staged.name) {
            held.current = None;
            held.lost = true;
        }
    }

    /// Puts a snapshot under protection from [`Snapshots::sweep`].
    pub(super) fn stage(self: &Arc<Self>, name: Name, manifest: Manifest) -> Staged {
        let name = Arc::new(name);
        lock(&self.held).in_use.push(Arc::downgrade(&name));
        Staged { name, manifest: Arc::new(manifest), snapshots: Arc::downgrade(self) }
    }

    /// Makes `staged` the current snapshot unless there is a later one, and writes `batch` with the row that says so.
    pub(super) fn promote(&self, kv: &dyn Kv, staged: &Staged, mut batch: Batch) -> Result<(), StoreError> {
        let mut held = lock(&self.held);
        let index = |staged: &Staged| staged.manifest.at.map(|at| at.index);
        let newest = held.current.as_ref().is_none_or(|current| index(current) <= index(staged));
        if newest {
            batch.put(keys::META, keys::SNAPSHOT, staged.name.as_bytes());
        }
        if !batch.is_empty() {
            kv.write(batch)?;
        }
        if newest {
            held.current = Some(staged.clone());
            held.lost = false;
        }
        Ok(())
    }

    /// Reads a snapshot's manifest.
    pub(super) fn load(self: &Arc<Self>, name: Name) -> Result<Staged, StoreError> {
        let file = self.disk.open(&self.path(&name, "manifest"))?;
        let manifest = Manifest::from_file(&read_whole(&*file, MANIFEST_BYTES_MAX)?)?;
        manifest.check()?;
        Ok(self.stage(name, manifest))
    }

    /// Writes the manifest of a snapshot whose parts are all synced; the snapshot is whole and durable when this returns.
    pub(super) fn seal(&self, staged: &Staged) -> Result<(), StoreError> {
        let file = self.create(&self.path(&staged.name, "manifest"))?;
        file.write_at(0, &[IoSlice::new(&staged.manifest.to_file())])?;
        file.sync_data()?;
        Ok(self.disk.sync_dir(&self.dir)?)
    }

    /// Makes a part's file, in place of one that an earlier attempt left.
    pub(super) fn create_part(&self, name: &Name, number: usize) -> Result<Arc<dyn DiskFile>, StoreError> {
        self.create(&self.part_path(name, number))
    }

    /// Reads a part and checks it against the manifest.
    pub(super) fn read_part(&self, staged: &Staged, number: usize) -> Result<Vec<u8>, StoreError> {
        let info = staged.manifest.parts.get(number);
        let info = info.ok_or_else(|| StoreError::corrupt("manifest", format!("there is no part {number}")))?;
        let bytes = read_whole(&*self.disk.open(&self.part_path(&staged.name, number))?, PART_BYTES_MAX)?;
        part::check(&bytes, info)?;
        Ok(bytes)
    }

    /// Removes the files of every snapshot that is neither current nor in use.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        let in_use: Vec<Arc<Name>> = {
            let mut held = lock(&self.held);
            held.in_use.retain(|name| name.strong_count() > 0);
            held.in_use.iter().filter_map(Weak::upgrade).collect()
        };
        for entry in self.disk.list(&self.dir)? {
            let stem = entry.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !in_use.iter().any(|name| name.0 == stem) {
                self.remove(&entry.path)?;
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        match self.disk.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(path)?;
                Ok(self.disk.create(path)?)
            }
            made => Ok(made?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, name: &Name, what: &str) -> PathBuf {
        self.dir.join(format!("{name}.{what}"))
    }

    fn part_path(&self, name: &Name, number: usize) -> PathBuf {
        self.path(name, &format!("{number:06}"))
    }
}

fn read_whole(file: &dyn DiskFile, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
    let length = file.length()?;
    if length > bytes_max {
        return Err(StoreError::corrupt("snapshot file", format!("it has {length} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(length).expect("the limit fits into a usize")];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
