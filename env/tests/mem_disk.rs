//! What a power cut keeps on the disk in memory, and how it is stopped at a chosen step.

use std::{collections::BTreeSet, io::IoSlice, path::Path};

use flotilla_env::disk::{Cause, Disk, DiskFile, MemDisk};

const SEEDS: std::ops::Range<u64> = 0..200;

fn root() -> &'static Path {
    Path::new("/")
}

fn at(name: &str) -> std::path::PathBuf {
    root().join(name)
}

fn write(file: &dyn DiskFile, offset: u64, bytes: &[u8]) {
    file.write_at(offset, &[IoSlice::new(bytes)]).expect("written");
}

fn read(disk: &MemDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(&at(name)).ok()?;
    let mut out = vec![0; usize::try_from(file.length().expect("length")).expect("small")];
    assert_eq!(file.read_at(0, &mut out).expect("read"), out.len());
    Some(out)
}

/// Cuts the power on a disk as `prepare` leaves it, once per seed, and gives all the outcomes there were.
fn outcomes<T: Ord>(prepare: impl Fn(&MemDisk), look: impl Fn(&MemDisk) -> T) -> BTreeSet<T> {
    let crash = |seed| {
        let disk = MemDisk::new();
        prepare(&disk);
        look(&disk.crash(seed))
    };
    SEEDS.map(crash).collect()
}

#[test]
fn synced_data_under_a_synced_name_survives_every_cut() {
    let prepare = |disk: &MemDisk| {
        let file = disk.create(&at("a")).expect("created");
        write(&*file, 0, &[7; 2000]);
        file.sync_data().expect("synced");
        disk.sync_dir(root()).expect("synced");
    };
    assert_eq!(outcomes(prepare, |disk| read(disk, "a")), [Some(vec![7; 2000])].into());
}

#[test]
fn synced_data_under_an_unsynced_name_may_be_gone() {
    let prepare = |disk: &MemDisk| {
        let file = disk.create(&at("a")).expect("created");
        write(&*file, 0, b"bytes");
        file.sync_data().expect("synced");
    };
    assert_eq!(outcomes(prepare, |disk| read(disk, "a")), [None, Some(b"bytes".to_vec())].into());
}

#[test]
fn each_unsynced_sector_is_kept_or_lost_on_its_own() {
    let prepare = |disk: &MemDisk| {
        let file = disk.create(&at("a")).expect("created");
        write(&*file, 0, &[1; 1536]);
        file.sync_data().expect("synced");
        disk.sync_dir(root()).expect("synced");
        write(&*file, 0, &[2; 1536]);
    };
    let look = |disk: &MemDisk| {
        let bytes = read(disk, "a").expect("its name is synced");
        assert_eq!(bytes.len(), 1536);
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|&byte| byte == sector[0])), "a sector is never torn");
        [bytes[0], bytes[512], bytes[1024]]
    };
    assert_eq!(outcomes(prepare, look).len(), 8, "all combinations of old and new");
}

#[test]
fn an_unsynced_length_ends_up_anywhere_between() {
    let prepare = |disk: &MemDisk| {
        let file = disk.create(&at("a")).expect("created");
        disk.sync_dir(root()).expect("synced");
        write(&*file, 0, &[3; 4096]);
    };
    let lengths = outcomes(prepare, |disk| read(disk, "a").expect("its name is synced").len());
    assert!(lengths.contains(&0) && lengths.contains(&4096) && lengths.len() > 10, "{lengths:?}");
}

#[test]
fn a_cut_file_shows_no_old_bytes_once_synced() {
    let prepare = |disk: &MemDisk| {
        let file = disk.create(&at("a")).expect("created");
        write(&*file, 0, &[3; 4096]);
        file.sync_data().expect("synced");
        file.set_len(100).expect("cut");
        file.set_len(4096).expect("extended");
        file.sync_data().expect("synced");
        disk.sync_dir(root()).expect("synced");
    };
    let expected: Vec<u8> = [3; 100].into_iter().chain([0; 3996]).collect();
    assert_eq!(outcomes(prepare, |disk| read(disk, "a")), [Some(expected)].into());
}

#[test]
fn an_unsynced_rename_happened_or_did_not() {
    let prepare = |disk: &MemDisk| {
        let file = disk.create(&at("from")).expect("created");
        write(&*file, 0, b"x");
        file.sync_data().expect("synced");
        disk.sync_dir(root()).expect("synced");
        disk.rename(&at("from"), &at("to")).expect("renamed");
    };
    let look = |disk: &MemDisk| (read(disk, "from").is_some(), read(disk, "to").is_some());
    assert_eq!(outcomes(prepare, look), [(true, false), (false, true)].into());
}

#[test]
fn an_unsynced_removal_happened_or_did_not() {
    let prepare = |disk: &MemDisk| {
        disk.create(&at("a")).expect("created");
        disk.sync_dir(root()).expect("synced");
        disk.remove(&at("a")).expect("removed");
    };
    assert_eq!(outcomes(prepare, |disk| read(disk, "a").is_some()), [true, false].into());
}

