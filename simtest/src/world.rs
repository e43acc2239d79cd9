//! All machines and what is between them, and how the plan's events come over them.

use std::{sync::Arc, time::Duration};

use flotilla_api::peer::auth::FleetSecret;
use flotilla_client::PeerClient;
use flotilla_cluster_node::{Settings, Sizes};
use flotilla_env::{
    disk::{Call, Fault, When},
    entropy,
};

use crate::{
    clients::{Client, History, Office},
    clock::Skewed,
    directory::{self, Directory},
    host::{DATA_DIR, End, Host, Kept, address},
    kv::Watch,
    net::{Net, Weather},
    note,
    operator::Operator,
    plan::{Event, Order, Plan, Plant},
    power::Power,
    roster::{Place, Roster},
    settle::latest,
    trace::Trace,
};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How many copies every chunk has.
pub const REPLICAS: u32 = 2;
/// The size of a chunk.
pub const CHUNK_BYTES: u64 = 4 << 10;

/// The machines of a run.
pub struct World {
    plan: Plan,
    trace: Trace,
    net: Net,
    secret: FleetSecret,
    roster: Roster,
    directory: Directory,
    /// Where orders about members go; none once no more will come.
    orders: Option<UnboundedSender<Order>>,
    /// By node id, from 1: machines join one at a time, in the order of their numbers.
    pub hosts: Vec<Host>,
}

impl World {
    /// Makes the machines of a plan; nothing runs on them.
    #[must_use]
    pub fn new(plan: Plan, trace: Trace, watch: &dyn Fn(u64) -> Arc<dyn Watch>) -> Self {
        let net = Net::new(&plan, entropy::seeded(plan.seed.wrapping_add(1)), trace.clone());
        let hosts = (1..=plan.machines()).map(|id| Host::new(id, &plan, watch(id))).collect();
        let (roster, directory) = (Roster::new(&plan), Directory::new(&plan, trace.clone()));
        net.serve(directory::ADDRESS, directory.service(), Arc::default());
        let secret = FleetSecret::new("of the simulation");
        Self { plan, trace, net, secret, roster, directory, orders: None, hosts }
    }

    /// Gives the directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Has the directory ask about claims, until dropped.
    pub fn ask_about_claims(&self) -> impl Future<Output = ()> + use<> {
        self.directory.clone().ask_about_claims(self.outsider(98), self.plan.machines())
    }

