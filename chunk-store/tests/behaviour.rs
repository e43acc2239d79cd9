//! What the store promises while nothing fails, on a disk in memory and on a real one.

mod support;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use flotilla_chunk_store::{
    BLOCK_BYTES, CHUNK_BYTES_MAX, ChunkInfo, ChunkStore, Error, Kind, Location, Options, READ_BYTES_MAX, REMOVE_MAX,
    Recovery, Stored, Sums,
};
use flotilla_env::disk::{Call, Disk, Fault, FaultyDisk, MemDisk, RealDisk, When};
use support::{
    CLASSES, FILE, VOLUME, bytes, cv_at, get, id, kv, leftovers, list_all, open, open_with, options_with, put,
    put_in_pieces, put_record, put_reserved,
};

fn mem() -> Arc<dyn Disk> {
    Arc::new(MemDisk::new())
}

#[tokio::test]
async fn what_was_put_comes_back_whatever_its_length() {
    let (store, _) = open(&mem()).await;
    let block = BLOCK_BYTES;
    let lengths = [1, 3840, 3841, 4095, 4096, 4097, block - 1, block, block + 1, 3 * block + 5, 1 << 20, (5 << 20) + 7];
    let both = lengths.into_iter().flat_map(|length| CLASSES.map(|reserve| (length, reserve(length))));
    for (seq, (length, reserve)) in (1..).zip(both) {
        let data = bytes(seq, length);
        let stored = put_reserved(&store, id(seq), &data, 100_000, reserve).await.expect("stored");
        let mut sums = Sums::new();
        sums.update(&data);
        let (counted, crc) = sums.finish();
        assert_eq!(stored, Stored { length: counted, crc }, "a gateway computes the same");
        assert_eq!(get(&store, id(seq)).await.expect("read"), data);
        let info = ChunkInfo { length: length as u64, tree_offset: 0, cv: cv_at(0, &data), crc };
        assert_eq!(store.stat(id(seq)).await.expect("there"), info);
        store.verify(id(seq)).await.expect("in order");
    }
}

#[tokio::test]
async fn a_chunk_in_the_middle_of_a_tree_is_verified_at_its_offset() {
    let (store, _) = open(&mem()).await;
    let (offset, data) = (8 << 20, bytes(1, 300_000));
    for (seq, reserve) in [(1, 8 << 20), (2, 300_000)] {
        let mut writer = store.put(id(seq), offset, reserve).await.expect("started");
        writer.write(Bytes::from(data.clone())).await.expect("taken");
        writer.finish(cv_at(offset, &data)).await.expect("stored");
        store.verify(id(seq)).await.expect("in order");
        assert_eq!(store.stat(id(seq)).await.expect("there").tree_offset, offset);
    }
}

#[tokio::test]
async fn a_wrong_hash_is_found_by_verify_alone() {
    let (store, _) = open(&mem()).await;
    for (seq, reserve) in [(1, 10), (2, FILE)] {
        let mut writer = store.put(id(seq), 0, reserve).await.expect("started");
        writer.write(Bytes::from_static(b"0123456789")).await.expect("taken");
        writer.finish([9; 32]).await.expect("stored");
        assert_eq!(store.verify(id(seq)).await.expect_err("not its hash").kind(), Kind::Corrupt);
        assert_eq!(store.read(id(seq), 2..5).await.expect("read"), "234");
    }
}

#[tokio::test]
async fn the_largest_chunk_is_taken_and_a_larger_one_refused() {
    let (store, _) = open(&mem()).await;
    let length = CHUNK_BYTES_MAX;
    let piece = Bytes::from(bytes(1, 1 << 20));
    let mut writer = store.put(id(1), 0, length).await.expect("started");
    for _ in 0..64 {
        writer.write(piece.clone()).await.expect("taken");
    }
    let more = writer.write(Bytes::from_static(b"x")).await;
    assert!(matches!(more, Err(Error::Invalid(_))), "{more:?}");
    let whole = piece.repeat(64);
    writer.finish(cv_at(0, &whole)).await.expect("stored");
    store.verify(id(1)).await.expect("in order");
    let last = store.read(id(1), length - 5..length).await.expect("read");
    assert_eq!(last, whole[whole.len() - 5..]);
    assert_eq!(store.put(id(2), 0, length + 1).await.expect_err("too large").kind(), Kind::Invalid);
}

