//! What is there when a folder is opened again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flotilla_kv::{FamilySpec, Options, RocksKv, View};
use tempfile::TempDir;

use crate::stores::{FAMILIES, LOG, STATE, keys, open, open_small, put, sync};

fn copy_files(from: &Path, to: &Path) {
    for file in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

#[test]
fn a_copy_of_an_open_folder_has_what_was_synced_and_no_later_write() {
    let (dir, copy) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let kv = open(dir.path());
    put(&*kv, LOG, &[(b"l", b"1")]);
    put(&*kv, STATE, &[(b"a", b"1")]);
    sync(&*kv).expect("a good sync");
    put(&*kv, STATE, &[(b"b", b"buffered in the process, as nobody asked for a sync")]);
    copy_files(dir.path(), copy.path());

    let killed = open(copy.path());
    assert_eq!(keys(&*killed, LOG), [b"l"]);
    assert_eq!(keys(&*killed, STATE), [b"a"]);
}

#[test]
fn a_torn_wal_ends_at_its_last_whole_batch() {
    let (dir, copy) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let kv = open(dir.path());
    for number in 0..10_u8 {
        put(&*kv, STATE, &[(&[number, 0], &[7; 100]), (&[number, 1], &[7; 100])]);
        sync(&*kv).expect("a good sync");
    }
    copy_files(dir.path(), copy.path());
    let wal = wals(copy.path()).pop().expect("a WAL");
    let file = fs::OpenOptions::new().write(true).open(&wal).expect("a WAL");
    file.set_len(file.metadata().expect("a WAL").len() - 50).expect("a shorter WAL");

    let found = keys(&*open(copy.path()), STATE);
    assert_eq!(found.len(), 18, "nine batches, and of the torn tenth nothing: {found:?}");
}

fn wals(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut wals: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    wals.sort();
    wals
}

/// Writes synced rows until three generations of WAL files are live: the one row of LOG pins the first, while STATE fills
/// memtables. Gives the number of STATE's rows.
fn fill_three_wals(kv: &RocksKv, dir: &Path) -> u32 {
    put(kv, LOG, &[(b"l", b"1")]);
    let mut rows = 0_u32;
    while wals(dir).len() < 3 {
        put(kv, STATE, &[(&rows.to_be_bytes(), &[7; 4096])]);
        sync(kv).expect("a good sync");
        rows += 1;
    }
    rows
}

#[test]
fn a_missing_synced_wal_is_not_passed_over() {
    let (dir, copy) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let kv = open_small(dir.path());
    fill_three_wals(&kv, dir.path());
    copy_files(dir.path(), copy.path());
    fs::remove_file(&wals(copy.path())[0]).expect("a WAL");
    assert!(RocksKv::open(Options::new(copy.path(), &FAMILIES)).is_err());
}

#[test]
fn a_damaged_older_wal_never_costs_a_synced_row_in_silence() {
    let dir = TempDir::new().expect("a folder");
    let kv = open_small(dir.path());
    let rows = fill_three_wals(&kv, dir.path());
    let mut refused = 0;
    for (wal, part) in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)] {
        let copy = TempDir::new().expect("a folder");
        copy_files(dir.path(), copy.path());
        let path = &wals(copy.path())[wal];
        let mut bytes = fs::read(path).expect("a WAL");
        let at = bytes.len() / 4 * part;
        bytes[at..at + 64].fill(0xa5);
        fs::write(path, bytes).expect("a WAL");
        match RocksKv::open(Options::new(copy.path(), &FAMILIES)) {
            Err(_) => refused += 1,
            Ok(kv) => {
                assert_eq!(keys(&*kv, LOG), [b"l"], "damage in part {part} of WAL {wal}");
                assert_eq!(keys(&*kv, STATE).len() as u32, rows, "damage in part {part} of WAL {wal}");
            }
        }
    }
    assert!(refused > 0, "no damage hit anything that counts");
}

#[test]
fn families_that_nobody_names_are_left_alone() {
    let dir = TempDir::new().expect("a folder");
    let old = [FamilySpec::log(LOG), FamilySpec::state(STATE), FamilySpec::state("old")];
    let kv = RocksKv::open(Options::new(dir.path(), &old)).expect("a good folder");
    put(&*kv, "old", &[(b"a", b"1")]);
    sync(&*kv).expect("a good sync");
    drop(kv);

    let kv = open(dir.path());
    assert_eq!(kv.get("old", b"a").expect("a good read"), Some(b"1".to_vec()));
    put(&*kv, STATE, &[(b"b", b"2")]);
    drop(kv);

    let kv = RocksKv::open(Options::new(dir.path(), &old)).expect("a good folder");
    assert_eq!(keys(&*kv, "old"), [b"a"]);
}
