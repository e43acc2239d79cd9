//! The implementations under test, and the few calls that every test makes.

use std::{path::Path, sync::Arc, sync::mpsc::sync_channel};

use flotilla_kv::{Batch, Error, Family, FamilySpec, Kv, MemKv, MemoryBudget, Options, RocksKv};
use tempfile::TempDir;

pub const LOG: Family = "log";
pub const STATE: Family = "state";
pub const FAMILIES: [FamilySpec; 2] = [FamilySpec::log(LOG), FamilySpec::state(STATE)];

/// One implementation, with what it needs to be started again.
pub trait Store {
    fn kv(&self) -> &dyn Kv;
    /// Ends the database and starts it again; only synced writes are sure to be there.
    fn restart(self) -> Self;
}

pub struct Mem(MemKv);

impl Mem {
    pub fn new() -> Self {
        Self(MemKv::new(&[LOG, STATE]))
    }

    pub fn inline() -> Self {
        Self(MemKv::inline(&[LOG, STATE]))
    }
}

impl Store for Mem {
    fn kv(&self) -> &dyn Kv {
        &self.0
    }

    fn restart(self) -> Self {
        Self(self.0.crash())
    }
}

pub struct Rocks {
    kv: Arc<RocksKv>,
    dir: TempDir,
}

impl Rocks {
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        Self { kv: open(dir.path()), dir }
    }
}

impl Store for Rocks {
    fn kv(&self) -> &dyn Kv {
        &*self.kv
    }

    fn restart(self) -> Self {
        let Self { kv, dir } = self;
        drop(kv);
        Self { kv: open(dir.path()), dir }
    }
}

pub fn open(dir: &Path) -> Arc<RocksKv> {
    RocksKv::open(Options::new(dir, &FAMILIES)).expect("a good folder")
}

/// Opens with memtables so small that tables and WAL files change often.
pub fn open_small(dir: &Path) -> Arc<RocksKv> {
    let memory = MemoryBudget { family_memtable_bytes: 64 << 10, ..MemoryBudget::default() };
    RocksKv::open(Options { memory, ..Options::new(dir, &FAMILIES) }).expect("a good folder")
}

pub fn put(kv: &dyn Kv, family: Family, rows: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(family, *key, *value);
    }
    kv.write(batch).expect("a good write");
}

pub fn sync(kv: &dyn Kv) -> Result<(), Error> {
    let (send, answer) = sync_channel(1);
    kv.sync_then(Box::new(move |result| send.send(result).expect("the test still listens")));
    answer.recv().expect("an answer")
}

pub fn keys(kv: &dyn Kv, family: Family) -> Vec<Vec<u8>> {
    kv.scan(family, &[], None, usize::MAX).expect("a good read").into_iter().map(|(key, _)| key).collect()
}
