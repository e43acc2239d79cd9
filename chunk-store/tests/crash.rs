//! The power goes at every step of putting and removing, with torn sectors and lost names, and acked chunks are all there.
//!
//! Two controls prove that the test can fail: a disk that skips the sync of data, and one that skips the sync of folders.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_chunk_store::{ChunkStore, Error, Kind};
use flotilla_env::disk::{Call, Disk, Fault, FaultyDisk, MemDisk, When};
use support::{FILE, bytes, get, id, leftovers, list_all, open, options, put};

/// Seeds 0 and 1 lose and keep everything unsynced, the others mix.
const SEEDS: std::ops::Range<u64> = 0..8;

/// More steps than the work below takes; reaching it means that the work never ends.
const STEPS_MAX: u64 = 500;

/// What was asked of the store, and what it answered.
#[derive(Default)]
struct Journal {
    tried: BTreeMap<ChunkId, Vec<u8>>,
    acked: BTreeSet<ChunkId>,
    removing: BTreeSet<ChunkId>,
}

impl Journal {
    fn data(&mut self, seq: u64, length: usize) -> Vec<u8> {
        self.tried.insert(id(seq), bytes(seq, length));
        bytes(seq, length)
    }

    async fn put(&mut self, store: &ChunkStore, seq: u64, length: usize) -> Result<(), Error> {
        let data = self.data(seq, length);
        put(store, id(seq), &data).await?;
        self.acked.insert(id(seq));
        Ok(())
    }

    /// Puts, puts side by side on the same and on another shelf, gives up, removes, puts again.
    async fn work(&mut self, store: &ChunkStore) -> Result<(), Error> {
        self.put(store, 1, 150_000).await?;
        let (two, three, four) = (self.data(2, 70_000), self.data(3, 5000), self.data(1000, 1));
        let results = tokio::join!(put(store, id(2), &two), put(store, id(3), &three), put(store, id(1000), &four));
        for (seq, result) in [(2, &results.0), (3, &results.1), (1000, &results.2)] {
            if result.is_ok() {
                self.acked.insert(id(seq));
            }
        }
        results.0.and(results.1).and(results.2)?;
        let mut given_up = store.put(id(4), 0, FILE).await?;
        self.data(4, 100_000);
        given_up.write(Bytes::from(bytes(4, 50_000))).await?;
        drop(given_up);
        self.removing.insert(id(1));
        store.remove(vec![id(1)]).await?;
        self.put(store, 5, 1_200_000).await
    }

