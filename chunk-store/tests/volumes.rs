//! Volumes: the power goes at every step of putting, removing and recycling, and what was acked is there; a model of it all.
//!
//! Two controls prove that the crash tests can fail: a disk that skips the syncs of volumes, and a database that skips its own.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use flotilla_api::ChunkId;
use flotilla_chunk_store::{ChunkStore, Error, FAMILIES, Kind};
use flotilla_env::disk::{Call, Disk, Fault, FaultyDisk, MemDisk, When};
use flotilla_kv::{Batch, Family, Kv, MemKv, Row, SyncDone, View};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use support::{bytes, get, id, list_all, open_with, options_with, put_record};

/// A database on the same machine as a disk: the power goes for both, at any step of either.
struct Machine {
    disk: MemDisk,
    kv: MemKv,
    /// Whether syncs do nothing and claim success.
    lies: AtomicBool,
}

impl Machine {
    fn new() -> Arc<Self> {
        let families: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        Arc::new(Self { disk: MemDisk::new(), kv: MemKv::inline(&families), lies: AtomicBool::new(false) })
    }

    /// Gives what a power cut leaves: of unsynced sectors what the seed says, of unsynced batches a prefix.
    fn crash(&self, seed: u64) -> (Arc<dyn Disk>, Arc<dyn Kv>) {
        let kept = match seed {
            0 => 0,
            1 => usize::MAX,
            _ => usize::try_from(seed).expect("small"),
        };
        (Arc::new(self.disk.crash(seed)), Arc::new(self.kv.crash_keeping(kept)))
    }

    /// Counts a step of the database as one of the disk.
    fn step(&self) -> Result<(), flotilla_kv::Error> {
        self.disk.create_dir_all(std::path::Path::new("/")).map_err(|_| flotilla_kv::Error::Poisoned)
    }
}

impl View for Machine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, flotilla_kv::Error> {
        self.kv.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, flotilla_kv::Error> {
        self.kv.scan(family, from, to, limit)
    }

    fn last(&self, family: Family) -> Result<Option<Row>, flotilla_kv::Error> {
        self.kv.last(family)
    }
}

impl Kv for Machine {
    fn write(&self, batch: Batch) -> Result<(), flotilla_kv::Error> {
        self.step()?;
        self.kv.write(batch)
    }

    fn sync_then(&self, done: SyncDone) {
        match self.step() {
            Ok(()) if self.lies.load(Ordering::SeqCst) => done(Ok(())),
            Ok(()) => self.kv.sync_then(done),
            Err(error) => done(Err(error)),
        }
    }

    fn drop_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<(), flotilla_kv::Error> {
        self.kv.drop_range(family, from, to)
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        self.kv.snapshot()
    }

