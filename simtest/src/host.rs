//! One machine: what it keeps over restarts, and the node that runs on it.

use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use flotilla_api::peer::auth::FleetSecret;
use flotilla_chunk_store::ChunkStore;
use flotilla_cluster_node::{Databases, Error, Node, Seams, Settings, Sizes, audit};
use flotilla_env::{
    Disk, Entropy,
    disk::{Call, Fault, FaultyDisk, MemDisk, When},
    entropy,
    host::{HostStats, Scripted},
};
use flotilla_kv::{Family, Kv, MemKv, Options};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Skewed,
    disk::{ProcessDisk, Speed, Syncs},
    kv::{Machine, ProcessKv, Watch},
    lock,
    net::Net,
    plan::{Plan, Plant},
    power::Power,
};

/// How long a stopped group may take to end; what it does then, nobody sees.
const END_WITHIN: Duration = Duration::from_secs(30);

/// The folder of the node on every machine.
pub const DATA_DIR: &str = "/data";

/// The name of machine `id` as other machines call its node.
#[must_use]
pub fn address(id: u64) -> String {
    format!("10.0.0.{id}:2")
}

/// How a node's process ended.
#[derive(Debug)]
pub enum End {
    /// It was cut, or killed.
    Cut,
    /// It returned.
    Returned(Result<(), Error>),
}

/// What survives of a machine's unsynced writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All of them: only the process ended.
    All,
    /// What the seed says: the machine lost its power.
    Some(u64),
}

/// A machine.
pub struct Host {
    /// Its number; its node's id as well.
    pub id: u64,
    /// Its node's peer address.
    pub name: String,
    /// What its disk holds.
    pub disk: MemDisk,
    /// The speed of its disk.
    pub speed: Arc<Speed>,
    /// Makes its disk fail.
    pub faulty: FaultyDisk,
    /// Whether it is gone with all that it had.
    pub lost: bool,
    databases: Arc<Databank>,
    wall_ahead_ms: u64,
    starts: u64,
    seed: u64,
    up: Option<Up>,
}

/// A process.
struct Up {
    node: Arc<Node>,
    power: Arc<Power>,
    stop: CancellationToken,
    task: JoinHandle<End>,
}

/// The databases of a machine's processes, one after the other.
struct Databank {
    kv: Mutex<Option<Arc<MemKv>>>,
    watch: Arc<dyn Watch>,
    syncs: Arc<Syncs>,
    plant: Option<Plant>,
}

/// A machine's database as one process opens it.
struct Opened {
    machine: Arc<Databank>,
    power: Arc<Power>,
    speed: Arc<Speed>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl Databases for Opened {
    fn open(&self, options: Options) -> Result<Arc<dyn Kv>, flotilla_kv::Error> {
        let families: Vec<Family> = options.families.iter().map(|family| family.name).collect();
        let kv = lock(&self.machine.kv).get_or_insert_with(|| Arc::new(MemKv::inline(&families))).clone();
        let machine = Machine {
            power: self.power.clone(),
            speed: self.speed.clone(),
            syncs: self.machine.syncs.clone(),
            plant: self.machine.plant,
            watch: self.machine.watch.clone(),
        };
        Ok(Arc::new(ProcessKv::new(kv, machine, replicated())))
    }
}

/// The families whose rows are the same on all nodes at the same applied position.
#[must_use]
pub fn replicated() -> Vec<Family> {
    audit::FAMILIES.iter().copied().chain([flotilla_raft_store::RESULTS_FAMILY]).collect()
}

impl Host {
    /// Makes a machine with an empty disk.
    #[must_use]
    pub fn new(id: u64, plan: &Plan, watch: Arc<dyn Watch>) -> Self {
        let disk = MemDisk::new();
        let dir = Path::new(DATA_DIR);
        let made = disk.create_dir_all(dir).and_then(|()| disk.sync_dir(Path::new("/")));
        made.expect("an empty disk takes a folder");
        let faulty = faulty(&disk, plan.plant);
        let plant = plan.plant.filter(|plant| *plant != Plant::LostRow || id == 2);
        let databases = Arc::new(Databank { kv: Mutex::new(None), watch, syncs: Arc::default(), plant });
        let (name, speed, seed) = (address(id), Arc::default(), plan.seed);
        let wall_ahead_ms = plan.wall_ahead_ms.get(id as usize - 1).copied().unwrap_or(0);
        Self { id, name, disk, speed, faulty, lost: false, databases, wall_ahead_ms, starts: 0, seed, up: None }
    }

    /// Whether a process runs here.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.as_ref().is_some_and(|up| !up.power.is_off() && !up.task.is_finished())
    }

