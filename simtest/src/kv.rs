//! A process's view of its machine's database: it ends with the process, its syncs take their time and are shared, and what is
//! applied is watched.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
};

use flotilla_env::blocking;
use flotilla_kv::{Batch, Error, Family, Kv, MemKv, Op, Row, SyncDone, View};
use tokio::time::Instant;

use crate::{
    disk::{Speed, Syncs},
    lock,
    plan::Plant,
    power::Power,
};

/// Hears of every applied position of a node and what the state is like then.
pub trait Watch: Send + Sync {
    /// The state after the entry `index` has this sum on this node.
    fn applied(&self, index: u64, sum: u128);
}

/// What a process's database needs of its machine.
pub struct Machine {
    /// The process's life.
    pub power: Arc<Power>,
    /// The disk's speed.
    pub speed: Arc<Speed>,
    /// What becomes of syncs.
    pub syncs: Arc<Syncs>,
    /// What is planted here.
    pub plant: Option<Plant>,
    /// Who hears of what is applied.
    pub watch: Arc<dyn Watch>,
}

/// The database of one process.
pub struct ProcessKv(Arc<Inner>);

struct Inner {
    inner: Arc<MemKv>,
    power: Arc<Power>,
    machine: Machine,
    replicated: Vec<Family>,
    state: Mutex<State>,
    waiting: Mutex<Vec<SyncDone>>,
}

/// The sum of all replicated rows, and the position it belongs to.
#[derive(Clone, Copy)]
struct State {
    sum: u128,
    applied: u64,
}

impl ProcessKv {
    /// Gives a process its database.
    #[must_use]
    pub fn new(inner: Arc<MemKv>, machine: Machine, replicated: Vec<Family>) -> Self {
        let state = Mutex::new(State { sum: sum_of(&*inner, &replicated), applied: applied(&*inner) });
        let power = machine.power.clone();
        Self(Arc::new(Inner { inner, power, machine, replicated, state, waiting: Mutex::default() }))
    }
}

impl View for ProcessKv {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.inner.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.0.inner.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        self.0.inner.scan(family, from, to, limit)
    }

    fn last(&self, family: Family) -> Result<Option<Row>, Error> {
        self.0.inner.last(family)
    }
}

impl Kv for ProcessKv {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        if !self.0.power.step() {
            return Err(Error::Closed);
        }
        let state = *lock(&self.0.state);
        let batch = if self.0.machine.plant == Some(Plant::LostRow) { self.0.with_a_loss(batch) } else { batch };
        let sum = self.0.sum_after(state.sum, &batch);
        self.0.inner.write(batch)?;
        let sum = sum.unwrap_or_else(|| sum_of(&*self.0.inner, &self.0.replicated));
        let now = State { sum, applied: applied(&*self.0.inner) };
        *lock(&self.0.state) = now;
        if now.applied != state.applied {
            self.0.machine.watch.applied(now.applied, now.sum);
        }
        Ok(())
    }

    fn sync_then(&self, done: SyncDone) {
        if blocking::is_inside() || tokio::runtime::Handle::try_current().is_err() {
            // Nobody else can run meanwhile.
            blocking::owe(self.0.machine.speed.sync());
            lock(&self.0.waiting).push(done);
            return self.0.sync();
        }
        let mut waiting = lock(&self.0.waiting);
        waiting.push(done);
        if waiting.len() == 1 {
            let shared = self.0.clone();
            tokio::spawn(async move {
                tokio::time::sleep(shared.machine.speed.sync()).await;
                shared.sync();
            });
        }
    }

    fn drop_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<(), Error> {
        if !self.0.power.step() {
            return Err(Error::Closed);
        }
        self.0.inner.drop_range(family, from, to)
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        self.0.inner.snapshot()
    }

    fn syncs(&self) -> u64 {
        self.0.inner.syncs()
    }
}

impl Inner {
    /// Syncs for all that wait.
    fn sync(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        if waiting.is_empty() {
            return;
        }
        let result: Arc<Mutex<Result<(), Error>>> = Arc::new(Mutex::new(Err(Error::Closed)));
        if self.power.step() {
            if self.machine.syncs.fail_next.swap(false, Ordering::SeqCst) {
                lock(&self.machine.syncs.database_failed).get_or_insert(Instant::now());
                if self.machine.plant != Some(Plant::SyncAgain) {
                    self.inner.fail_next_sync();
                }
            }
            let result = result.clone();
            self.inner.sync_then(Box::new(move |synced| *lock(&result) = synced));
        }
        let result = lock(&result).clone();
        for done in waiting {
            done(result.clone());
        }
    }

    /// Leaves a row out of a batch in the middle of the run.
    fn with_a_loss(&self, batch: Batch) -> Batch {
        let mut left = Batch::default();
        let mut lost = !(100..110).contains(&applied(&*self.inner));
        for op in batch.ops() {
            match op {
                Op::Put(family, ..) if !lost && self.replicated.contains(family) => lost = true,
                Op::Put(family, key, value) => drop(left.put(family, key.clone(), value.clone())),
                Op::Delete(family, key) => drop(left.delete(family, key.clone())),
                Op::DeleteRange(family, from, to) => drop(left.delete_range(family, from.clone(), to.clone())),
            }
        }
        left
    }

    /// Gives the sum after a batch; none if it has to be made anew.
    fn sum_after(&self, mut sum: u128, batch: &Batch) -> Option<u128> {
        let mut changed: BTreeMap<(Family, &[u8]), Option<&[u8]>> = BTreeMap::new();
        for op in batch.ops() {
            match op {
                Op::Put(family, key, value) if self.replicated.contains(family) => {
                    changed.insert((family, key), Some(value));
                }
                Op::Delete(family, key) if self.replicated.contains(family) => {
                    changed.insert((family, key), None);
                }
                Op::DeleteRange(family, ..) if self.replicated.contains(family) => return None,
                Op::Put(..) | Op::Delete(..) | Op::DeleteRange(..) => {}
            }
        }
        for ((family, key), value) in changed {
            if let Some(before) = self.inner.get(family, key).ok()? {
                sum = sum.wrapping_sub(row_hash(family, key, &before));
            }
            if let Some(value) = value {
                sum = sum.wrapping_add(row_hash(family, key, value));
            }
        }
        Some(sum)
    }
}

/// Gives the sum of all rows of some families: equal states have equal sums.
pub fn sum_of(view: &dyn View, families: &[Family]) -> u128 {
    let mut sum = 0u128;
    for family in families {
        for (key, value) in view.scan(family, &[], None, usize::MAX).unwrap_or_default() {
            sum = sum.wrapping_add(row_hash(family, &key, &value));
        }
    }
    sum
}

/// Gives the applied position of a database.
pub fn applied(view: &dyn View) -> u64 {
    flotilla_raft_store::applied_index(view).unwrap_or(0)
}

fn row_hash(family: Family, key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for part in [family.as_bytes(), key, value] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash = hasher.finalize();
    u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}