    /// Gives the machines that are meant to be members, and nothing else.
    pub fn members(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| self.place(host) == Place::Member)
    }

    /// Gives a machine's place.
    #[must_use]
    pub fn place(&self, host: &Host) -> Place {
        self.roster.place(host.id)
    }

    /// Gives all places.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Gives how many nodes formed the cluster.
    #[must_use]
    pub fn first_nodes(&self) -> u64 {
        self.plan.nodes
    }

    /// Makes the operator, and where it hears of the plan's orders.
    #[must_use]
    pub fn operator(&mut self) -> (Operator, UnboundedReceiver<Order>) {
        let (sender, orders) = unbounded_channel();
        self.orders = Some(sender);
        (Operator::new(&self.plan, self.outsider(99), self.roster.clone(), self.trace.clone()), orders)
    }

    /// No more orders will come.
    pub fn end_orders(&mut self) {
        self.orders = None;
    }

    /// Makes somebody who can talk to nodes and is none.
    fn outsider(&self, number: u64) -> PeerClient {
        let own = format!("10.0.1.{number}:2");
        let transport = self.net.transport(&own, Arc::new(Power::default()));
        let clock = Arc::new(Skewed::new(self.trace.begun(), 0));
        let entropy = entropy::seeded(self.plan.seed.rotate_left(31) ^ number);
        PeerClient::new(self.secret.clone(), own, clock, &*entropy, transport)
    }

    /// Makes a client.
    #[must_use]
    pub fn client(&self, number: u64, history: &History) -> Client {
        let office = Office {
            history: history.clone(),
            trace: self.trace.clone(),
            directory: self.directory.clone(),
            keys: self.plan.keys,
            nodes: self.plan.machines(),
        };
        Client::new(number, &self.plan, office, self.outsider(number))
    }

    /// What is planted.
    #[must_use]
    pub fn plant(&self) -> Option<Plant> {
        self.plan.plant
    }

    /// Lets a node unlink a copy that it is named for.
    pub async fn unlink_one(&self) {
        let Ok(audit) = latest(self) else { return };
        let named = audit.chunks.iter().find_map(|(id, chunk)| Some((*id, *chunk.replicas.first()?)));
        let Some((id, node)) = named else { return };
        let store = self.hosts[node.0 as usize - 1].node().and_then(|node| node.chunks());
        if let Some(store) = store {
            store.remove(vec![id]).await.expect("a disk that is well");
        }
    }

    /// The size of a volume.
    #[must_use]
    pub fn volume_bytes(&self) -> u64 {
        self.plan.volume_bytes
    }

    /// The most entries that a node's log may have: those that are kept, those that a snapshot is due for, asked for twice, and
    /// what comes while it is built and purged.
    #[must_use]
    pub fn log_entries_max(&self) -> u64 {
        self.plan.snapshot_after_entries * 9 / 4 + 200
    }

    /// Starts every machine's node that does not run; what failed on a disk is accepted.
    pub async fn boot_all(&mut self) {
        for id in 1..=self.plan.machines() {
            self.boot(id).await;
        }
    }

    /// Lets an event happen.
    pub async fn apply(&mut self, event: &Event) {
        note!(self.trace, "{event:?}");
        match *event {
            Event::Weather(weather) => self.net.set_weather(weather),
            Event::Cut(from, to) => self.net.cut(&address(from), &address(to)),
            Event::MendLinks => self.net.heal_links(),
            Event::CutAfter(id, steps) => self.host(id).cut_after(steps),
            Event::End(id, kept) => self.end(id, kept).await,
            Event::Stop(id) => self.host(id).stop(),
            Event::Boot(id) => self.boot(id).await,
            Event::Slow(id, sync) => self.host(id).speed.set(sync),
            Event::FailChunkSync(id) => {
                self.host(id).faulty.on(Call::SyncData, When::Nth(1), Fault::Io);
                self.host(id).faulty.on(Call::SyncDir, When::Nth(1), Fault::Io);
            }
            Event::FailDatabaseSync(id) => self.host(id).fail_next_sync(true),
            Event::Accept(id) => self.accept(id).await,
            Event::Order(order) => self.order(order).await,
        }
    }

    async fn order(&mut self, order: Order) {
        let id = order.machine();
        match order {
            Order::Join(_) => self.roster.set(id, Place::Joins),
            // Nobody is told of it, so nobody expects it.
            _ if self.plan.plant == Some(Plant::Unasked) => {}
            Order::Retire(_) | Order::Lose(_) => self.roster.set(id, Place::Leaves),
        }
        match order {
            Order::Join(_) => self.boot(id).await,
            Order::Lose(_) => self.lose(id).await,
            Order::Retire(_) => {}
        }
        if let Some(orders) = &self.orders {
            // An operator that has gone home is told of nothing.
            let _told = orders.send(order);
        }
    }

    /// A machine burns down.
    async fn lose(&mut self, id: u64) {
        self.host(id).end(Kept::All).await;
        self.host(id).lost = true;
    }

    /// Ends all faults: the weather is fair, links and disks are well, every machine runs.
    pub async fn heal(&mut self) {
        note!(self.trace, "heal");
        self.net.set_weather(Weather::FAIR);
        self.net.heal_links();
        for id in self.roster.with(&[Place::Joins, Place::Member, Place::Leaves]) {
            let host = self.host(id);
            host.speed.set(Duration::from_micros(500));
            if host.is_poisoned() {
                self.accept(id).await;
            } else if !self.host(id).is_up() {
                self.end(id, Kept::All).await;
            }
            self.host(id).faulty.heal();
            self.host(id).fail_next_sync(false);
            self.boot(id).await;
        }
    }

    /// Ends a machine's process; what failed on its disk is accepted.
    async fn accept(&mut self, id: u64) {
        let seed = self.plan.seed ^ id;
        if self.roster.place(id) == Place::Spare {
            return;
        }
        if !self.host(id).is_up() || self.host(id).is_poisoned() {
            self.host(id).end(Kept::All).await;
            self.host(id).accept_disk(seed).await.expect("a disk in memory takes it");
        }
        self.host(id).faulty.heal();
    }

    async fn end(&mut self, id: u64, kept: Kept) {
        if let Some(End::Returned(result)) = self.host(id).end(kept).await {
            note!(self.trace, "n{id} had ended: {result:?}");
            if result.is_err() {
                let seed = self.plan.seed ^ id;
                self.host(id).accept_disk(seed).await.expect("a disk in memory takes it");
            }
        }
    }

    async fn boot(&mut self, id: u64) {
        let stays_off = [Place::Spare, Place::Gone].contains(&self.roster.place(id)) || self.host(id).lost;
        if stays_off || self.host(id).is_up() && !self.host(id).is_stopping() {
            return;
        }
        self.end(id, Kept::All).await;
        let (settings, sizes) = (self.settings(id), self.sizes());
        let host = &mut self.hosts[id as usize - 1];
        let started = host.boot(&self.net, &self.secret, settings, sizes);
        note!(self.trace, "n{id} starts: {started:?}");
        started.expect("the folder is this node's own");
    }

    fn host(&mut self, id: u64) -> &mut Host {
        &mut self.hosts[id as usize - 1]
    }

    fn sizes(&self) -> Sizes {
        let entries = self.plan.snapshot_after_entries;
        let group = flotilla_raft_store::Settings {
            snapshot_after_entries: Some(entries).filter(|_| self.plan.plant != Some(Plant::KeepLog)),
            keep_entries: entries / 4,
            purge_entries_min: 8,
            lag_entries_max: entries * 4,
            snapshot_part_bytes: 8 << 10,
            ..Default::default()
        };
        Sizes { group, volume_bytes: self.plan.volume_bytes }
    }

    fn settings(&self, id: u64) -> Settings {
        let first: Vec<String> = (1..=self.plan.nodes).map(address).collect();
        let (members, join) = if id <= self.plan.nodes { (first, Vec::new()) } else { (Vec::new(), first) };
        let settings = json!({
            "name": format!("n{id}"),
            "cluster": "sim",
            "data_dir": DATA_DIR,
            "public": format!("10.0.0.{id}:1"),
            "peer": address(id),
            "ops": format!("10.0.0.{id}:3"),
            "initial_members": members,
            "join": join,
            "supernodes": [directory::ADDRESS],
            "claim_idle": "300ms",
            "fleet_secret_file": "/none",
            "chunk_size": CHUNK_BYTES,
            "cache_bytes": 8 << 20,
            "replicas": REPLICAS,
            "version_linger": "2s",
            "purge_interval": "1s",
            "down_grace": "3s",
        });
        serde_json::from_value(settings).expect("they are what a settings file has")
    }
}