    /// Checks a disk as the next start finds it.
    async fn check(&self, after: MemDisk) -> Result<(), String> {
        let disk: Arc<dyn Disk> = Arc::new(after.clone());
        let (store, _) = ChunkStore::open(options(&disk)).await.map_err(|error| error.to_string())?;
        assert!(store.settled().await, "no folder fails here");
        let mut there = BTreeSet::new();
        for (id, data) in &self.tried {
            let must_be_there = self.acked.contains(id) && !self.removing.contains(id);
            match get(&store, *id).await {
                Ok(read) if read != *data => return Err(format!("{id} has other bytes")),
                Ok(_) => {
                    store.verify(*id).await.map_err(|error| error.to_string())?;
                    there.insert(*id);
                }
                Err(error) if error.kind() == Kind::NotFound && !must_be_there => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let listed: BTreeSet<_> = list_all(&store, 2).await.into_iter().collect();
        if listed != there || store.usage().chunks != there.len() as u64 || !leftovers(&*disk).is_empty() {
            return Err(format!("listed {listed:?}, found {there:?}, {:?}", store.usage()));
        }
        // What is seen after a start is synced: no second power cut takes it away.
        let (store, _) = open(&(Arc::new(after.crash(0)) as Arc<dyn Disk>)).await;
        let again: BTreeSet<_> = list_all(&store, 100).await.into_iter().collect();
        if again != there {
            return Err(format!("{there:?} were seen, {again:?} are left"));
        }
        for (id, data) in &self.tried {
            if !there.contains(id) {
                put(&store, *id, data).await.map_err(|error| format!("can't be put again: {error}"))?;
            }
        }
        Ok(())
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// Cuts the power at each step of the work in turn, and gives the first broken promise.
fn cut_everywhere(fault: impl Fn(&FaultyDisk)) -> Result<u64, String> {
    for step in 0..STEPS_MAX {
        let mem = MemDisk::new();
        let (journal, finished) = run(async {
            let disk = FaultyDisk::new(Arc::new(mem.clone()));
            let (store, _) = open(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).await;
            fault(&disk);
            mem.stop_after(step);
            let mut journal = Journal::default();
            let finished = journal.work(&store).await.is_ok();
            (journal, finished)
        });
        for seed in SEEDS {
            let checked = run(journal.check(mem.crash(seed)));
            checked.map_err(|broken| format!("power cut at step {step}, seed {seed}: {broken}"))?;
        }
        if finished {
            return Ok(step);
        }
    }
    Err(format!("not finished after {STEPS_MAX} steps"))
}

#[test]
fn acked_chunks_survive_a_power_cut_at_every_step() {
    let steps = cut_everywhere(|_| {}).expect("every promise is kept");
    assert!(steps > 30, "the work has more steps than {steps}");
}

#[test]
fn a_disk_that_skips_data_syncs_breaks_the_promise() {
    let broken = cut_everywhere(|disk| disk.on(Call::SyncData, When::From(1), Fault::Skip));
    let broken = broken.expect_err("the control must fail");
    assert!(broken.contains("is corrupt"), "{broken}");
}

#[test]
fn a_disk_that_skips_directory_syncs_breaks_the_promise() {
    let broken = cut_everywhere(|disk| disk.on(Call::SyncDir, When::From(1), Fault::Skip));
    let broken = broken.expect_err("the control must fail");
    assert!(broken.contains("is not here"), "{broken}");
}

#[test]
fn a_store_that_lost_power_while_it_was_first_opened_opens_again() {
    for step in (0..220).step_by(3) {
        let mem = MemDisk::new();
        mem.stop_after(step);
        let disk: Arc<dyn Disk> = Arc::new(mem.clone());
        let opened = run(ChunkStore::open(options(&disk))).is_ok();
        for seed in [0, 1, 2, 3] {
            let after: Arc<dyn Disk> = Arc::new(mem.crash(seed));
            run(async {
                let (store, _) = open(&after).await;
                put(&store, id(1), b"x").await.expect("stored");
            });
        }
        if opened {
            return;
        }
    }
    panic!("opening takes more steps than tried");
}

#[test]
fn what_a_start_shows_after_a_killed_process_is_synced() {
    // A kill leaves the page cache: files are as they were, synced or not. Here the process goes at the nth call of a kind.
    let calls = [Call::Write, Call::SetLen, Call::SyncData, Call::Rename, Call::SyncDir, Call::Remove];
    for (call, nth) in calls.into_iter().flat_map(|call| (1..=6).map(move |nth| (call, nth))) {
        let mem = MemDisk::new();
        let disk = FaultyDisk::new(Arc::new(mem.clone()));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        run(async {
            let (store, _) = open(&shared).await;
            disk.on(call, When::From(nth), Fault::Io);
            let mut journal = Journal::default();
            let _ = journal.work(&store).await; // ends in an error, or all the same
            drop(store);
            disk.heal();
            ChunkStore::accept(support::DIR.into(), shared.clone()).await.expect("accepted");
            let (store, _) = open(&shared).await;
            let seen = list_all(&store, 100).await;
            let (store, _) = open(&(Arc::new(mem.crash(0)) as Arc<dyn Disk>)).await;
            assert_eq!(list_all(&store, 100).await, seen, "{call:?} {nth}");
            for id in seen {
                assert_eq!(get(&store, id).await.expect("whole"), journal.tried[&id], "{call:?} {nth}");
            }
        });
    }
}
