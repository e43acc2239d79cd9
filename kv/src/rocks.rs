//! The real database: RocksDB with one WAL for all families.
//!
//! It must not know what the families hold, nor when a sync is due: that is the group commit's.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rocksdb::{Cache, ColumnFamily, ColumnFamilyDescriptor, DB, WriteBatch, perf::get_memory_usage_stats};

use crate::{
    Batch, Error, Family, Kv, Op, Options, Row, SyncDone, View,
    group_commit::{Engine, GroupCommit},
    options::Settings,
};

mod reader;
#[cfg(test)]
mod tests;

use reader::Reader;

/// A database on disk.
///
/// Dropping it answers every waiting sync, ends its thread and frees the folder; it blocks for that long.
pub struct RocksKv {
    // Dropped before `db`, so that the folder is free once the drop is over.
    commit: GroupCommit,
    db: Arc<DB>,
    cache: Cache,
}

/// What a database holds in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Blocks of tables, with their indexes and filters, and what memtables are charged.
    pub cache_bytes: u64,
    /// Memtables, those that are being flushed or still read included.
    pub memtables_bytes: u64,
    /// What open tables take outside of the cache.
    pub tables_bytes: u64,
}

impl RocksKv {
    /// Opens the database, and makes it when it is missing. Metrics go to the recorder that is installed at this moment.
    ///
    /// Families on disk that `options` doesn't name are opened as they are and left alone.
    ///
    /// # Errors
    /// [`Error::Locked`]: the folder is open elsewhere, in this process or another. [`Error::Engine`]: the files are damaged or
    /// the disk fails; a synced WAL that is missing or short counts as damaged.
    ///
    /// # Durability
    /// What a crash left in the WAL has been written again, and synced, once the call returns.
    pub fn open(options: Options) -> Result<Arc<Self>, Error> {
        Self::open_with(options, |_| (), |engine| engine)
    }

    /// Opens the database with other settings or around another engine: how tests count syncs and make them fail.
    fn open_with(
        options: Options,
        adjust: impl FnOnce(&mut rocksdb::Options),
        wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>,
    ) -> Result<Arc<Self>, Error> {
        make_dir(&options.dir)
            .map_err(|source| Error::Engine(format!("cannot make '{}': {source}", options.dir.display()).into()))?;
        let settings = Settings::new(options.memory);
        let mut database = settings.database();
        adjust(&mut database);
        let families = family_descriptors(&options, &settings, &database)?;
        let db = Arc::new(DB::open_cf_descriptors(&database, &options.dir, families).map_err(open_error)?);
        let commit = GroupCommit::start(wrap(Arc::new(Wal(Arc::clone(&db)))))?;
        Ok(Arc::new(Self { commit, db, cache: settings.cache }))
    }

    /// Says what the database holds in memory; may wait for a moment while tables are installed.
    ///
    /// # Errors
    /// [`Error::Engine`]; RocksDB names no reason for one.
    pub fn memory(&self) -> Result<Memory, Error> {
        let held = get_memory_usage_stats(Some(&[&self.db]), Some(&[&self.cache])).map_err(engine_error)?;
        Ok(Memory {
            cache_bytes: held.cache_total,
            memtables_bytes: held.mem_table_total,
            tables_bytes: held.mem_table_readers_total,
        })
    }

    fn reader(&self) -> Reader<'_> {
        Reader::latest(&self.db)
    }
}

impl View for RocksKv {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.reader().get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.reader().get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        self.reader().scan(family, from, to, limit)
    }

    fn last(&self, family: Family) -> Result<Option<Row>, Error> {
        self.reader().last(family)
    }
}

