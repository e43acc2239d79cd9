//! How puts share directory syncs, seen from inside, where it can be told who waits for a round.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use flotilla_api::WriterId;
use flotilla_env::disk::{Call, Fault, FaultyDisk, Gate, MemDisk, When};
use flotilla_kv::MemKv;

use super::*;
use crate::{FAMILIES, Options, Stored, names::shelf_of};

/// What makes a chunk a file.
const FILE: u64 = RECORD_BYTES_MAX + 1;

fn id(seq: u64) -> ChunkId {
    ChunkId { writer: WriterId(1), seq }
}

async fn open(disk: &FaultyDisk) -> ChunkStore {
    let kv = MemKv::new(&FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>());
    let store =
        ChunkStore::open(Options::new("/data", Arc::new(disk.clone()), Arc::new(kv), 0)).await.expect("opened").0;
    assert!(store.settled().await);
    store
}

async fn put(store: ChunkStore, id: ChunkId) -> Result<Stored, Error> {
    let mut writer = store.put(id, 0, FILE).await?;
    writer.write(Bytes::from_static(b"abc")).await?;
    writer.finish([0; 32]).await
}

/// Waits, without a clock, until so many wait for the next round of the shelf that ids 0 to 31 share.
async fn await_waiting(store: &ChunkStore, count: usize) {
    while store.0.lanes[usize::from(shelf_of(id(0)))].waiting() < count {
        tokio::task::yield_now().await;
    }
}

/// A store whose directory syncs stall, with one put in the middle of the first round.
async fn stalled() -> (FaultyDisk, ChunkStore, Arc<Gate>, tokio::task::JoinHandle<Result<Stored, Error>>) {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let store = open(&disk).await;
    let gate = Gate::closed();
    disk.on(Call::SyncDir, When::From(1), Fault::Stall(gate.clone()));
    let first = tokio::spawn(put(store.clone(), id(0)));
    let held = gate.clone();
    tokio::task::spawn_blocking(move || held.await_waiting(1)).await.expect("no panic");
    (disk, store, gate, first)
}

#[tokio::test]
async fn puts_that_come_during_a_round_share_the_next_one() {
    let (disk, store, gate, first) = stalled().await;
    let before = disk.calls(Call::SyncDir);
    let others: Vec<_> = (1..=20).map(|seq| tokio::spawn(put(store.clone(), id(seq)))).collect();
    await_waiting(&store, 20).await;
    gate.open();
    first.await.expect("no panic").expect("stored");
    for other in others {
        other.await.expect("no panic").expect("stored");
    }
    assert_eq!(disk.calls(Call::SyncDir) - before, 1, "twenty renames, one directory sync");
    assert_eq!(store.usage().chunks, 21);
}

#[tokio::test]
async fn a_chunk_is_not_acked_by_a_round_that_began_before_its_rename() {
    let (disk, store, gate, first) = stalled().await;
    let before = disk.calls(Call::SyncDir);
    let second = tokio::spawn(put(store.clone(), id(1)));
    await_waiting(&store, 1).await;
    disk.heal();
    disk.on(Call::SyncDir, When::From(1), Fault::Io);
    gate.open();
    first.await.expect("no panic").expect("its round had begun");
    let second = second.await.expect("no panic");
    assert!(matches!(second, Err(Error::Poisoned)), "its round is the one that failed: {second:?}");
    assert_eq!(disk.calls(Call::SyncDir) - before, 2, "its round, and one for the marker");
}

