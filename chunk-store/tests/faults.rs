//! What the store does when the disk fails: damage is found, a full disk is survived, a failed sync ends all writing.

mod support;

use std::{io::IoSlice, path::PathBuf, sync::Arc};

use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_chunk_store::{ChunkStore, Error, Flaw, Kind};
use flotilla_env::disk::{Call, Disk, Fault, FaultyDisk, MemDisk, When};
use support::{DIR, FILE, bytes, get, id, leftovers, open, options, put};

fn faulty() -> (FaultyDisk, Arc<dyn Disk>) {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    (disk.clone(), Arc::new(disk))
}

fn flaw<T: std::fmt::Debug>(result: Result<T, Error>) -> Flaw {
    match result {
        Err(Error::Corrupt { flaw, .. }) => flaw,
        other => panic!("corrupt expected, not {other:?}"),
    }
}

async fn path_of(store: &ChunkStore, id: ChunkId) -> PathBuf {
    store.locate(id).await.expect("there").path
}

#[tokio::test]
async fn every_flipped_bit_of_data_and_trailer_is_found() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (store, _) = open(&disk).await;
    let data = bytes(1, 66_000);
    put(&store, id(1), &data).await.expect("stored");
    let path = path_of(&store, id(1)).await;
    let file = disk.open_rw(&path).expect("opened");
    let end = file.length().expect("length");
    let zeros = |at: u64| (66_000..69_632).contains(&at) || (69_632 + 8..end - 128).contains(&at);
    let places = (0..end).step_by(331).chain(69_632..69_640).chain(end - 128..end);
    for at in places.filter(|at| !zeros(*at)) {
        let mut byte = [0];
        file.read_at(at, &mut byte).expect("read");
        file.write_at(at, &[IoSlice::new(&[byte[0] ^ (1 << (at % 8))])]).expect("flipped");
        let found = flaw(store.verify(id(1)).await);
        match at {
            0..65_536 => assert_eq!(found, Flaw::Block(0), "byte {at}"),
            65_536..66_000 => assert_eq!(found, Flaw::Block(1), "byte {at}"),
            66_000..69_640 => assert_eq!(found, Flaw::Sums, "byte {at}"),
            _ => assert_eq!(found, Flaw::Header, "byte {at}"),
        }
        let read = store.read(id(1), 0..66_000).await;
        assert_eq!(read.expect_err("no wrong byte is served").kind(), Kind::Corrupt, "byte {at}");
        file.write_at(at, &[IoSlice::new(&byte)]).expect("mended");
    }
    assert_eq!(get(&store, id(1)).await.expect("mended"), data);
}

#[tokio::test]
async fn damage_costs_only_the_blocks_that_have_it() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (store, _) = open(&disk).await;
    let data = bytes(1, 200_000);
    put(&store, id(1), &data).await.expect("stored");
    let path = path_of(&store, id(1)).await;
    disk.open_rw(&path).expect("opened").write_at(100_000, &[IoSlice::new(b"damage")]).expect("damaged");
    assert_eq!(store.read(id(1), 0..65_536).await.expect("whole"), data[..65_536]);
    assert_eq!(store.read(id(1), 131_072..200_000).await.expect("whole"), data[131_072..]);
    assert_eq!(flaw(store.read(id(1), 65_000..66_000).await), Flaw::Block(1));
    assert_eq!(flaw(store.read(id(1), 131_071..131_073).await), Flaw::Block(1));
}

#[tokio::test]
async fn a_truncated_emptied_or_extended_chunk_is_corrupt() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    for cut in [0, 1, 4096, 8192, 60_000, 102_400, 106_495, 106_497, 110_592, 1 << 40] {
        let (store, _) = open(&disk).await;
        put(&store, id(1), &bytes(1, 100_000)).await.expect("stored");
        let path = path_of(&store, id(1)).await;
        drop(store);
        let length = disk.open(&path).expect("opened").length().expect("length");
        assert_eq!(length, 106_496);
        if cut < 1 << 30 {
            disk.open_rw(&path).expect("opened").set_len(cut).expect("cut");
        }
        let (store, _) = open(&disk).await;
        match cut {
            0..1_000_000 => {
                assert_eq!(store.stat(id(1)).await.expect_err("corrupt").kind(), Kind::Corrupt, "cut to {cut}");
                assert_eq!(store.verify(id(1)).await.expect_err("corrupt").kind(), Kind::Corrupt, "cut to {cut}");
            }
            _ => store.verify(id(1)).await.expect("the control: uncut"),
        }
        store.remove(vec![id(1)]).await.expect("a corrupt chunk can be removed");
        assert_eq!((store.usage().chunks, store.usage().bytes), (0, 0));
    }
}

