//! openraft's own suite on both databases, and what a crash leaves of the log.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use flotilla_env::disk::MemDisk;
use flotilla_kv::{MemKv, RocksKv, View};
use openraft::{
    EntryPayload, RaftLogReader, StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tokio::sync::watch;

use super::*;
use crate::{
    families,
    snapshot::Snapshots,
    store::{
        rules::Typed,
        state_machine::{Applied, StateMachine},
        types::{Proposal, log_id},
    },
    tests::{cluster::family_names, counter::Counter},
};

/// Builds stores for openraft's suite over what `make` makes.
struct Stores<F> {
    make: F,
    disk: MemDisk,
}

impl<F, G> StoreBuilder<Types, LogStore, StateMachine, G> for Stores<F>
where
    F: Fn() -> (G, Arc<dyn Kv>) + Send + Sync,
    G: Send + Sync,
{
    async fn build(&self) -> Result<(G, LogStore, StateMachine), StorageError<Types>> {
        let (guard, kv) = (self.make)();
        // One folder for all: the suite installs what another store has built.
        let snapshots = Snapshots::open(Arc::new(self.disk.clone()), PathBuf::from("/snapshots"), 1 << 20).unwrap();
        let applied = Applied {
            index: watch::Sender::new(0),
            catching_up: watch::Sender::new(false),
            installs: AtomicU64::new(0),
            on_panic: Box::new(|| {}),
        };
        let rules = Arc::new(Typed(Arc::new(Counter)));
        let machine = StateMachine::open(kv.clone(), rules, snapshots, Arc::new(applied)).unwrap();
        Ok((guard, LogStore::open(kv).unwrap(), machine))
    }
}

#[tokio::test(start_paused = true)]
async fn openraft_suite_passes_in_memory() {
    let make = || ((), Arc::new(MemKv::new(&family_names())) as Arc<dyn Kv>);
    Suite::test_all(Stores { make, disk: MemDisk::new() }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn openraft_suite_passes_on_rocksdb() {
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let options = flotilla_kv::Options::new(dir.path(), &families::<Counter>());
        let kv = RocksKv::open(options).unwrap();
        (dir, kv as Arc<dyn Kv>)
    };
    Suite::test_all(Stores { make, disk: MemDisk::new() }).await.unwrap();
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = EntryPayload::Normal(Proposal(format!("{term}-{index}").into_bytes().into()));
    Entry { log_id: log_id(term, index), payload }
}

/// Appends entries and waits until they are durable.
async fn append(log: &mut LogStore, entries: impl IntoIterator<Item = Entry> + Send) -> io::Result<()> {
    let (done, wait) = tokio::sync::oneshot::channel();
    let entries: Vec<Entry> = entries.into_iter().collect();
    log.append(entries, IOFlushed::signal(openraft_oneshot(done))).await?;
    wait.await.unwrap()
}

/// openraft wraps tokio's channel; this gives its sender's end through its own trait.
fn openraft_oneshot(
    done: tokio::sync::oneshot::Sender<io::Result<()>>,
) -> openraft::alias::OneshotSenderOf<Types, io::Result<()>> {
    use openraft::type_config::TypeConfigExt;
    let (sender, receiver) = Types::oneshot();
    tokio::spawn(async move { done.send(receiver.await.unwrap()) });
    sender
}

async fn indexes(log: &mut LogStore) -> Vec<u64> {
    let entries = log.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id.index()).collect()
}

fn memory() -> (Arc<MemKv>, LogStore) {
    let kv = Arc::new(MemKv::inline(&family_names()));
    (kv.clone(), LogStore::open(kv).unwrap())
}

fn after_crash(kv: &MemKv) -> LogStore {
    LogStore::open(Arc::new(kv.crash())).unwrap()
}

#[tokio::test]
async fn saved_vote_survives_a_crash() {
    let (kv, mut log) = memory();
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    let mut log = after_crash(&kv);
    assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), Some(Vote::new(3, 2)));
}

#[tokio::test]
async fn acked_entries_survive_a_crash() {
    let (kv, mut log) = memory();
    append(&mut log, (1..=5).map(|index| entry(1, index))).await.unwrap();
    let mut log = after_crash(&kv);
    assert_eq!(indexes(&mut log).await, [1, 2, 3, 4, 5]);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 5)));
}