impl Kv for RocksKv {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        self.commit.check()?;
        let mut writes = WriteBatch::default();
        for op in batch.ops() {
            match op {
                Op::Put(family, key, value) => writes.put_cf(handle(&self.db, family)?, key, value),
                Op::Delete(family, key) => writes.delete_cf(handle(&self.db, family)?, key),
                Op::DeleteRange(family, from, to) => {
                    let family = handle(&self.db, family)?;
                    // RocksDB refuses a reversed range after it wrote the batch to the WAL; it is as empty as any other.
                    if from < to {
                        writes.delete_range_cf(family, from, to);
                    }
                }
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.db.write(writes).map_err(|source| {
            // Half of the batch may stand in the WAL: a later write must not come after it.
            self.commit.poison();
            engine_error(source)
        })
    }

    fn sync_then(&self, done: SyncDone) {
        self.commit.sync_then(done);
    }

    fn drop_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<(), Error> {
        if from >= to {
            return self.commit.check();
        }
        let mut batch = Batch::default();
        batch.delete_range(family, from, to);
        self.write(batch)?;
        let last = below(to);
        if last.as_slice() < from {
            return Ok(()); // too narrow for a whole table
        }
        self.db.delete_file_in_range_cf(handle(&self.db, family)?, from, &last).map_err(|source| {
            self.commit.poison();
            engine_error(source)
        })
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(Reader::snapshot(&self.db))
    }

    fn syncs(&self) -> u64 {
        self.commit.syncs()
    }
}

/// The WAL as that which is synced.
struct Wal(Arc<DB>);

impl Engine for Wal {
    fn sync(&self) -> Result<(), Arc<str>> {
        flotilla_env::failpoint!("kv.before_sync", |_| Err("a failpoint".into()));
        self.0.flush_wal(true).map_err(|source| source.into_string())?;
        flotilla_env::failpoint!("kv.after_sync", |_| Err("a failpoint".into()));
        Ok(())
    }
}

fn handle(db: &DB, family: Family) -> Result<&ColumnFamily, Error> {
    db.cf_handle(family).ok_or_else(|| Error::Engine(format!("no family '{family}'").into()))
}

/// How many 0xff bytes [`below`] adds: longer than what any key of ours has behind its prefix.
const BELOW_PAD_BYTES: usize = 32;

/// A key below `to`, with few or no keys between the two.
///
/// `delete_file_in_range` removes tables up to *and with* its end, so a table that ends in the first key to be kept would go.
fn below(to: &[u8]) -> Vec<u8> {
    let mut key = to.to_vec();
    match key.pop() {
        None | Some(0) => {} // without its zero byte it is the very key before `to`
        Some(last) => {
            key.push(last - 1);
            key.extend([0xff; BELOW_PAD_BYTES]);
        }
    }
    key
}

/// Makes the folder and syncs every name on the way to it, as RocksDB syncs only what lies within.
fn make_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = dir.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    fs::create_dir_all(dir)?;
    // The folder itself is named again: a crash may have come between its making and its sync.
    for path in missing.iter().map(PathBuf::as_path).chain([dir]) {
        match path.parent() {
            None => {}
            Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all()?,
            Some(parent) => File::open(parent)?.sync_all()?,
        }
    }
    Ok(())
}

fn family_descriptors(
    options: &Options,
    settings: &Settings,
    database: &rocksdb::Options,
) -> Result<Vec<ColumnFamilyDescriptor>, Error> {
    let mut named = BTreeSet::new();
    let mut descriptors = Vec::new();
    for spec in &options.families {
        assert!(named.insert(spec.name), "family '{}' is named twice", spec.name);
        descriptors.push(ColumnFamilyDescriptor::new(spec.name, settings.family(spec.kind)));
    }
    // RocksDB opens all families or none. CURRENT is there from the moment on when a database is.
    if options.dir.join("CURRENT").exists() {
        for name in DB::list_cf(database, &options.dir).map_err(open_error)? {
            if !named.contains(name.as_str()) {
                descriptors.push(ColumnFamilyDescriptor::new(name, settings.unknown_family()));
            }
        }
    }
    Ok(descriptors)
}

fn engine_error(source: rocksdb::Error) -> Error {
    Error::Engine(source.into_string().into())
}

/// RocksDB tells a lock that is held from other I/O errors only by its text; a test pins both of them.
fn open_error(source: rocksdb::Error) -> Error {
    let text = source.as_ref();
    let other_process = text.contains("While lock file") && text.contains("Resource temporarily unavailable");
    if other_process || text.contains("lock hold by current process") { Error::Locked } else { engine_error(source) }
}