#[tokio::test]
async fn a_chunk_is_invisible_until_its_name_is_synced() {
    let (_, store, gate, first) = stalled().await;
    assert!(matches!(store.stat(id(0)).await, Err(Error::NotFound(_))));
    assert!(matches!(store.read(id(0), 0..1).await, Err(Error::NotFound(_))));
    assert!(matches!(store.verify(id(0)).await, Err(Error::NotFound(_))));
    assert!(matches!(store.put(id(0), 0, FILE).await, Err(Error::Busy(_))));
    assert!(matches!(store.remove(vec![id(0)]).await, Err(Error::Busy(_))));
    assert_eq!(store.list(None, 10).await.expect("listed"), []);
    assert_eq!((store.usage().chunks, store.usage().reserved_bytes), (0, format::file_length(FILE)));
    gate.open();
    first.await.expect("no panic").expect("stored");
    assert_eq!(store.stat(id(0)).await.expect("visible").length, 3);
    assert_eq!(store.list(None, 10).await.expect("listed"), [id(0)]);
    assert_eq!((store.usage().chunks, store.usage().reserved_bytes), (1, 0));
}

#[tokio::test]
async fn a_dropped_finish_leaves_a_whole_chunk_that_becomes_visible_once_synced() {
    let (_, store, gate, first) = stalled().await;
    first.abort();
    assert!(first.await.expect_err("aborted").is_cancelled());
    assert!(store.0.claims.holds(id(0)));
    gate.open();
    while store.0.claims.holds(id(0)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.read(id(0), 0..3).await.expect("whole"), "abc");
    assert_eq!(store.usage().chunks, 1);
}

#[tokio::test]
async fn a_failed_directory_sync_keeps_the_chunk_invisible() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let store = open(&disk).await;
    disk.on(Call::SyncDir, When::Nth(1), Fault::Io);
    assert!(matches!(put(store.clone(), id(0)).await, Err(Error::Poisoned)));
    assert!(disk.open(&store.0.names.chunk(id(0))).is_ok(), "its file has the name already");
    assert!(matches!(store.stat(id(0)).await, Err(Error::NotFound(_))), "but nobody may count on it");
}

#[tokio::test]
async fn too_many_writers_are_refused() {
    let store = open(&FaultyDisk::new(Arc::new(MemDisk::new()))).await;
    let mut writers = Vec::new();
    for seq in 0..crate::WRITERS_MAX as u64 {
        writers.push(store.put(id(seq), 0, FILE).await.expect("within the limit"));
    }
    assert!(matches!(store.put(id(9999), 0, FILE).await, Err(Error::Overloaded)));
    drop(writers.pop());
    while let Err(error) = store.put(id(9999), 0, FILE).await {
        assert!(matches!(error, Error::Overloaded), "until the dropped one is gone: {error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_writer_collects_no_more_than_its_bounds() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let store = open(&disk).await;
    let mut writer = store.put(id(1), 0, 8 << 20).await.expect("started");
    let gate = Gate::closed();
    disk.on(Call::Write, When::From(1), Fault::Stall(gate.clone()));
    writer.write(Bytes::from(vec![0; crate::BATCH_BYTES])).await.expect("goes to the disk, which stalls");
    writer.write(Bytes::from(vec![0; crate::BATCH_BYTES - 1])).await.expect("collected meanwhile");
    let mut third = Box::pin(writer.write(Bytes::from(vec![0; 1])));
    tokio::select! {
        biased;
        result = &mut third => panic!("the disk is two batches behind: {result:?}"),
        () = tokio::task::yield_now() => {}
    }
    gate.open();
    third.await.expect("taken");
}

#[tokio::test]
async fn small_pieces_are_collected_into_few_writes() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let store = open(&disk).await;
    let mut writer = store.put(id(1), 0, 3 << 20).await.expect("started");
    for _ in 0..3 << 10 {
        writer.write(Bytes::from(vec![7; 1 << 10])).await.expect("taken");
    }
    let _ = writer.finish([0; 32]).await.expect("stored");
    assert_eq!(disk.calls(Call::Write), 3, "what follows the data goes with the last batch");
}

#[test]
fn the_marker_lies_beside_the_chunks() {
    assert_eq!(Names::new("/data".into()).marker(), Path::new("/data/chunks.poisoned"));
}