#[tokio::test]
async fn what_can_not_be_is_refused() {
    let (store, _) = open(&mem()).await;
    let invalid = |result: Result<(), Error>| assert_eq!(result.expect_err("refused").kind(), Kind::Invalid);
    invalid(store.put(id(1), 0, 0).await.map(drop));
    invalid(store.put(id(1), 1000, 10).await.map(drop));
    invalid(store.put(id(1), 1024, 2000).await.map(drop));
    invalid(store.put(id(1), 0, 10).await.expect("started").finish([0; 32]).await.map(drop));
    invalid(store.put(id(1), 0, FILE).await.expect("started").finish([0; 32]).await.map(drop));
    let mut short = store.put(id(2), 0, 10).await.expect("started");
    invalid(short.write(Bytes::from_static(b"12345678901")).await);
    invalid(store.remove((0..=REMOVE_MAX as u64).map(id).collect()).await);
    let data = bytes(1, 5 << 20);
    while put(&store, id(1), &data).await.is_err() {
        tokio::task::yield_now().await; // the refused one is being taken away
    }
    let length = data.len() as u64;
    invalid(store.read(id(1), 0..length + 1).await.map(drop));
    invalid(store.read(id(1), 0..READ_BYTES_MAX + 1).await.map(drop));
    #[allow(clippy::reversed_empty_ranges)] // what a caller may get wrong
    invalid(store.read(id(1), 5..4).await.map(drop));
    assert_eq!(store.read(id(1), length..length).await.expect("nothing to read"), "");
    assert_eq!(store.read(id(1), 3..3 + READ_BYTES_MAX).await.expect("read"), data[3..3 + READ_BYTES_MAX as usize]);
}

#[tokio::test]
async fn a_chunk_that_is_here_is_not_written_again() {
    let (store, _) = open(&mem()).await;
    for (seq, reserve) in [(1, 5), (3, FILE)] {
        put_reserved(&store, id(seq), b"first", 5, reserve).await.expect("stored");
        assert!(matches!(store.put(id(seq), 0, reserve).await, Err(Error::Exists(_))));
        let writer = store.put(id(seq + 1), 0, reserve).await.expect("started");
        assert!(matches!(store.put(id(seq + 1), 0, reserve).await, Err(Error::Busy(_))));
        drop(writer);
        assert_eq!(get(&store, id(seq)).await.expect("read"), b"first");
    }
    assert!(
        matches!(store.put(id(1), 0, FILE).await, Err(Error::Exists(_))),
        "a record is here, whatever is asked for"
    );
}

#[tokio::test]
async fn a_dropped_writer_leaves_nothing_behind() {
    let disk = mem();
    let (store, _) = open(&disk).await;
    let free = store.measure().await.expect("measured").free_bytes;
    for written in [0, 10, (1 << 20) + 5, 3 << 20] {
        let mut writer = store.put(id(1), 0, 4 << 20).await.expect("the id is free");
        writer.write(Bytes::from(vec![1; written])).await.expect("taken");
        drop(writer);
        while store.usage().reserved_bytes > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(leftovers(&*disk), Vec::<std::path::PathBuf>::new());
        assert_eq!(store.measure().await.expect("measured").free_bytes, free);
    }
    assert_eq!(store.stat(id(1)).await.expect_err("absent").kind(), Kind::NotFound);
}

#[tokio::test]
async fn removed_chunks_are_gone_and_give_their_space_back() {
    let (store, _) = open(&mem()).await;
    let free = store.usage().free_bytes;
    for seq in 0..3 {
        put(&store, id(seq), &bytes(seq, 10_000)).await.expect("stored");
    }
    assert_eq!(get(&store, id(0)).await.expect("read").len(), 10_000);
    let used = store.usage();
    assert_eq!((used.chunks, used.bytes), (3, 3 * (12_288 + 4096)));
    store.remove(vec![id(0), id(2), id(77)]).await.expect("removed");
    let left = store.usage();
    assert_eq!((left.chunks, left.bytes, free - left.free_bytes), (1, 16_384, 16_384));
    assert_eq!(store.read(id(0), 0..1).await.expect_err("gone").kind(), Kind::NotFound);
    store.remove(vec![id(0)]).await.expect("removed already");
    put(&store, id(0), b"again").await.expect("an id may come back to a node");
    assert_eq!(get(&store, id(0)).await.expect("read"), b"again");
}

