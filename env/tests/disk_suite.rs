//! One suite of behaviour for every disk: what callers may rely on, whichever they were given.

use std::{
    io::{ErrorKind, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use flotilla_env::disk::{Cause, DIRECT_ALIGN, Disk, DiskFile, FaultyDisk, MemDisk, RealDisk};

/// Runs a behaviour on each disk, in an empty folder.
fn everywhere(check: impl Fn(&dyn Disk, &Path)) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    check(&RealDisk, folder.path());
    let on_mem = |disk: Arc<dyn Disk>| {
        let root = PathBuf::from("/data");
        disk.create_dir_all(&root).expect("made");
        check(&*disk, &root);
    };
    on_mem(Arc::new(MemDisk::new()));
    on_mem(Arc::new(FaultyDisk::new(Arc::new(MemDisk::new()))));
}

fn write(file: &dyn DiskFile, offset: u64, bytes: &[u8]) {
    file.write_at(offset, &[IoSlice::new(bytes)]).expect("written");
}

fn contents(file: &dyn DiskFile) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(file.length().expect("length")).expect("small") + 7];
    let count = file.read_at(0, &mut out).expect("read");
    out.truncate(count);
    out
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn parts_are_written_one_after_the_other() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        file.write_at(3, &[IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")]).expect("written");
        assert_eq!(contents(&*file), b"\0\0\0onetwo");
        file.write_at(4, &[IoSlice::new(b"NE")]).expect("written");
        file.write_at(99, &[]).expect("nothing to write");
        assert_eq!(contents(&*file), b"\0\0\0oNEtwo");
        file.sync_data().expect("synced");
    });
}

#[test]
fn more_parts_than_one_system_call_takes_are_written_whole() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        let bytes: Vec<[u8; 3]> = (0..3000u32).map(|n| [n as u8, (n >> 8) as u8, 7]).collect();
        let parts: Vec<_> = bytes.iter().map(|part| IoSlice::new(part)).collect();
        file.write_at(0, &parts).expect("written");
        assert_eq!(contents(&*file), bytes.concat());
    });
}

#[test]
fn a_read_is_short_only_at_the_end() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        write(&*file, 0, b"0123456789");
        let mut out = [0; 4];
        assert_eq!(file.read_at(2, &mut out).expect("read"), 4);
        assert_eq!(&out, b"2345");
        assert_eq!(file.read_at(8, &mut out).expect("read"), 2);
        assert_eq!(file.read_at(10, &mut out).expect("read"), 0);
        assert_eq!(file.read_at(1 << 40, &mut out).expect("read"), 0);
    });
}

#[test]
fn a_read_without_wait_gives_right_bytes_or_says_that_it_would_wait() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        write(&*file, 0, b"0123456789");
        let mut out = [0; 4];
        match file.read_at_nowait(3, &mut out) {
            Ok(count) => assert_eq!(&out[..count], &b"3456"[..count]),
            Err(error) => assert_eq!(Cause::of(&error), Cause::WouldBlock),
        }
    });
}

#[test]
fn create_refuses_a_taken_name_and_open_a_missing_one() {
    everywhere(|disk, root| {
        let path = root.join("a");
        assert_eq!(kind(disk.open(&path)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open_rw(&path)), Some(ErrorKind::NotFound));
        disk.create(&path).expect("created");
        assert_eq!(kind(disk.create(&path)), Some(ErrorKind::AlreadyExists));
        assert_eq!(kind(disk.create(&root.join("no/where"))), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.sync_dir(&root.join("no"))), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.list(&root.join("no"))), Some(ErrorKind::NotFound));
    });
}

#[test]
fn a_file_opened_for_reading_can_not_be_written() {
    everywhere(|disk, root| {
        let path = root.join("a");
        write(&*disk.create(&path).expect("created"), 0, b"old");
        assert!(disk.open(&path).expect("opened").write_at(0, &[IoSlice::new(b"new")]).is_err());
        let file = disk.open_rw(&path).expect("opened");
        write(&*file, 0, b"new");
        assert_eq!(contents(&*disk.open(&path).expect("opened")), b"new");
    });
}

#[test]
fn a_rename_replaces_its_target_and_open_files_stay_readable() {
    everywhere(|disk, root| {
        let (from, to) = (root.join("from"), root.join("to"));
        write(&*disk.create(&from).expect("created"), 0, b"new");
        write(&*disk.create(&to).expect("created"), 0, b"old");
        let old = disk.open(&to).expect("opened");
        disk.rename(&from, &to).expect("renamed");
        assert_eq!(contents(&*old), b"old");
        assert_eq!(contents(&*disk.open(&to).expect("opened")), b"new");
        assert_eq!(kind(disk.open(&from)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.rename(&from, &to)), Some(ErrorKind::NotFound));
        disk.sync_dir(root).expect("synced");
        disk.remove(&to).expect("removed");
        assert_eq!(kind(disk.remove(&to)), Some(ErrorKind::NotFound));
        assert_eq!(contents(&*old), b"old");
    });
}

#[test]
fn a_list_is_sorted_and_tells_folders_from_files() {
    everywhere(|disk, root| {
        disk.create_dir_all(&root.join("b/deep/er")).expect("made");
        disk.create_dir_all(&root.join("b")).expect("is there already");
        for name in ["c", "a", "b-side", "b/inner"] {
            write(&*disk.create(&root.join(name)).expect("created"), 0, name.as_bytes());
        }
        let entries = disk.list(root).expect("listed");
        let facts: Vec<_> =
            entries.iter().map(|e| (e.path.strip_prefix(root).expect("inside"), e.dir, e.length)).collect();
        let expected = [("a", false, 1), ("b", true, 0), ("b-side", false, 6), ("c", false, 1)];
        assert_eq!(facts, expected.map(|(name, dir, length)| (Path::new(name), dir, length)));
        assert!(disk.create_dir_all(&root.join("a/under")).is_err(), "a file is no folder");
    });
}

