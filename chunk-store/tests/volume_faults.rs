//! Volumes under faults: syncs that are shared or fail, full disks, damage, and what is done with space that was given back.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use flotilla_chunk_store::{ChunkStore, Error, Flaw, Kind, Options};
use flotilla_env::disk::{Call, Disk, Fault, FaultyDisk, MemDisk, When};
use support::{VOLUME, bytes, get, id, kv, open_with, options_with, put_record};

fn faulty() -> (FaultyDisk, Arc<dyn Disk>) {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    (disk.clone(), Arc::new(disk))
}

#[tokio::test]
async fn puts_that_wait_for_a_sync_share_the_next_one() {
    let (disk, shared) = faulty();
    let (store, _) = open_with(options_with(&shared, kv())).await;
    put_record(&store, id(0), b"opens a volume").await.expect("stored");
    let gate = flotilla_env::disk::Gate::closed();
    disk.on(Call::SyncData, When::From(1), Fault::Stall(gate.clone()));
    let first = tokio::spawn({
        let store = store.clone();
        async move { put_record(&store, id(1), b"first").await }
    });
    let held = gate.clone();
    tokio::task::spawn_blocking(move || held.await_waiting(1)).await.expect("no panic");
    let mut others = Vec::new();
    for seq in 2..=64 {
        let store = store.clone();
        others.push(Box::pin(async move { put_record(&store, id(seq), b"other").await }));
        // Asked once, so that it waits for its answer before the gate opens.
        assert!(futures_poll(others.last_mut().expect("just added")).await.is_none());
    }
    let before = disk.calls(Call::SyncData);
    gate.open();
    first.await.expect("no panic").expect("stored");
    for other in others {
        other.await.expect("stored");
    }
    // The keeper may be filling the next volume, which is synced once.
    assert!(disk.calls(Call::SyncData) - before <= 2, "63 records share one sync");
}

/// Polls a future once.
async fn futures_poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn a_failed_write_or_sync_of_a_volume_poisons_the_store() {
    for (call, fault) in [(Call::Write, Fault::Io), (Call::Write, Fault::Short(5000)), (Call::SyncData, Fault::Io)] {
        let (disk, shared) = faulty();
        let kv = kv();
        let (store, _) = open_with(options_with(&shared, kv.clone())).await;
        put_record(&store, id(1), b"before").await.expect("stored");
        let other = store.put(id(3), 0, 10).await.expect("started");
        disk.on(call, When::From(1), fault.clone());
        assert!(matches!(put_record(&store, id(2), &bytes(2, 9000)).await, Err(Error::Poisoned)), "{call:?}");
        assert!(store.usage().poisoned);
        let mut other = other;
        let late = async {
            other.write(Bytes::from_static(b"late")).await?;
            other.finish([0; 32]).await
        };
        assert!(matches!(late.await, Err(Error::Poisoned)), "no ack after a failed sync");
        assert!(matches!(store.remove(vec![id(1)]).await, Err(Error::Poisoned)), "{call:?}");
        assert_eq!(get(&store, id(1)).await.expect("reads go on"), b"before");
        drop(store);
        disk.heal();
        let marked = ChunkStore::open(options_with(&shared, kv.clone())).await;
        match marked {
            Err(Error::Marked(_)) => ChunkStore::accept(support::DIR.into(), shared.clone()).await.expect("accepted"),
            // The marker could not be written either.
            other => drop(other.expect("opened")),
        }
        let (store, _) = open_with(options_with(&shared, kv)).await;
        assert_eq!(get(&store, id(1)).await.expect("read"), b"before");
    }
}

#[tokio::test]
async fn a_full_disk_is_refused_at_the_reservation_and_takes_removals() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::with_space(4 * VOLUME));
    let options = Options { reserve_free_bytes: VOLUME, ..options_with(&disk, kv()) };
    let (store, _) = open_with(options).await;
    let data = bytes(1, 1 << 20);
    let mut stored = 0;
    let full = loop {
        match put_record(&store, id(stored), &data).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), Kind::Full);
    assert!((2..=4).contains(&stored), "{stored}");
    assert!(!store.usage().poisoned);
    store.remove((0..stored).map(id).collect()).await.expect("a removal has room");
    store.compact().await.expect("compacted");
    put_record(&store, id(77), &data).await.expect("there is room again");
}