#[test]
fn a_rename_between_folders_is_durable_with_either_folder() {
    for folder in ["/x", "/y"] {
        let prepare = |disk: &MemDisk| {
            disk.create_dir_all(Path::new("/x")).expect("made");
            disk.create_dir_all(Path::new("/y")).expect("made");
            disk.sync_dir(root()).expect("synced");
            disk.create(Path::new("/x/a")).expect("created");
            disk.rename(Path::new("/x/a"), Path::new("/y/a")).expect("renamed");
            disk.sync_dir(Path::new(folder)).expect("synced");
        };
        let look = |disk: &MemDisk| (read(disk, "x/a").is_some(), read(disk, "y/a").is_some());
        assert_eq!(outcomes(prepare, look), [(false, true)].into(), "{folder}");
    }
}

#[test]
fn a_lost_folder_takes_its_files_along() {
    let prepare = |disk: &MemDisk| {
        disk.create_dir_all(Path::new("/x")).expect("made");
        disk.create(Path::new("/x/a")).expect("created");
        disk.sync_dir(Path::new("/x")).expect("synced");
    };
    let look = |disk: &MemDisk| {
        let found = disk.list(root()).expect("listed").len();
        assert_eq!(read(disk, "x/a").is_some(), found == 1);
        found
    };
    assert_eq!(outcomes(prepare, look), [0, 1].into());
}

#[test]
fn seed_0_loses_and_seed_1_keeps_all_that_is_not_synced() {
    for (seed, kept) in [(0, false), (1, true)] {
        let disk = MemDisk::new();
        write(&*disk.create(&at("a")).expect("created"), 0, &[5; 5000]);
        let after = disk.crash(seed);
        assert_eq!(read(&after, "a"), kept.then(|| vec![5; 5000]));
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let look = |seed| {
        let disk = MemDisk::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            write(&*disk.create(&at(name)).expect("created"), 0, &[9; 3000]);
        }
        let after = disk.crash(seed);
        ["a", "b", "c", "d", "e", "f"].map(|name| read(&after, name))
    };
    assert_eq!(look(7), look(7));
    assert_ne!(look(7), look(8));
}

#[test]
fn a_stopped_disk_refuses_all_that_comes_later() {
    let disk = MemDisk::new();
    let before = disk.ops();
    disk.stop_after(2);
    let file = disk.create(&at("a")).expect("the first of two");
    write(&*file, 0, b"x");
    let off = |error: std::io::Error| assert_eq!(Cause::of(&error), Cause::PowerOff);
    off(file.sync_data().expect_err("the third"));
    off(file.read_at(0, &mut [0]).expect_err("reads too"));
    off(disk.list(root()).expect_err("lists too"));
    assert_eq!(disk.ops() - before, 3, "what was asked for is counted");
    assert_eq!(read(&disk.crash(1), "a"), Some(b"x".to_vec()));
}

#[test]
fn space_is_taken_by_reservation_and_given_back_by_removal() {
    let disk = MemDisk::with_space(64 << 10);
    let free = || disk.space(root()).expect("space").free_bytes;
    let file = disk.create(&at("a")).expect("created");
    file.allocate(40_000).expect("reserved");
    assert_eq!(free(), (64 << 10) - 40_960);
    let full = |result: std::io::Result<()>| assert_eq!(Cause::of(&result.expect_err("full")), Cause::Full);
    let other = disk.create(&at("b")).expect("created");
    full(other.allocate(40_000));
    full(other.write_at(0, &[IoSlice::new(&[0; 40_000])]));
    assert_eq!(other.length().expect("length"), 0, "a refused write writes nothing");
    write(&*file, 0, &[0; 40_000]);
    file.set_len(5000).expect("cut");
    assert_eq!(free(), (64 << 10) - 8192);
    disk.remove(&at("a")).expect("removed");
    assert_eq!(free(), 64 << 10);
    write(&*file, 0, &[0; 60_000]);
    assert_eq!(free(), 64 << 10, "a file without a name is not counted");
}

#[test]
fn punched_space_is_free_at_once_and_an_unsynced_hole_may_be_lost() {
    let disk = MemDisk::with_space(64 << 10);
    let free = |disk: &MemDisk| disk.space(root()).expect("space").free_bytes;
    let file = disk.create(&at("a")).expect("created");
    write(&*file, 0, &[7; 32 << 10]);
    file.sync_data().expect("synced");
    disk.sync_dir(root()).expect("synced");
    assert!(file.punch(100, 20_000).expect("punched"), "whole blocks within the range");
    assert_eq!(free(&disk), (32 << 10) + (3 * 4096));
    file.allocate(32 << 10).expect("taken again");
    assert_eq!(free(&disk), 32 << 10);
    assert!(file.punch(4096, 3 * 4096).expect("punched again"));
    let first = |disk: &MemDisk| read(disk, "a").expect("there")[4096];
    let (lost, kept) = (disk.crash(0), disk.crash(1));
    assert_eq!((first(&lost), first(&kept)), (7, 0));
    assert_eq!((free(&lost), free(&kept)), (32 << 10, (32 << 10) + (3 * 4096)));
}