#[tokio::test]
async fn a_chunk_cut_while_it_is_open_is_corrupt() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (store, _) = open(&disk).await;
    put(&store, id(1), &bytes(1, 100_000)).await.expect("stored");
    assert_eq!(get(&store, id(1)).await.expect("read").len(), 100_000);
    disk.open_rw(&path_of(&store, id(1)).await).expect("opened").set_len(70_000).expect("cut");
    assert_eq!(store.read(id(1), 0..10).await.expect("before the cut").len(), 10);
    assert_eq!(flaw(store.read(id(1), 0..100_000).await), Flaw::Length);
}

#[tokio::test]
async fn a_swapped_chunk_is_corrupt() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (store, _) = open(&disk).await;
    put(&store, id(1), &bytes(1, 5000)).await.expect("stored");
    put(&store, id(2), &bytes(2, 5000)).await.expect("stored");
    let (one, two) = (path_of(&store, id(1)).await, path_of(&store, id(2)).await);
    assert_eq!(get(&store, id(1)).await.expect("read, and kept open"), bytes(1, 5000));
    disk.rename(&two, &one).expect("swapped");
    assert_eq!(flaw(store.verify(id(1)).await), Flaw::OtherChunk(id(2)));
    assert_eq!(flaw(store.read(id(1), 0..1).await), Flaw::OtherChunk(id(2)));
    assert_eq!(store.verify(id(2)).await.expect_err("gone").kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_device_that_can_not_read_a_chunk_makes_it_corrupt() {
    let (disk, shared) = faulty();
    let (store, _) = open(&shared).await;
    put(&store, id(1), &bytes(1, 5000)).await.expect("stored");
    disk.on(Call::ReadNowait, When::From(1), Fault::Io);
    disk.on(Call::Read, When::From(1), Fault::Io);
    assert_eq!(flaw(store.read(id(1), 0..10).await), Flaw::Unreadable);
    assert_eq!(flaw(store.verify(id(1)).await), Flaw::Unreadable);
    assert!(!store.usage().poisoned, "a failed read leaves the store to writers");
    disk.heal();
    disk.on(Call::Read, When::Nth(2), Fault::FlipBit(100));
    assert_eq!(flaw(store.verify(id(1)).await), Flaw::Block(0));
    store.verify(id(1)).await.expect("it was the way, not the copy");
}

#[tokio::test]
async fn a_full_disk_is_refused_at_the_reservation() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::with_space(40 << 20));
    let mut options = options(&disk);
    options.reserve_free_bytes = 10 << 20;
    let (store, _) = ChunkStore::open(options).await.expect("opened");
    assert!(!store.usage().full);
    let first = store.put(id(1), 0, 15 << 20).await.expect("fits");
    assert_eq!(store.usage().reserved_bytes, (15 << 20) + 4096);
    let second = store.put(id(2), 0, 15 << 20).await;
    assert_eq!(second.expect_err("would eat into the reserve").kind(), Kind::Full);
    let third = store.put(id(3), 0, 8 << 20).await.expect("fits");
    let usage = store.usage();
    assert!(usage.full && !usage.poisoned, "{usage:?}");
    drop((first, third));
    while store.usage().reserved_bytes > 0 {
        tokio::task::yield_now().await;
    }
    assert!(!store.measure().await.expect("measured").full, "space that was freed counts at once");
    store.put(id(2), 0, 15 << 20).await.expect("fits now");
}