#[tokio::test]
async fn a_store_that_drains_takes_nothing_and_is_empty_only_when_all_is_written_and_gone() {
    let (store, _) = open(&mem()).await;
    assert!(store.settled().await);
    for (seq, reserve) in [(1, FILE), (3, 1000)] {
        let mut writer = store.put(id(seq), 0, reserve).await.expect("begun");
        assert!(!store.is_drained(), "it takes chunks");
        store.drain(true);
        assert!(!store.is_drained(), "one is being written");
        assert!(matches!(store.put(id(2), 0, reserve).await, Err(Error::Draining)));
        writer.write(Bytes::from_static(b"abc")).await.expect("written");
        writer.finish(cv_at(0, b"abc")).await.expect("a chunk that was begun is ended");
        assert!(!store.is_drained(), "it lies here");
        store.remove(vec![id(seq)]).await.expect("removed");
        assert!(store.is_drained());
        store.drain(false);
        assert!(!store.is_drained());
    }
}

#[tokio::test]
async fn space_reserved_beyond_the_end_is_given_back() {
    let (store, _) = open(&mem()).await;
    let free = store.usage().free_bytes;
    let mut writer = store.put(id(1), 0, 8 << 20).await.expect("started");
    assert_eq!(free - store.usage().free_bytes, (8 << 20) + 4096);
    writer.write(Bytes::from_static(b"short")).await.expect("taken");
    writer.finish(cv_at(0, b"short")).await.expect("stored");
    assert_eq!(free - store.measure().await.expect("measured").free_bytes, 8192);
}

#[tokio::test]
async fn an_inventory_lists_every_chunk_once_in_pages_of_any_size() {
    let (store, _) = open(&mem()).await;
    let mut all: Vec<_> = (0..300).map(|n| id(n * 11)).collect();
    for id in &all {
        put_reserved(&store, *id, b"x", 1, if id.seq % 2 == 0 { 1 } else { FILE }).await.expect("stored");
    }
    all.sort();
    for limit in [1, 7, 100, 300, 5000] {
        let mut listed = list_all(&store, limit).await;
        listed.sort();
        assert_eq!(listed, all, "pages of {limit}");
    }
    let page = store.list(None, 50).await.expect("listed");
    store.remove(vec![page[49]]).await.expect("removed");
    let next = store.list(Some(page[49]), 5000).await.expect("a page may end on a chunk that went");
    assert_eq!(next.len(), 250);
}

#[tokio::test]
async fn a_restart_reads_no_file_and_counts_all_of_them_behind_the_start() {
    let mem = MemDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    let (store, first) = open(&disk).await;
    assert_eq!((first, store.usage().chunks, store.usage().bytes), (Recovery::default(), 0, 0));
    put(&store, id(1), &bytes(1, 100_000)).await.expect("stored");
    put(&store, id(2), b"x").await.expect("stored");
    std::mem::forget(store.put(id(3), 0, FILE).await.expect("started")); // as if the process were killed
    assert_eq!(leftovers(&*disk).len(), 1);
    let watched = FaultyDisk::new(disk.clone());
    watched.on(Call::Read, When::From(1), Fault::Io);
    let shared: Arc<dyn Disk> = Arc::new(watched.clone());
    let (store, _) = open(&shared).await;
    assert_eq!((watched.calls(Call::Read), watched.calls(Call::ReadNowait)), (0, 0));
    assert_eq!((store.usage().chunks, store.usage().bytes), (2, 102_400 + 4096 + 8192));
    assert_eq!(leftovers(&*disk).len(), 0);
    watched.heal();
    assert_eq!(get(&store, id(1)).await.expect("read"), bytes(1, 100_000));
}

#[tokio::test]
async fn a_restart_finds_records_and_reads_again_only_what_came_after_the_mark() {
    let (disk, kv) = (mem(), kv());
    let (store, _) = open_with(options_with(&disk, kv.clone())).await;
    for seq in 0..200 {
        put_record(&store, id(seq), &bytes(seq, 10_000)).await.expect("stored");
    }
    store.remove(vec![id(0), id(7)]).await.expect("removed");
    let before = store.usage();
    drop(store);
    let (store, found) = open_with(options_with(&disk, kv.clone())).await;
    assert_eq!((found.volume_chunks, found.rescanned_records), (198, 0), "the index knows all of them");
    assert!(found.rescanned_bytes < VOLUME, "the rest of one volume, however many there are: {found:?}");
    let after = store.usage();
    assert_eq!((after.chunks, after.bytes), (before.chunks, before.bytes));
    assert_eq!(list_all(&store, 50).await.len(), 198);
    drop(store);
    // The database of another folder, or none: the volumes tell all.
    let (store, found) = open_with(options_with(&disk, support::kv())).await;
    assert_eq!(found.volume_chunks, 198, "{found:?}");
    for seq in (1..200).filter(|seq| *seq != 7) {
        assert_eq!(get(&store, id(seq)).await.expect("read"), bytes(seq, 10_000));
    }
}

