//! What only RocksDB can get wrong: failed syncs, purged tables, settings and the lock.

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc::sync_channel,
};

use rocksdb::{BottommostLevelCompaction, CompactOptions, WaitForCompactOptions, statistics::Ticker};
use tempfile::TempDir;

use super::*;
use crate::{FamilySpec, MemoryBudget};

const LOG: Family = "log";
const STATE: Family = "state";
const FAMILIES: [FamilySpec; 2] = [FamilySpec::log(LOG), FamilySpec::state(STATE)];

fn open(dir: &Path) -> Arc<RocksKv> {
    RocksKv::open(Options::new(dir, &FAMILIES)).expect("a good folder")
}

/// Memtables so small that a test fills many of them.
fn open_small(dir: &Path) -> Arc<RocksKv> {
    let memory = MemoryBudget { family_memtable_bytes: 64 << 10, ..MemoryBudget::default() };
    RocksKv::open(Options { memory, ..Options::new(dir, &FAMILIES) }).expect("a good folder")
}

fn put(kv: &RocksKv, family: Family, key: &[u8], value: &[u8]) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.put(family, key, value);
    kv.write(batch)
}

fn sync(kv: &RocksKv) -> Result<(), Error> {
    let (send, answer) = sync_channel(1);
    kv.sync_then(Box::new(move |result| send.send(result).expect("the test still listens")));
    answer.recv().expect("an answer")
}

fn keys(kv: &RocksKv, family: Family) -> Vec<Vec<u8>> {
    kv.scan(family, &[], None, usize::MAX).expect("a good read").into_iter().map(|(key, _)| key).collect()
}

#[test]
fn what_memtables_take_is_told_and_charged_to_the_cache() {
    let dir = TempDir::new().expect("a folder");
    let kv = open(dir.path());
    let before = kv.memory().expect("told");
    for number in 0..64_u8 {
        put(&kv, STATE, &[number], &[number; 64 << 10]).expect("a good write");
    }
    let filled = kv.memory().expect("told");
    assert!(filled.memtables_bytes >= before.memtables_bytes + (4 << 20), "{before:?} {filled:?}");
    assert!(filled.cache_bytes >= before.cache_bytes + (3 << 20), "charged in steps of 256 KiB: {before:?} {filled:?}");
    kv.db.flush_cf(handle(&kv.db, STATE).expect("there")).expect("flushed");
    assert_eq!(keys(&kv, STATE).len(), 64);
    let flushed = kv.memory().expect("told");
    assert!(flushed.memtables_bytes < before.memtables_bytes + (1 << 20), "{before:?} {flushed:?}");
    assert!(flushed.cache_bytes >= before.cache_bytes + (3 << 20), "the blocks that were read: {before:?} {flushed:?}");
}

#[test]
fn every_sync_reaches_the_disk_and_no_write_does() {
    let dir = TempDir::new().expect("a folder");
    let mut counted = rocksdb::Options::default();
    let adjust = |set: &mut rocksdb::Options| {
        set.enable_statistics();
        counted = set.clone(); // shares the counters
    };
    let kv = RocksKv::open_with(Options::new(dir.path(), &FAMILIES), adjust, |engine| engine).expect("a good folder");
    let before = counted.get_ticker_count(Ticker::WalFileSynced);
    for round in 1..=5_u8 {
        put(&kv, LOG, &[round], b"entry").expect("a good write");
        put(&kv, STATE, &[round], b"row").expect("a good write");
        sync(&kv).expect("a good sync");
        assert_eq!(counted.get_ticker_count(Ticker::WalFileSynced) - before, u64::from(round));
    }
    assert_eq!(kv.syncs(), 5);
}

struct FailingWal {
    inner: Arc<dyn Engine>,
    fail_next: Arc<AtomicBool>,
}

impl Engine for FailingWal {
    fn sync(&self) -> Result<(), Arc<str>> {
        if self.fail_next.swap(false, Ordering::SeqCst) { Err("injected failure".into()) } else { self.inner.sync() }
    }
}

#[test]
fn a_failed_sync_shuts_the_database_for_good() {
    let dir = TempDir::new().expect("a folder");
    let fail_next = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&fail_next);
    let wrap = |inner| -> Arc<dyn Engine> { Arc::new(FailingWal { inner, fail_next: switch }) };
    let kv = RocksKv::open_with(Options::new(dir.path(), &FAMILIES), |_| (), wrap).expect("a good folder");
    put(&kv, STATE, b"a", b"1").expect("a good write");
    sync(&kv).expect("a good sync");

    fail_next.store(true, Ordering::SeqCst);
    put(&kv, STATE, b"b", b"2").expect("a good write");
    assert!(matches!(sync(&kv), Err(Error::Sync(_))));
    assert!(matches!(sync(&kv), Err(Error::Poisoned)));
    assert!(matches!(put(&kv, STATE, b"c", b"3"), Err(Error::Poisoned)));
    assert!(matches!(kv.drop_range(STATE, b"a", b"b"), Err(Error::Poisoned)));
    assert!(matches!(kv.drop_range(STATE, b"b", b"a"), Err(Error::Poisoned)));
    assert_eq!(kv.get(STATE, b"a").expect("reads go on"), Some(b"1".to_vec()));
}