#[tokio::test]
async fn a_disk_that_fills_up_on_the_way_costs_one_chunk_and_no_more() {
    for call in [Call::Create, Call::Allocate, Call::Write, Call::SetLen, Call::SyncData, Call::Rename] {
        let (disk, shared) = faulty();
        let (store, _) = open(&shared).await;
        put(&store, id(1), b"before").await.expect("stored");
        disk.on(call, When::Nth(1), Fault::Full);
        let result = async {
            let mut writer = store.put(id(2), 0, FILE).await?;
            writer.write(Bytes::from_static(b"short")).await?;
            writer.finish([0; 32]).await
        };
        assert_eq!(result.await.expect_err("full").kind(), Kind::Full, "{call:?}");
        assert!(!store.usage().poisoned, "{call:?}");
        assert_eq!(leftovers(&*shared), Vec::<PathBuf>::new(), "{call:?}");
        assert_eq!(store.usage().reserved_bytes, 0, "{call:?}");
        put(&store, id(2), b"after").await.expect("stored");
        assert_eq!(get(&store, id(1)).await.expect("read"), b"before");
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_while_a_batch_is_written_ends_the_writer() {
    let (disk, shared) = faulty();
    let (store, _) = open(&shared).await;
    let mut writer = store.put(id(1), 0, 8 << 20).await.expect("started");
    disk.on(Call::Write, When::Nth(2), Fault::Full);
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.push(writer.write(Bytes::from(vec![1; 1 << 20])).await.map_err(|error| error.kind()));
    }
    kinds.push(writer.finish([0; 32]).await.map(drop).map_err(|error| error.kind()));
    let (gone, full) = (Err(Kind::Unavailable), Err(Kind::Full));
    assert_eq!(kinds, [Ok(()), Ok(()), full, gone, gone, gone]);
    assert_eq!(leftovers(&*shared), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_failed_write_or_sync_poisons_the_store_until_the_disk_is_accepted() {
    let faults = [
        (Call::Write, Fault::Io),
        (Call::Write, Fault::Short(1000)),
        (Call::Writeback, Fault::Io),
        (Call::SetLen, Fault::Io),
        (Call::SyncData, Fault::Io),
        (Call::Rename, Fault::Io),
        (Call::SyncDir, Fault::Io),
        (Call::SyncDir, Fault::Full),
    ];
    for (call, fault) in faults {
        let (disk, shared) = faulty();
        let (store, _) = open(&shared).await;
        put(&store, id(1), b"before").await.expect("stored");
        let other = store.put(id(3), 0, FILE).await.expect("started");
        disk.on(call, When::Nth(1), fault.clone());
        let result = async {
            let mut writer = store.put(id(2), 0, 8 << 20).await?;
            for _ in 0..3 {
                writer.write(Bytes::from(vec![1; 1 << 20])).await?;
            }
            writer.finish([0; 32]).await
        };
        assert!(matches!(result.await, Err(Error::Poisoned)), "{call:?} {fault:?}");
        assert!(store.usage().poisoned, "{call:?}");
        assert!(matches!(store.put(id(4), 0, 1).await, Err(Error::Poisoned)), "{call:?}");
        assert!(matches!(store.remove(vec![id(1)]).await, Err(Error::Poisoned)), "{call:?}");
        assert!(matches!(finish_with(other, b"late").await, Err(Error::Poisoned)), "no ack after a failed sync");
        assert_eq!(get(&store, id(1)).await.expect("reads go on"), b"before", "{call:?}");
        drop(store);
        let marked = ChunkStore::open(options(&shared)).await.expect_err("refused");
        assert!(matches!(&marked, Error::Marked(path) if path.ends_with("chunks.poisoned")), "{call:?}: {marked}");
        ChunkStore::accept(DIR.into(), shared.clone()).await.expect("accepted");
        let (store, _) = open(&shared).await;
        assert_eq!(get(&store, id(1)).await.expect("read"), b"before", "{call:?}");
        match store.stat(id(2)).await {
            Ok(_) => assert_eq!(get(&store, id(2)).await.expect("whole"), vec![1; 3 << 20]),
            Err(error) => assert_eq!(error.kind(), Kind::NotFound, "{call:?}"),
        }
        ChunkStore::accept(DIR.into(), shared).await.expect("nothing to accept is fine");
    }
}

async fn finish_with(mut writer: flotilla_chunk_store::Writer, data: &'static [u8]) -> Result<(), Error> {
    writer.write(Bytes::from_static(data)).await?;
    writer.finish([0; 32]).await.map(drop)
}

#[tokio::test]
async fn the_marker_survives_a_power_cut() {
    let mem = MemDisk::new();
    let disk = FaultyDisk::new(Arc::new(mem.clone()));
    let (store, _) = open(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).await;
    disk.on(Call::SyncData, When::Nth(1), Fault::Io);
    assert!(put(&store, id(1), b"x").await.is_err());
    let after: Arc<dyn Disk> = Arc::new(mem.crash(0));
    assert!(matches!(ChunkStore::open(options(&after)).await, Err(Error::Marked(_))));
}

#[tokio::test]
async fn a_failed_sync_at_the_start_poisons_too() {
    let (disk, shared) = faulty();
    disk.on(Call::SyncDir, When::Nth(30), Fault::Io);
    assert!(matches!(ChunkStore::open(options(&shared)).await, Err(Error::Poisoned)));
    assert!(matches!(ChunkStore::open(options(&shared)).await, Err(Error::Marked(_))), "the second sync would lie");
}