#[tokio::test]
async fn truncated_entries_do_not_return_beside_later_ones() {
    let (kv, mut log) = memory();
    append(&mut log, (1..=5).map(|index| entry(1, index))).await.unwrap();
    log.truncate_after(Some(log_id(1, 2))).await.unwrap();
    append(&mut log, [entry(2, 3)]).await.unwrap();
    let mut log = after_crash(&kv);
    let entries = log.get_log_reader().await.try_get_log_entries(0..9).await.unwrap();
    assert_eq!(entries, [entry(1, 1), entry(1, 2), entry(2, 3)]);
}

#[tokio::test]
async fn purge_leaves_no_hole_behind_whenever_the_crash_comes() {
    let (kv, mut log) = memory();
    append(&mut log, (1..=9).map(|index| entry(1, index))).await.unwrap();
    log.purge(log_id(1, 6)).await.unwrap();
    for unsynced in 0..3 {
        let mut log = LogStore::open(Arc::new(kv.crash_keeping(unsynced))).unwrap();
        let state = log.get_log_state().await.unwrap();
        let first = state.last_purged_log_id.map_or(1, |purged| purged.index() + 1);
        assert_eq!(indexes(&mut log).await, (first..=9).collect::<Vec<_>>(), "with {unsynced} unsynced batches");
    }
}

#[tokio::test]
async fn purge_that_a_crash_cut_is_finished_at_the_next_start() {
    let (kv, mut log) = memory();
    append(&mut log, (1..=9).map(|index| entry(1, index))).await.unwrap();
    let mut mark = Batch::default();
    mark.put(keys::META, keys::PURGED, codec::encode_log_id(&log_id(1, 6)));
    kv.write(mark).unwrap();
    let mut log = LogStore::open(kv).unwrap();
    assert_eq!(indexes(&mut log).await, [7, 8, 9]);
}

#[tokio::test]
async fn nothing_is_acked_after_a_failed_sync() {
    let (kv, mut log) = memory();
    append(&mut log, [entry(1, 1)]).await.unwrap();
    kv.fail_next_sync();
    append(&mut log, [entry(1, 2)]).await.unwrap_err();
    append(&mut log, [entry(1, 3)]).await.unwrap_err();
    log.save_vote(&Vote::new(9, 1)).await.unwrap_err();
    let mut log = after_crash(&kv);
    assert_eq!(indexes(&mut log).await, [1]);
}

#[tokio::test]
async fn syncs_complete_in_the_order_of_the_appends() {
    let kv = Arc::new(MemKv::new(&family_names()));
    let mut log = LogStore::open(kv).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waits = Vec::new();
    for index in 1..=50 {
        let (done, wait) = tokio::sync::oneshot::channel();
        let order = order.clone();
        log.append([entry(1, index)], IOFlushed::noop()).await.unwrap();
        log.shared.kv.sync_then(Box::new(move |synced| {
            synced.unwrap();
            lock(&order).push(index);
            done.send(()).unwrap();
        }));
        waits.push(wait);
    }
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(*lock(&order), (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn entries_older_than_the_ring_are_read_from_the_database() {
    let (kv, mut log) = memory();
    append(&mut log, (1..=700).map(|index| entry(1, index))).await.unwrap();
    let mut cold = LogStore::open(kv.clone()).unwrap();
    append(&mut cold, (701..=710).map(|index| entry(1, index))).await.unwrap();
    assert_eq!(indexes(&mut cold).await, (1..=710).collect::<Vec<_>>());
    let mut reader = cold.get_log_reader().await;
    let some = reader.limited_get_log_entries(3, 6).await.unwrap();
    assert_eq!(some, [entry(1, 3), entry(1, 4), entry(1, 5)]);
    let streamed: Vec<_> = {
        use futures::TryStreamExt;
        Box::pin(reader.entries_stream(600..705).await).try_collect().await.unwrap()
    };
    assert_eq!(streamed, (600..705).map(|index| entry(1, index)).collect::<Vec<_>>());
}

#[tokio::test]
async fn hole_in_the_log_is_an_error_and_not_a_shorter_log() {
    let (kv, mut log) = memory();
    append(&mut log, (1..=9).map(|index| entry(1, index))).await.unwrap();
    let mut hole = Batch::default();
    hole.delete(keys::LOG, keys::log_key(5));
    kv.write(hole).unwrap();
    let mut log = LogStore::open(kv.clone()).unwrap();
    let mut reader = log.get_log_reader().await;
    reader.try_get_log_entries(1..9).await.unwrap_err();
    assert!(kv.get(keys::LOG, &keys::log_key(4)).unwrap().is_some());
}
