//! Measures one row: clients on their own connections, processor time and memory of the servers around them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_api::{BucketName, FileName};
use flotilla_env::{Clock, clock};
use tokio::task::JoinSet;

use super::{
    client::Client,
    report::{Measured, ProcessPeak},
    sampler::Sampler,
    supply::{Action, Supply},
    tally::Tally,
};
use crate::{
    Error, Target,
    dev::Dev,
    pool::{File, Pool},
    procfs, wire,
    wire::{Connection, Endpoint},
};

/// Connections of work that is not measured: reading back and deleting.
pub(super) const UNMEASURED_CONNECTIONS: usize = 16;

/// A deployment that is measured, and the files that were made in it.
#[derive(Debug)]
pub(super) struct Bench {
    endpoints: Vec<Endpoint>,
    bucket: BucketName,
    prefix: String,
    pool: Arc<Pool>,
    dev: Arc<Dev>,
    clock: Arc<dyn Clock>,
    next_id: AtomicU64,
    /// Files that may exist. Bounded by the plan, which deletes a row's files before the next one begins.
    alive: Mutex<BTreeSet<u64>>,
}

impl Bench {
    /// Makes ready to measure; sends nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] for a bad bucket, [`Error::Wire`] for a bad address, and those of reading `dev.json`.
    pub(super) fn new(target: &Target, bucket: &str, seed: u64) -> Result<Self, Error> {
        let clock = clock::system();
        let token = Some(target.token.trim()).filter(|token| !token.is_empty());
        let endpoints = target.api.iter().map(|base| Endpoint::new(base, token)).collect::<Result<_, _>>()?;
        let bucket = bucket.parse().map_err(|error: flotilla_api::name::Error| Error::Usage(error.to_string()))?;
        let dev = target.dev_json.as_deref().map(Dev::read).transpose()?.unwrap_or_default();
        let run = clock.wall_ms();
        Ok(Self {
            endpoints,
            bucket,
            prefix: format!("loadtest/{seed}-{run:x}"),
            pool: Pool::new(seed),
            dev: Arc::new(dev),
            clock,
            // Stamps carry the id, so two runs against one store have no block in common.
            next_id: AtomicU64::new(run << 24),
            alive: Mutex::default(),
        })
    }

    /// Gives the server processes.
    pub(super) fn dev(&self) -> &Dev {
        &self.dev
    }

    /// Describes new files of one length.
    pub(super) fn files(&self, count: u64, bytes: u64) -> Vec<File> {
        let first = self.next_id.fetch_add(count, Ordering::Relaxed);
        (first..first + count).map(|id| File::new(self.pool.clone(), id, bytes)).collect()
    }

    /// Opens connections, spread over all addresses.
    ///
    /// # Errors
    /// The first [`wire::Error`].
    pub(super) async fn connect(&self, count: usize) -> Result<Vec<(Endpoint, Connection)>, wire::Error> {
        let mut connections = Vec::with_capacity(count);
        for endpoint in self.endpoints.iter().cycle().take(count) {
            connections.push((endpoint.clone(), Connection::open(endpoint).await?));
        }
        Ok(connections)
    }

    /// Does work with several clients at once and measures what it costs.
    pub(super) async fn measure(self: &Arc<Self>, action: Action, clients: usize, supply: Supply) -> Measured {
        let connections = match self.connect(clients).await {
            Ok(connections) => connections,
            Err(error) => {
                let mut tally = Tally::default();
                tally.failed(error.to_string());
                return Measured { tally, ..Measured::default() };
            }
        };
        let own = || procfs::stat("self").ok().map(|stat| stat.cpu);
        let sampler = Sampler::start(self.dev.clone());
        let (server_before, own_before) = (self.dev.cpu(), own());
        let start = self.clock.now();
        let mut tally = self.work(action, connections, supply).await;
        let elapsed = self.clock.now().saturating_duration_since(start);
        let (server_after, own_after) = (self.dev.cpu(), own());
        let resident = sampler.stop();
        if !tally.etags.is_empty() {
            let check = tokio::task::spawn_blocking(move || {
                tally.check_etags();
                tally
            });
            tally = check.await.expect("hashing does not panic and is not aborted");
        }
        let between = |before: Option<Duration>, after: Option<Duration>| Some(after?.saturating_sub(before?));
        Measured {
            elapsed,
            server_cpu: between(server_before, server_after),
            own_cpu: between(own_before, own_after),
            resident,
            tally,
        }
    }

    /// Does work that is not measured.
    pub(super) async fn unmeasured(self: &Arc<Self>, action: Action, files: Vec<File>) -> Tally {
        let clients = files.len().clamp(1, UNMEASURED_CONNECTIONS);
        self.measure(action, clients, Supply::once(files)).await.tally
    }

    async fn work(self: &Arc<Self>, action: Action, connections: Vec<(Endpoint, Connection)>, supply: Supply) -> Tally {
        let supply = Arc::new(supply);
        let end = supply.end(self.clock.now());
        let mut clients = JoinSet::new();
        for (endpoint, connection) in connections {
            let client = Client::new(self.clone(), endpoint, connection);
            clients.spawn(client.work(action, supply.clone(), end));
        }
        let mut all = Tally::default();
        while let Some(tally) = clients.join_next().await {
            all.merge(tally.expect("a client does not panic and is only aborted with this future"));
        }
        all
    }

    /// Deletes every file that may still exist.
    pub(super) async fn remove_all(self: &Arc<Self>) {
        let ids: Vec<u64> = self.lock_alive().iter().copied().collect();
        let files: Vec<File> = ids.into_iter().map(|id| File::new(self.pool.clone(), id, 0)).collect();
        if !files.is_empty() {
            self.unmeasured(Action::Delete, files).await;
        }
    }

    /// Counts the files that may still exist.
    pub(super) fn alive(&self) -> usize {
        self.lock_alive().len()
    }

    /// Gives the most memory that each process ever had.
    pub(super) fn peaks(&self) -> Vec<ProcessPeak> {
        let peak = |process: &crate::dev::Process| {
            let memory = procfs::memory(&process.pid.to_string()).ok()?;
            Some(ProcessPeak { name: process.name.clone(), pid: process.pid, peak_bytes: memory.peak_bytes })
        };
        self.dev.processes.iter().filter_map(peak).collect()
    }

    /// Gives the path of a file's public address.
    pub(super) fn path(&self, file: &File) -> String {
        let key = format!("{}/{:016x}", self.prefix, file.id());
        let key = key.parse().expect("a short plain text is a key");
        FileName { bucket: self.bucket.clone(), key }.to_path()
    }

    /// Gives the clock.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Takes note that a file may exist from now on.
    pub(super) fn note_sent(&self, file: &File) {
        self.lock_alive().insert(file.id());
    }

    /// Takes note that a file is gone; says whether that is news.
    pub(super) fn note_gone(&self, file: &File) -> bool {
        self.lock_alive().remove(&file.id())
    }

    fn lock_alive(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
