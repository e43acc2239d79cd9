//! Reads that the metadata vouches for: no damage, exchange or forgery gives a wrong byte, and a damaged copy is not offered again.

mod support;

use std::{io::IoSlice, path::PathBuf, sync::Arc};

use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_chunk_store::{ChunkStore, Depth, Error, Facts, Flaw, Kind};
use flotilla_env::disk::{Call, Disk, Fault, FaultyDisk, MemDisk, When};
use support::{bytes, cv_at, id, open, put};

const LENGTH: usize = 5_000_000;

fn facts(data: &[u8]) -> Facts {
    Facts { length: data.len() as u64, tree_offset: 0, cv: cv_at(0, data) }
}

async fn read(store: &ChunkStore, id: ChunkId, data: &[u8], depth: Depth) -> Result<Bytes, Error> {
    store.read_as(id, &facts(data), 0..100_000, depth).await
}

async fn path_of(store: &ChunkStore, id: ChunkId) -> PathBuf {
    store.locate(id).await.expect("there").path
}

#[track_caller]
fn assert_flaw(result: Result<Bytes, Error>, flaw: Flaw) {
    match result {
        Err(Error::Corrupt { flaw: found, .. }) => assert_eq!(found, flaw),
        other => panic!("{flaw:?} expected, not {:?}", other.map(|bytes| bytes.len())),
    }
}

/// Puts other bytes under the hash of `data`: a copy whose checksums agree with each other.
async fn forge(disk: &Arc<dyn Disk>, data: &[u8]) {
    let (store, _) = open(disk).await;
    let mut writer = store.put(id(1), 0, data.len() as u64).await.expect("started");
    writer.write(Bytes::from(bytes(99, data.len()))).await.expect("written");
    writer.finish(cv_at(0, data)).await.expect("stored");
}

#[tokio::test]
async fn a_forged_copy_with_checksums_in_order_is_found_by_a_deep_read() {
    for length in [10_000, LENGTH] {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let data = bytes(1, length);
        forge(&disk, &data).await;
        let (store, _) = open(&disk).await;
        let range = 0..10_000.min(length as u64);
        store.read_as(id(1), &facts(&data), range.clone(), Depth::Blocks).await.expect("the control: checksums agree");
        let deep = store.read_as(id(1), &facts(&data), range.clone(), Depth::Whole).await;
        assert_flaw(deep, Flaw::Contents);
        let after = store.read_as(id(1), &facts(&data), range, Depth::Blocks).await;
        assert_flaw(after, Flaw::Contents);
        assert_eq!(store.corrupt(10), [id(1)]);
    }
}

#[tokio::test]
async fn a_proof_does_not_cover_another_file_under_the_same_name() {
    let (ours, theirs): (Arc<dyn Disk>, Arc<dyn Disk>) = (Arc::new(MemDisk::new()), Arc::new(MemDisk::new()));
    let data = bytes(1, LENGTH);
    forge(&theirs, &data).await;
    let (store, _) = open(&ours).await;
    put(&store, id(1), &data).await.expect("stored, and proven by that");
    let path = path_of(&store, id(1)).await;
    let forged = theirs.open(&path).expect("there");
    let mut contents = vec![0; usize::try_from(forged.length().expect("length")).expect("short")];
    forged.read_at(0, &mut contents).expect("read");
    ours.open_rw(&path).expect("opened").write_at(0, &[IoSlice::new(&contents)]).expect("planted");
    let read = store.read_as(id(1), &facts(&data), 0..10_000, Depth::Whole).await;
    assert_flaw(read, Flaw::Contents);
}

#[tokio::test]
async fn a_copy_of_another_length_place_or_hash_is_not_this_chunk() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let data = bytes(1, 200_000);
    let good = facts(&data);
    for wrong in
        [Facts { length: 199_999, ..good }, Facts { tree_offset: 1 << 20, ..good }, Facts { cv: [7; 32], ..good }]
    {
        let (store, _) = open(&disk).await;
        if store.stat(id(1)).await.is_err() {
            put(&store, id(1), &data).await.expect("stored");
        }
        store.read_as(id(1), &good, 0..10, Depth::Blocks).await.expect("the control");
        assert_flaw(store.read_as(id(1), &wrong, 0..10, Depth::Blocks).await, Flaw::Facts);
    }
}