#[tokio::test]
async fn damage_is_found_and_a_range_checks_only_its_blocks() {
    let (disk, shared) = faulty();
    let (store, _) = open_with(options_with(&shared, kv())).await;
    let data = bytes(1, 300_000);
    put_record(&store, id(1), &data).await.expect("stored");
    let place = store.locate(id(1)).await.expect("there");
    assert_eq!((place.file_offset % 4096, place.length), (256, 300_000));
    let file = shared.open_rw(&place.path).expect("opened");
    let mut byte = [0];
    let flip = |at: u64, byte: &mut [u8; 1]| {
        file.read_at(at, byte).expect("read");
        file.write_at(at, &[std::io::IoSlice::new(&[byte[0] ^ 4])]).expect("flipped");
    };
    flip(place.file_offset + 200_000, &mut byte);
    let flaw = |error: Error| match error {
        Error::Corrupt { flaw, .. } => flaw,
        other => panic!("corrupt expected, not {other}"),
    };
    assert_eq!(flaw(store.verify(id(1)).await.expect_err("damaged")), Flaw::Block(3));
    assert_eq!(flaw(store.read(id(1), 150_000..300_000).await.expect_err("damaged")), Flaw::Block(3));
    assert_eq!(store.read(id(1), 1000..150_000).await.expect("read"), data[1000..150_000]);
    assert_eq!(store.read(id(1), 270_000..300_000).await.expect("read"), data[270_000..]);
    flip(place.file_offset + 200_000, &mut byte);
    flip(place.file_offset - 256 + 60, &mut byte);
    assert_eq!(flaw(store.read(id(1), 0..10).await.expect_err("damaged")), Flaw::Header);
    flip(place.file_offset - 256 + 60, &mut byte);
    assert_eq!(get(&store, id(1)).await.expect("mended"), data);
    disk.on(Call::ReadNowait, When::From(1), Fault::Io);
    disk.on(Call::Read, When::From(1), Fault::Io);
    assert_eq!(flaw(store.read(id(1), 0..10).await.expect_err("unreadable")), Flaw::Unreadable);
}

#[tokio::test]
async fn a_start_reads_the_tail_past_the_cache() {
    let mem = MemDisk::new();
    let first: Arc<dyn Disk> = Arc::new(mem.clone());
    let (store, _) = open_with(options_with(&first, kv())).await;
    put_record(&store, id(1), &bytes(1, 10_000)).await.expect("stored");
    drop(store);
    // The cache shows pages that the device does not have: here, wrong ones. The database knows nothing of the record.
    let disk = FaultyDisk::new(Arc::new(mem));
    disk.on(Call::Read, When::From(1), Fault::FlipBit(0));
    let (store, found) = open_with(options_with(&(Arc::new(disk.clone()) as Arc<dyn Disk>), kv())).await;
    assert_eq!((found.rescanned_records, store.usage().chunks), (1, 1));
    assert_eq!(disk.calls(Call::Read), 0);
}

#[tokio::test]
async fn removed_space_is_punched_compacted_and_used_again() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (store, _) = open_with(options_with(&disk, kv())).await;
    for seq in 0..24 {
        put_record(&store, id(seq), &bytes(seq, 200_000)).await.expect("stored");
    }
    let before = store.usage().volumes;
    assert!(before.sealed >= 3 && before.open == 1 && before.dead_bytes == 0, "{before:?}");
    store.remove(vec![id(1), id(2)]).await.expect("removed");
    while store.usage().volumes.punched_bytes == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.usage().volumes.punched_bytes, 2 * 200_704, "their volume is sealed and mostly alive");
    store.remove((0..24).filter(|seq| seq % 4 != 0).map(id).collect()).await.expect("removed");
    store.compact().await.expect("compacted");
    let after = store.usage().volumes;
    assert_eq!((after.chunks, after.live_bytes), (6, 6 * 200_704));
    assert!(after.sealed < before.sealed && after.free <= 3, "{after:?}");
    for seq in (0..24).step_by(4) {
        assert_eq!(get(&store, id(seq)).await.expect("moved"), bytes(seq, 200_000));
        store.verify(id(seq)).await.expect("in order");
    }
    for seq in 100..124 {
        put_record(&store, id(seq), &bytes(seq, 200_000)).await.expect("stored in a volume that was used before");
    }
    for seq in (0..24).step_by(4).chain(100..124) {
        assert_eq!(get(&store, id(seq)).await.expect("read"), bytes(seq, 200_000));
    }
}