    /// Whether its process was asked to end: a supervisor does not wait for it for long.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.stop.is_cancelled())
    }

    /// Whether its node can't store chunks any more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.node().and_then(|node| node.chunks()).is_some_and(|chunks| chunks.usage().poisoned)
    }

    /// Gives the node that runs.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.up.as_ref().filter(|_| self.is_up()).map(|up| &up.node)
    }

    /// Gives the database, if there was ever one.
    #[must_use]
    pub fn kv(&self) -> Option<Arc<MemKv>> {
        lock(&self.databases.kv).clone()
    }

    /// Starts a process.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub fn boot(&mut self, net: &Net, secret: &FleetSecret, settings: Settings, sizes: Sizes) -> Result<(), Error> {
        self.starts += 1;
        let power = Arc::new(Power::default());
        let faulty: Arc<dyn Disk> = Arc::new(self.faulty.clone());
        let entropy: Arc<dyn Entropy> =
            entropy::seeded(self.seed ^ (self.id << 48) ^ (self.starts.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let (speed, machine) = (self.speed.clone(), self.databases.clone());
        let seams = Seams {
            clock: Arc::new(Skewed::new(net.begun(), self.wall_ahead_ms)),
            entropy,
            disk: Arc::new(ProcessDisk::new(faulty, power.clone(), speed.clone(), self.databases.syncs.clone())),
            databases: Arc::new(Opened { machine, power: power.clone(), speed }),
            transport: net.transport(&self.name, power.clone()),
            probe: Scripted::new(HostStats { cpu_busy: 0.1, memory_free_bytes: 1 << 30, memory_total_bytes: 2 << 30 }),
        };
        let node = Arc::new(Node::open(settings, secret.clone(), seams, sizes)?);
        net.serve(&self.name, node.peer_service()?, power.clone());
        let stop = CancellationToken::new();
        let task =
            tokio::task::spawn_local(live(node.clone(), power.clone(), stop.clone(), net.clone(), self.name.clone()));
        self.up = Some(Up { node, power, stop, task });
        Ok(())
    }

    /// Has the process end in the middle of what it does, after so many changes and syncs more.
    pub fn cut_after(&self, steps: u32) {
        if let Some(up) = &self.up {
            up.power.cut_after(steps);
        }
    }

    /// Asks the process to end in order.
    pub fn stop(&self) {
        if let Some(up) = &self.up {
            up.stop.cancel();
        }
    }

    /// Ends the process now, if it did not end by itself, and tells how it ended; the machine keeps what `kept` says.
    pub async fn end(&mut self, kept: Kept) -> Option<End> {
        let up = self.up.take()?;
        up.power.cut();
        let end = up.task.await.unwrap_or(End::Cut);
        self.databases.syncs.forget();
        if let Kept::Some(seed) = kept {
            self.lose_power(seed);
        }
        Some(end)
    }

    fn lose_power(&mut self, seed: u64) {
        self.disk = self.disk.crash(seed);
        self.faulty = faulty(&self.disk, self.databases.plant);
        let kv = &mut *lock(&self.databases.kv);
        if let Some(held) = kv {
            *held = Arc::new(held.crash_keeping(usize::try_from(seed % 7).unwrap_or(0)));
        }
    }

    /// Makes the machine usable again after a failed sync: an operator trusts the disk. The unsynced rest is gone.
    ///
    /// # Errors
    /// As [`ChunkStore::accept`].
    pub async fn accept_disk(&mut self, seed: u64) -> Result<(), flotilla_chunk_store::Error> {
        self.lose_power(seed);
        ChunkStore::accept(Path::new(DATA_DIR).join("chunks"), Arc::new(self.disk.clone())).await
    }

    /// Makes the database's next sync fail, or not any more.
    pub fn fail_next_sync(&self, fail: bool) {
        self.databases.syncs.fail_next.store(fail, Ordering::SeqCst);
    }

    /// Tells what became of the machine's syncs.
    #[must_use]
    pub fn syncs(&self) -> &Syncs {
        &self.databases.syncs
    }
}

/// Makes a disk that can be made to fail.
fn faulty(disk: &MemDisk, plant: Option<Plant>) -> FaultyDisk {
    let faulty = FaultyDisk::new(Arc::new(disk.clone()));
    if plant == Some(Plant::NoSync) {
        faulty.on(Call::SyncData, When::From(1), Fault::Skip);
    }
    faulty
}

/// A process from its start to its end.
async fn live(node: Arc<Node>, power: Arc<Power>, stop: CancellationToken, net: Net, name: String) -> End {
    let end = tokio::select! {
        biased;
        () = power.off() => End::Cut,
        result = node.serve(&stop) => End::Returned(result),
    };
    if matches!(end, End::Returned(Ok(()))) {
        tokio::select! {
            () = power.off() => {}
            () = node.hand_over() => {}
        }
    }
    net.remove(&name);
    power.cut();
    // Its tasks find out one by one that nothing works any more.
    tokio::spawn(async move { drop(tokio::time::timeout(END_WITHIN, node.end()).await) });
    end
}