#[tokio::test]
async fn exchanged_zeroed_and_cut_copies_are_found_at_both_depths() {
    for depth in [Depth::Blocks, Depth::Whole] {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let data: Vec<Vec<u8>> = (0..5).map(|n| bytes(n, LENGTH)).collect();
        let (store, _) = open(&disk).await;
        for (n, data) in data.iter().enumerate() {
            put(&store, id(n as u64), data).await.expect("stored");
        }
        let mut paths = Vec::new();
        for n in 0..5 {
            paths.push(path_of(&store, id(n)).await);
        }
        drop(store);
        let away = paths[0].with_extension("away");
        disk.rename(&paths[0], &away).expect("exchanged");
        disk.rename(&paths[1], &paths[0]).expect("exchanged");
        disk.rename(&away, &paths[1]).expect("exchanged");
        let file = disk.open_rw(&paths[2]).expect("opened");
        let length = usize::try_from(file.length().expect("length")).expect("short");
        file.write_at(0, &[IoSlice::new(&vec![0; length])]).expect("zeroed");
        disk.open_rw(&paths[3]).expect("opened").set_len(1_000_000).expect("cut");
        let (store, _) = open(&disk).await;
        let wanted = [Flaw::OtherChunk(id(1)), Flaw::OtherChunk(id(0)), Flaw::Header, Flaw::Length];
        for (n, flaw) in wanted.into_iter().enumerate() {
            assert_flaw(read(&store, id(n as u64), &data[n], depth).await, flaw);
        }
        assert_eq!(read(&store, id(4), &data[4], depth).await.expect("the control"), data[4][..100_000]);
        assert_eq!(store.corrupt(10).len(), 4);
    }
}

#[tokio::test]
async fn a_deep_read_gives_no_byte_of_a_copy_that_is_damaged_elsewhere() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let data = bytes(1, LENGTH);
    let (store, _) = open(&disk).await;
    put(&store, id(1), &data).await.expect("stored");
    let path = path_of(&store, id(1)).await;
    drop(store);
    let file = disk.open_rw(&path).expect("opened");
    file.write_at(LENGTH as u64 - 1, &[IoSlice::new(&[data[LENGTH - 1] ^ 1])]).expect("flipped");
    let (store, _) = open(&disk).await;
    assert_eq!(read(&store, id(1), &data, Depth::Blocks).await.expect("its blocks are good"), data[..100_000]);
    assert_flaw(read(&store, id(1), &data, Depth::Whole).await, Flaw::Block(76));
}

#[tokio::test]
async fn a_damaged_copy_is_not_offered_again_until_it_is_written_anew() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let data = bytes(1, 200_000);
    let (store, _) = open(&disk).await;
    put(&store, id(1), &data).await.expect("stored");
    let file = disk.open_rw(&path_of(&store, id(1)).await).expect("opened");
    file.write_at(0, &[IoSlice::new(&[data[0] ^ 1])]).expect("flipped");
    assert_flaw(read(&store, id(1), &data, Depth::Blocks).await, Flaw::Block(0));
    file.write_at(0, &[IoSlice::new(&[data[0]])]).expect("flipped back");
    assert_flaw(read(&store, id(1), &data, Depth::Blocks).await, Flaw::Block(0));
    store.remove(vec![id(1)]).await.expect("removed");
    assert_eq!(store.corrupt(10), []);
    put(&store, id(1), &data).await.expect("stored");
    assert_eq!(read(&store, id(1), &data, Depth::Whole).await.expect("new"), data[..100_000]);
}

#[tokio::test]
async fn damage_that_a_second_look_does_not_find_is_no_damage() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let (store, _) = open(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).await;
    let data = bytes(1, 200_000);
    put(&store, id(1), &data).await.expect("stored");
    disk.on(Call::ReadNowait, When::From(1), Fault::WouldBlock);
    disk.on(Call::Read, When::Nth(2), Fault::FlipBit(77)); // the first one reads the header
    assert_eq!(read(&store, id(1), &data, Depth::Blocks).await.expect("good"), data[..100_000]);
    assert_eq!(store.corrupt(10), []);
    disk.on(Call::Read, When::From(1), Fault::FlipBit(77));
    assert_eq!(read(&store, id(1), &data, Depth::Blocks).await.expect_err("bad").kind(), Kind::Corrupt);
}

#[tokio::test]
async fn readers_that_come_together_share_one_proof() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let data = bytes(1, LENGTH);
    let (store, _) = open(&shared).await;
    put(&store, id(1), &data).await.expect("stored");
    let (store, _) = open(&shared).await;
    // Three openings, a proof of five megabytes and three reads are eleven reads; a second proof would meet the fault.
    disk.on(Call::Read, When::From(12), Fault::Io);
    let reads = futures_of(&store, &data).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
}

async fn futures_of(store: &ChunkStore, data: &[u8]) -> Vec<Result<usize, Error>> {
    let one = || async { read(store, id(1), data, Depth::Whole).await.map(|bytes| bytes.len()) };
    let (a, b, c) = tokio::join!(one(), one(), one());
    vec![a, b, c]
}