#[test]
fn allocation_leaves_the_length_alone_and_set_len_cuts_and_extends() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        file.allocate(0).expect("nothing to reserve");
        file.allocate(1 << 20).expect("reserved");
        assert_eq!(file.length().expect("length"), 0);
        write(&*file, 0, b"0123456789");
        file.start_writeback(0, 10).expect("started");
        file.start_writeback(0, 0).expect("nothing to start");
        file.set_len(4).expect("cut");
        file.set_len(6).expect("extended");
        assert_eq!(contents(&*file), b"0123\0\0");
        file.sync_data().expect("synced");
        file.forget_cached(0, 6).expect("only a hint");
        assert_eq!(contents(&*file), b"0123\0\0");
    });
}

#[test]
fn a_punched_range_reads_as_zeros_and_is_taken_again_by_writes() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        write(&*file, 0, &[7; 5 * 4096]);
        file.sync_data().expect("synced");
        let punched = file.punch(4096, 2 * 4096).expect("punched or told that it can't");
        file.punch(0, 0).expect("nothing to punch");
        let middle = if punched { 0 } else { 7 };
        assert_eq!(contents(&*file), [vec![7; 4096], vec![middle; 8192], vec![7; 8192]].concat());
        write(&*file, 8192, &[9; 4096]);
        file.sync_data().expect("synced");
        let expected = [vec![7; 4096], vec![middle; 4096], vec![9; 4096], vec![7; 8192]].concat();
        assert_eq!(contents(&*file), expected);
    });
}

#[test]
fn a_read_past_the_cache_gives_what_was_written() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        write(&*file, 0, &[1; 4096]);
        write(&*file, 4096, &[2; 5000]);
        let mut out = [0; 8192];
        assert_eq!(file.read_past_cache(4096, &mut out).expect("read"), 5000, "short at the end");
        assert_eq!(out[..5000], [2; 5000]);
        assert_eq!(file.read_past_cache(0, &mut out[..4096]).expect("read"), 4096);
        assert_eq!(out[..4096], [1; 4096]);
    });
}

#[test]
fn space_is_told() {
    everywhere(|disk, root| {
        let space = disk.space(root).expect("space");
        assert!(space.total_bytes >= space.free_bytes && space.free_bytes > 0, "{space:?}");
        assert_eq!(kind(disk.space(&root.join("no"))), Some(ErrorKind::NotFound));
    });
}

/// Gives a run of bytes that starts on a block of the device, in memory that the caller keeps.
fn aligned(memory: &mut Vec<u8>, length: usize) -> &mut [u8] {
    *memory = vec![0; length + DIRECT_ALIGN];
    let start = memory.as_ptr().addr().wrapping_neg() % DIRECT_ALIGN;
    &mut memory[start..][..length]
}

#[test]
fn direct_and_cached_reads_and_writes_see_each_other() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        let (mut memory, mut other) = (Vec::new(), Vec::new());
        let bytes = aligned(&mut memory, 3 * DIRECT_ALIGN);
        bytes.iter_mut().zip(0u32..).for_each(|(byte, n)| *byte = (n / 7) as u8);
        file.allocate(bytes.len() as u64).expect("reserved");
        file.write_direct(DIRECT_ALIGN as u64, &bytes[DIRECT_ALIGN..]).expect("written");
        write(&*file, 0, &bytes[..DIRECT_ALIGN]);
        assert_eq!(contents(&*file), bytes);
        let out = aligned(&mut other, 2 * DIRECT_ALIGN);
        assert_eq!(file.read_direct(0, out).expect("read"), out.len());
        assert_eq!(out, &bytes[..2 * DIRECT_ALIGN]);
        write(&*file, 3 * DIRECT_ALIGN as u64, b"end");
        file.sync_data().expect("synced");
        let reader = disk.open(&root.join("a")).expect("opened");
        assert_eq!(reader.read_direct(2 * DIRECT_ALIGN as u64, out).expect("read"), DIRECT_ALIGN + 3, "up to the end");
        assert_eq!(out[DIRECT_ALIGN..][..3], *b"end");
        assert_eq!(reader.read_direct(8 * DIRECT_ALIGN as u64, out).expect("read"), 0, "beyond the end");
        assert!(reader.write_direct(0, out).is_err(), "opened for reading");
    });
}

#[test]
fn direct_reads_and_writes_that_are_not_aligned_are_refused() {
    everywhere(|disk, root| {
        let file = disk.create(&root.join("a")).expect("created");
        let mut memory = Vec::new();
        let bytes = aligned(&mut memory, 2 * DIRECT_ALIGN);
        let invalid = Some(ErrorKind::InvalidInput);
        assert_eq!(kind(file.write_direct(512, &bytes[..DIRECT_ALIGN])), invalid);
        assert_eq!(kind(file.write_direct(0, &bytes[..100])), invalid);
        assert_eq!(kind(file.write_direct(0, &bytes[8..][..DIRECT_ALIGN])), invalid);
        assert_eq!(kind(file.read_direct(0, &mut bytes[8..][..DIRECT_ALIGN])), invalid);
        assert_eq!(file.length().expect("length"), 0);
    });
}