#[tokio::test]
async fn early_writeback_is_started_while_a_large_chunk_is_streamed() {
    let disk = FaultyDisk::new(mem());
    let (store, _) = open(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).await;
    put_in_pieces(&store, id(1), &bytes(1, 8 << 20), 300_000).await.expect("stored");
    assert_eq!(disk.calls(Call::Writeback), 3, "every two megabytes, but not for what the sync finds anyway");
    assert_eq!((disk.calls(Call::Allocate), disk.calls(Call::SyncData)), (1, 1));
}

#[tokio::test]
async fn a_read_that_would_wait_goes_on_elsewhere() {
    let disk = FaultyDisk::new(mem());
    let (store, _) = open(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).await;
    let data = bytes(1, 200_000);
    for (seq, reserve) in [(1, FILE), (2, 200_000)] {
        put_reserved(&store, id(seq), &data, 100_000, reserve).await.expect("stored");
        let before = disk.calls(Call::ReadNowait);
        disk.on(Call::ReadNowait, When::Nth(1), Fault::WouldBlock);
        disk.on(Call::ReadNowait, When::Nth(2), Fault::Short(70_000));
        for _ in 0..3 {
            assert_eq!(store.read(id(seq), 1000..150_000).await.expect("read"), data[1000..150_000]);
        }
        assert_eq!(disk.calls(Call::ReadNowait) - before, 3);
        disk.heal();
    }
}

#[tokio::test]
async fn a_real_disk_keeps_what_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let dir = folder.path().join("node/data");
    let options = || Options::new(dir.clone(), Arc::new(RealDisk), kv(), 0);
    let (store, _) = ChunkStore::open(options()).await.expect("opened");
    let data = bytes(1, (3 << 20) + 11);
    let puts = (0..8).map(|seq| {
        let (store, data) = (store.clone(), data.clone());
        tokio::spawn(async move { put(&store, id(seq), &data).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.expect("no panic").expect("stored");
    }
    let place: Location = store.locate(id(3)).await.expect("there");
    let file = std::fs::read(&place.path).expect("readable");
    assert_eq!((place.file_offset, place.length), (0, data.len() as u64));
    assert_eq!(file[..data.len()], data);
    let usage = store.usage();
    assert!(usage.free_bytes > 0 && usage.total_bytes > usage.free_bytes && !usage.poisoned, "{usage:?}");
    assert_eq!((usage.chunks, usage.bytes, usage.reserved_bytes), (8, 8 * file.len() as u64, 0));
    drop(store);
    let (store, _) = ChunkStore::open(options()).await.expect("opened again");
    assert!(store.settled().await);
    assert_eq!(store.usage().chunks, 8);
    assert_eq!(get(&store, id(7)).await.expect("read"), data);
    store.verify(id(7)).await.expect("in order");
    store.remove((0..8).map(id).collect()).await.expect("removed");
    assert!(!place.path.exists());
}

#[tokio::test]
async fn a_whole_file_is_pinned_by_its_hash() {
    let disk = mem();
    let (store, _) = open(&disk).await;
    let data = bytes(42, 70_000);
    put(&store, id(5), &data).await.expect("stored");
    let place = store.locate(id(5)).await.expect("there");
    assert!(place.path.starts_with(Path::new(support::DIR).join("chunks")));
    let file = disk.open(&place.path).expect("opened");
    let mut all = vec![0; usize::try_from(file.length().expect("length")).expect("small")];
    file.read_at(0, &mut all).expect("read");
    assert_eq!(all.len(), 73_728 + 4096);
    assert_eq!(
        blake3::hash(&all).to_hex().as_str(),
        "d0993b7a272653715caeaca75384bbb844ac0ae094381a3716b371198279b165"
    );
}