    fn syncs(&self) -> u64 {
        self.kv.syncs()
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// What was asked of the store, and what it answered.
#[derive(Default)]
struct Journal {
    tried: BTreeMap<ChunkId, Vec<u8>>,
    acked: BTreeSet<ChunkId>,
    removing: BTreeSet<ChunkId>,
}

impl Journal {
    /// Puts side by side, so that they share syncs; stops at the first that fails.
    async fn put(&mut self, store: &ChunkStore, seqs: impl Iterator<Item = u64>, length: usize) -> Result<(), Error> {
        let data: Vec<_> = seqs.map(|seq| (id(seq), bytes(seq, length))).collect();
        self.tried.extend(data.iter().cloned());
        let puts: Vec<_> = data
            .into_iter()
            .map(|(id, data)| {
                let store = store.clone();
                tokio::spawn(async move { put_record(&store, id, &data).await.map(|_| id) })
            })
            .collect();
        let mut result = Ok(());
        for put in puts {
            match put.await.expect("no panic") {
                Ok(id) => drop(self.acked.insert(id)),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    async fn remove(&mut self, store: &ChunkStore, seqs: impl Iterator<Item = u64>) -> Result<(), Error> {
        let ids: Vec<_> = seqs.map(id).collect();
        self.removing.extend(&ids);
        store.remove(ids).await
    }

    /// Checks what the next start finds.
    async fn check(&self, disk: Arc<dyn Disk>, kv: Arc<dyn Kv>) -> Result<(), String> {
        let opened = ChunkStore::open(options_with(&disk, kv.clone())).await;
        let (store, _) = opened.map_err(|error| format!("not opened: {error}"))?;
        let mut there = BTreeSet::new();
        for (id, data) in &self.tried {
            let must_be_there = self.acked.contains(id) && !self.removing.contains(id);
            match get(&store, *id).await {
                Ok(read) if read != *data => return Err(format!("{id} has other bytes")),
                Ok(_) => drop(there.insert(*id)),
                Err(error) if error.kind() == Kind::NotFound && !must_be_there => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let listed: BTreeSet<_> = list_all(&store, 4096).await.into_iter().collect();
        let counted = store.usage().volumes.chunks;
        if listed != there || counted != there.len() as u64 {
            return Err(format!("{} are listed, {} there, {counted} counted", listed.len(), there.len()));
        }
        Ok(())
    }
}

/// Does the work with the power going at each `stride`-th step in turn, and gives the first broken promise, or the steps.
fn cut_everywhere(
    stride: usize,
    seeds: &[u64],
    prepare: impl AsyncFn(&mut Journal, &ChunkStore) -> Result<(), Error>,
    work: impl AsyncFn(&mut Journal, &ChunkStore) -> Result<(), Error>,
    fault: impl Fn(&FaultyDisk, &Machine),
) -> Result<u64, String> {
    for step in (0..).step_by(stride) {
        let machine = Machine::new();
        let (journal, finished) = run(async {
            let disk = FaultyDisk::new(Arc::new(machine.disk.clone()));
            fault(&disk, &machine);
            let shared: Arc<dyn Disk> = Arc::new(disk);
            let (store, _) = open_with(options_with(&shared, machine.clone())).await;
            let mut journal = Journal::default();
            prepare(&mut journal, &store).await.expect("nothing fails yet");
            machine.kv.sync_then(Box::new(|result| result.expect("synced")));
            machine.disk.stop_after(step);
            let finished = work(&mut journal, &store).await.is_ok();
            (journal, finished)
        });
        for seed in seeds {
            let (disk, kv) = machine.crash(*seed);
            let checked = run(journal.check(disk, kv));
            checked.map_err(|broken| format!("power cut at step {step}, seed {seed}: {broken}"))?;
        }
        if finished {
            return Ok(step);
        }
    }
    unreachable!("the work ends")
}

async fn nothing(_: &mut Journal, _: &ChunkStore) -> Result<(), Error> {
    Ok(())
}

/// Puts of all sizes, alone and together, removals, and puts again, over more than one volume.
async fn puts_and_removals(journal: &mut Journal, store: &ChunkStore) -> Result<(), Error> {
    journal.put(store, 0..1, 5000).await?;
    journal.put(store, 1..8, 10_000).await?;
    journal.put(store, 8..9, 1 << 20).await?;
    journal.remove(store, (0..3).chain(8..9)).await?;
    journal.put(store, 9..11, 400_000).await?;
    journal.remove(store, 9..10).await?;
    journal.put(store, 11..12, 70_000).await
}

/// A thousand live records with nine hundred between them that are about to die, over several volumes.
async fn half_dead(journal: &mut Journal, store: &ChunkStore) -> Result<(), Error> {
    for group in 0..10 {
        journal.put(store, group * 100..(group + 1) * 100, 1000).await?;
        journal.put(store, DEAD + group * 90..DEAD + (group + 1) * 90, 1000).await?;
    }
    journal.put(store, 2000..2001, 1 << 20).await // seals what came before
}

const DEAD: u64 = 10_000;

async fn recycle(journal: &mut Journal, store: &ChunkStore) -> Result<(), Error> {
    journal.remove(store, DEAD..DEAD + 900).await?;
    store.compact().await?;
    // These write over what was freed.
    for seq in 3000..3004 {
        journal.put(store, seq..seq + 1, 1 << 20).await?;
        store.compact().await?; // the keeper is at rest, and the next volume prepared
    }
    Ok(())
}

#[test]
fn acked_records_survive_a_power_cut_at_every_step() {
    let steps = cut_everywhere(1, &[0, 1, 2, 3, 4], nothing, puts_and_removals, |_, _| {});
    assert!(steps.expect("every promise is kept") > 20);
}

#[test]
fn a_power_cut_at_every_step_of_recycling_with_a_thousand_live_records_loses_nothing_acked() {
    let steps = cut_everywhere(1, &[0, 1, 5], half_dead, recycle, |_, _| {});
    assert!(steps.expect("every promise is kept") > 20);
}

#[test]
fn what_is_acked_after_a_write_that_found_no_space_is_found_by_the_next_start() {
    // The first write of a volume carries its header too.
    for before in [0, 1] {
        let machine = Machine::new();
        let journal = run(async {
            let disk = FaultyDisk::new(Arc::new(machine.disk.clone()));
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let (store, _) = open_with(options_with(&shared, machine.clone())).await;
            let mut journal = Journal::default();
            journal.put(&store, 0..before, 5000).await.expect("stored");
            disk.on(Call::Write, When::Nth(1), Fault::Full);
            let refused = journal.put(&store, 1..2, 5000).await.expect_err("no space");
            assert_eq!(refused.kind(), Kind::Full);
            journal.put(&store, 2..3, 5000).await.expect("stored");
            journal
        });
        let (disk, kv) = machine.crash(0);
        assert_eq!(run(journal.check(disk, kv)), Ok(()), "{before} records before");
    }
}

#[test]
fn a_disk_that_skips_data_syncs_breaks_the_promise() {
    let lie = |disk: &FaultyDisk, _: &Machine| disk.on(Call::SyncData, When::From(1), Fault::Skip);
    cut_everywhere(1, &[0, 1, 2], nothing, puts_and_removals, lie).expect_err("the control must fail");
}

#[test]
fn a_database_that_skips_its_syncs_breaks_the_promise_of_recycling() {
    let lie = |_: &FaultyDisk, machine: &Machine| machine.lies.store(true, Ordering::SeqCst);
    cut_everywhere(5, &[0], half_dead, recycle, lie).expect_err("the control must fail");
}

#[derive(Debug, Clone)]
enum Step {
    Put(u64, usize),
    Remove(Vec<u64>),
    Compact,
    Restart,
    PowerCut(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![1usize..20_000, 1usize..200_000, Just(1 << 20)];
    let step = prop_oneof![
        8 => (0u64..40, length).prop_map(|(seq, length)| Step::Put(seq, length)),
        4 => prop::collection::vec(0u64..40, 1..10).prop_map(Step::Remove),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..40)
}

use proptest::prelude::Just;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn volumes_hold_what_a_map_holds(steps in steps()) {
        let (model, found, usage) = run(async {
            let mut machine = MemDisk::new();
            let mut memory = Arc::new(MemKv::new(&FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>()));
            let open = async |disk: &MemDisk, kv: &Arc<MemKv>| {
                open_with(options_with(&(Arc::new(disk.clone()) as Arc<dyn Disk>), kv.clone())).await.0
            };
            let mut store = open(&machine, &memory).await;
            let mut model = BTreeMap::new();
            for (number, step) in (0u64..).zip(steps) {
                match step {
                    Step::Put(seq, length) if !model.contains_key(&id(seq)) => {
                        let data = bytes(seq + 100 * number, length);
                        put_record(&store, id(seq), &data).await.expect("stored");
                        model.insert(id(seq), data);
                    }
                    Step::Put(seq, length) => {
                        let again = put_record(&store, id(seq), &vec![0; length]).await;
                        assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
                    }
                    Step::Remove(seqs) => {
                        store.remove(seqs.iter().map(|seq| id(*seq)).collect()).await.expect("removed");
                        seqs.iter().for_each(|seq| drop(model.remove(&id(*seq))));
                    }
                    Step::Compact => drop(store.compact().await.expect("compacted")),
                    Step::Restart => {
                        drop(store);
                        store = open(&machine, &memory).await;
                    }
                    Step::PowerCut(seed) => {
                        machine = machine.crash(seed);
                        memory = Arc::new(memory.crash_keeping(usize::try_from(seed % 7).expect("small")));
                        drop(store);
                        store = open(&machine, &memory).await;
                    }
                }
            }
            let mut found = BTreeMap::new();
            for id in list_all(&store, 7).await {
                store.verify(id).await.expect("in order");
                found.insert(id, get(&store, id).await.expect("read"));
            }
            (model, found, store.usage())
        });
        prop_assert_eq!(usage.chunks, model.len() as u64);
        prop_assert_eq!(found, model);
    }
}