#[test]
fn a_failed_write_shuts_the_database_for_good() {
    let dir = TempDir::new().expect("a folder");
    let kv = open(dir.path());
    kv.db.cancel_all_background_work(true); // from now on RocksDB refuses to make room by a flush
    let value = vec![7; 1 << 20];
    let failed = (0..256_u32).map(|key| put(&kv, STATE, &key.to_be_bytes(), &value)).find(Result::is_err);
    assert!(matches!(failed, Some(Err(Error::Engine(_)))), "{failed:?}");
    assert!(matches!(put(&kv, LOG, b"a", b"1"), Err(Error::Poisoned)));
    assert!(matches!(sync(&kv), Err(Error::Poisoned)));
}

fn move_below_level_0(kv: &RocksKv, family: Family) {
    let mut options = CompactOptions::default();
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    let handle = handle(&kv.db, family).expect("a family");
    kv.db.compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &options);
}

fn table_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let tables = files.filter(|file| file.path().extension().is_some_and(|end| end == "sst"));
    tables.map(|file| file.metadata().expect("a file").len()).sum()
}

#[test]
fn a_purge_of_whole_tables_unlinks_them_at_once() {
    let dir = TempDir::new().expect("a folder");
    let kv = open(dir.path());
    for index in 1..=10_u64 {
        put(&kv, LOG, &index.to_be_bytes(), b"entry").expect("a good write");
    }
    move_below_level_0(&kv, LOG);
    assert!(table_bytes(dir.path()) > 0);
    kv.drop_range(LOG, &0_u64.to_be_bytes(), &11_u64.to_be_bytes()).expect("a good purge");
    assert_eq!(table_bytes(dir.path()), 0);
    assert!(keys(&kv, LOG).is_empty());
}

#[test]
fn a_purge_keeps_the_first_key_after_its_range() {
    let dir = TempDir::new().expect("a folder");
    let kv = open(dir.path());
    for index in 1..=10_u64 {
        put(&kv, LOG, &index.to_be_bytes(), b"entry").expect("a good write");
    }
    move_below_level_0(&kv, LOG); // one table from 1 to 10
    kv.drop_range(LOG, &1_u64.to_be_bytes(), &10_u64.to_be_bytes()).expect("a good purge");
    assert_eq!(keys(&kv, LOG), [10_u64.to_be_bytes()]);
}

#[test]
fn below_is_below_and_nothing_of_use_lies_between() {
    for to in
        [&[0][..], &[1], &[5, 0], &[5, 0, 0], &[0xff], &[0, 0, 0, 1], &9_u64.to_be_bytes(), &256_u64.to_be_bytes()]
    {
        let key = below(to);
        assert!(key.as_slice() < to, "{key:?} is not below {to:?}");
    }
    assert!(below(&256_u64.to_be_bytes()).as_slice() >= &255_u64.to_be_bytes()[..]);
    assert!(below(&1000_u64.to_be_bytes()).as_slice() >= &999_u64.to_be_bytes()[..]);
}

#[test]
fn a_purged_log_gives_its_space_back() {
    let dir = TempDir::new().expect("a folder");
    let kv = open_small(dir.path());
    let (value, kept) = (vec![7; 1024], 100_u64);
    // 20 MB of entries, of which 100 kB are kept, purged from 0 on each time as a log store does.
    for index in 0..20_000_u64 {
        put(&kv, LOG, &index.to_be_bytes(), &value).expect("a good write");
        if index % 500 == 499 {
            kv.drop_range(LOG, &0_u64.to_be_bytes(), &(index + 1 - kept).to_be_bytes()).expect("a good purge");
        }
    }
    kv.db.wait_for_compact(&WaitForCompactOptions::default()).expect("good compactions");
    assert_eq!(keys(&kv, LOG).len() as u64, kept);
    let bytes = table_bytes(dir.path());
    assert!(bytes < 1 << 20, "the purged log still takes {bytes} bytes");
}

#[test]
fn replayed_rows_are_written_again_before_the_database_opens() {
    let (dir, copy) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let kv = open(dir.path());
    put(&kv, STATE, b"a", b"1").expect("a good write");
    sync(&kv).expect("a good sync");
    for file in fs::read_dir(dir.path()).expect("a folder").map(|entry| entry.expect("an entry")) {
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("a copy");
    }
    let reopened = open(copy.path());
    let in_memory = reopened
        .db
        .property_int_value_cf(handle(&reopened.db, STATE).expect("a family"), "rocksdb.num-entries-active-mem-table");
    assert_eq!(in_memory.expect("a property"), Some(0));
    assert_eq!(keys(&reopened, STATE), [b"a"]);
}

#[test]
fn the_engine_runs_with_the_settings_that_durability_rests_on() {
    let dir = TempDir::new().expect("a folder");
    let _kv = open(dir.path());
    let newest = fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("OPTIONS-")))
        .max()
        .expect("RocksDB writes down what it runs with");
    let text = fs::read_to_string(newest).expect("a text");
    for setting in [
        "manual_wal_flush=true",
        "wal_recovery_mode=kPointInTimeRecovery",
        "track_and_verify_wals_in_manifest=true",
        "recycle_log_file_num=4", // RocksDB sets it to 0 by itself where the recovery mode forbids it
        "avoid_flush_during_recovery=false",
        "paranoid_checks=true",
    ] {
        assert!(text.contains(setting), "'{setting}' is not among\n{text}");
    }
}

#[test]
fn the_folder_is_free_when_the_drop_is_over() {
    let dir = TempDir::new().expect("a folder");
    let kv = open(dir.path());
    assert!(matches!(RocksKv::open(Options::new(dir.path(), &FAMILIES)), Err(Error::Locked)));
    drop(kv);
    drop(open(dir.path()));
}

#[test]
fn a_folder_in_a_missing_folder_is_made() {
    let dir = TempDir::new().expect("a folder");
    drop(open(&dir.path().join("a/b/c")));
}
