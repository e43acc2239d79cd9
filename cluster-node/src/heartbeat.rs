//! What a node tells on its own: statistics to the leader, and, as the leader, the cluster's report to the supernodes.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flotilla_api::{
    ChunkId, ClusterName, Code, NodeId,
    peer::{
        CORRUPT_TOLD_MAX, ClusterReport, Documents, Heartbeat, HeartbeatAnswer, NodeStats, PlaceAnswer, PlaceRequest,
        ReportAnswer,
    },
    route,
};
use flotilla_chunk_store::ChunkStore;
use flotilla_client::{Lane, PeerClient};
use flotilla_env::{Entropy, HostProbe};
use flotilla_http_server::DocumentCache;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    board::{Board, HEARTBEAT_EVERY},
    gateway::{budget::Budget, places::Placer},
    gauges::Gauges,
    life::Lost,
    metadata::{Command, Metadata, read},
    offers::Offers,
    supernodes::Supernodes,
    under_way::UnderWay,
};

/// How long a heartbeat or report may take: shorter than its interval, so that they never pile up.
const TELL_DEADLINE: Duration = Duration::from_millis(450);
/// How long the leader may take to place chunks.
const PLACE_DEADLINE: Duration = Duration::from_secs(2);

/// Who the node is to others.
#[derive(Debug, Clone)]
pub struct Card {
    /// Its id.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The cluster's identity.
    pub uuid: Uuid,
    /// Its peer address.
    pub peer: String,
    /// Its public address, as a URL.
    pub public: String,
    /// Its zone.
    pub zone: Option<String>,
}

/// Sends heartbeats and reports. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    /// Who the node is.
    pub card: Arc<Card>,
    /// The way to other processes.
    pub peers: PeerClient,
    /// The group's metadata.
    pub metadata: Metadata,
    /// What the leader knows of the nodes.
    pub board: Board,
    /// This node's chunks.
    pub store: ChunkStore,
    /// What it is named for and does not have.
    pub lost: Lost,
    /// The machine.
    pub probe: Arc<dyn HostProbe>,
    /// Body bytes that requests hold are in flight.
    pub budget: Budget,
    /// Requests of clients.
    pub under_way: UnderWay,
    /// Shows the statistics to people, too.
    pub gauges: Arc<Gauges>,
    /// Decoded documents.
    pub documents: DocumentCache,
    /// Raised when the leader says that this node is no member any more.
    pub removed: CancellationToken,
    /// Whether the last heartbeat found no leader where this node believes it.
    pub unheard: Arc<AtomicBool>,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
    /// Those who are told of the cluster.
    pub supernodes: Supernodes,
    /// What supernodes may send.
    pub offers: Offers,
    /// Held while documents of one supernode are taken over.
    pub taking_over: Arc<tokio::sync::Mutex<()>>,
}

/// The cluster's last report, while this node leads.
type Reports = watch::Sender<Option<ClusterReport>>;

impl Teller {
    /// Tells until `stop`: twice a second, and at once when the leader changes.
    pub async fn run(self, stop: CancellationToken) {
        let (reports, _) = watch::channel(None);
        tokio::select! {
            () = self.beat(&reports, &stop) => {}
            () = self.report(&reports) => {}
        }
    }

    /// Reports to each supernode by itself, and to those that documents come to name.
    async fn report(&self, reports: &Reports) {
        let mut told = BTreeSet::new();
        let mut tellers = FuturesUnordered::new();
        let mut made = reports.subscribe();
        loop {
            for supernode in self.supernodes.addresses() {
                if told.insert(supernode.clone()) {
                    tellers.push(self.report_to(supernode, reports.subscribe()));
                }
            }
            tokio::select! {
                Some(gone) = tellers.next() => {
                    told.remove(&gone);
                }
                changed = made.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn beat(&self, reports: &Reports, stop: &CancellationToken) {
        let mut status = self.metadata.group().watch();
        let mut leader = None;
        let mut beat = tokio::time::interval(HEARTBEAT_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => {}
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = status.borrow_and_update().leader;
                    if now == leader {
                        continue;
                    }
                    leader = now;
                }
            }
            self.tell(reports).await;
        }
    }

    async fn tell(&self, reports: &Reports) {
        match self.metadata.refresh(&self.documents) {
            // Those of before serve until the snapshot is there.
            Ok(()) | Err(read::Error::Raft(flotilla_raft_store::Error::CatchingUp)) => {}
            Err(error) => tracing::error!(%error, "documents can't be read"),
        }
        let status = self.metadata.group().status();
        let heartbeat = Heartbeat {
            uuid: self.card.uuid,
            node: self.card.node,
            peer: self.card.peer.clone(),
            public: self.card.public.clone(),
            zone: self.card.zone.clone(),
            stats: self.stats().await,
            corrupt: self.damaged(),
        };
        if status.is_leader {
            self.board.heard(heartbeat);
            self.board.keep(|id| status.members.contains_key(&id));
            self.offers.look(status.term, &self.board.reports(), self.supernodes.addresses().len());
            // One that is cut off from the others takes itself for the leader until it hears of another one, and supernodes would send
            // it what it can't serve.
            if self.metadata.group().read(HEARTBEAT_EVERY).await.is_ok() {
                let _nobody_listens = reports.send(Some(self.cluster(status.term)));
            }
        } else if let Some(member) = status.leader.and_then(|id| status.members.get(&id)) {
            let told: Result<HeartbeatAnswer, _> =
                self.peers.post(Lane::Control, &member.peer, route::PEER_HEARTBEAT, &heartbeat, TELL_DEADLINE).await;
            self.unheard.store(!told.as_ref().is_ok_and(|answer| answer.leads), Ordering::Relaxed);
            match told {
                Ok(HeartbeatAnswer { removed: true, .. }) => self.removed.cancel(),
                Ok(HeartbeatAnswer { removed: false, .. }) => {}
                Err(error) => tracing::debug!(%error, "leader did not take the heartbeat"),
            }
        }
    }

    /// Copies of this node that are damaged or gone.
    fn damaged(&self) -> Vec<ChunkId> {
        let mut told = self.store.corrupt(CORRUPT_TOLD_MAX);
        told.extend(self.lost.list(CORRUPT_TOLD_MAX - told.len()));
        told
    }

    async fn stats(&self) -> NodeStats {
        let probe = Arc::clone(&self.probe);
        let host = flotilla_env::blocking::spawn(move || probe.sample()).await.unwrap_or_default();
        // Measured anew: somebody else may have freed or taken space.
        let usage = self.store.measure().await.unwrap_or_else(|_| self.store.usage());
        let inflight_bytes = self.budget.held_bytes();
        // While it can't be read, as during a snapshot, the store goes on as it was told last.
        let drains = self.metadata.is_draining(self.card.node);
        let _ = drains.as_ref().map(|on| self.store.drain(*on));
        self.gauges.show(&usage, inflight_bytes, &host);
        NodeStats {
            cpu_busy: host.cpu_busy,
            memory_free_bytes: host.memory_free_bytes,
            memory_total_bytes: host.memory_total_bytes,
            disk_free_bytes: usage.free_bytes.saturating_sub(usage.reserved_bytes),
            disk_total_bytes: usage.total_bytes,
            inflight_bytes,
            requests: self.under_way.count(),
            direct: self.under_way.direct(),
            sync_us: u32::try_from(usage.sync_us).unwrap_or(u32::MAX),
            accepts_chunks: !usage.full && !usage.poisoned && !drains.unwrap_or(false),
            full: usage.full,
            serves: !self.metadata.group().status().catching_up,
            chunks: usage.chunks,
            chunk_bytes: usage.bytes,
        }
    }

    fn cluster(&self, term: u64) -> ClusterReport {
        ClusterReport {
            cluster: self.card.cluster.clone(),
            uuid: self.card.uuid,
            leader: self.card.node,
            term,
            applied: self.metadata.group().applied_index(),
            nodes: self.board.reports(),
            documents: self.documents.revision(),
            directory: self.documents.directory(),
            offer: None,
        }
    }

    /// Sends one supernode each report, or the last one if it is slow; one that hangs holds up nobody else. Gives its address once it
    /// is a supernode no more.
    async fn report_to(&self, supernode: String, mut reports: watch::Receiver<Option<ClusterReport>>) -> String {
        let mut refused = false;
        while reports.changed().await.is_ok() && self.supernodes.addresses().contains(&supernode) {
            let Some(report) = reports.borrow_and_update().clone() else { continue };
            let report = ClusterReport { offer: self.offers.to(&supernode), ..report };
            let told = self.peers.post(Lane::Control, &supernode, route::PEER_REPORT, &report, TELL_DEADLINE).await;
            match told {
                Ok(ReportAnswer { documents, felt }) => {
                    refused = false;
                    if let Some(felt) = felt {
                        self.offers.felt(&supernode, felt);
                    }
                    if let Some(documents) = documents {
                        self.take_over(documents).await;
                    }
                }
                Err(error) if error.code() == Some(Code::DirectoryUnavailable) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::error!(%supernode, %error, "supernode refuses this cluster");
                    }
                }
                Err(error) => tracing::debug!(%supernode, %error, "supernode did not take the report"),
            }
        }
        self.offers.forget(&supernode);
        supernode
    }

    async fn take_over(&self, documents: Documents) {
        let _one_at_a_time = self.taking_over.lock().await;
        if documents.revision <= self.documents.revision() {
            return;
        }
        let id = self.metadata.fresh_id(&*self.entropy);
        let told = self.metadata.propose(id, Command::PutDocuments(documents)).await;
        if let Err(error) = told
            .map_err(|error| error.to_string())
            .and_then(|_| self.metadata.refresh(&self.documents).map_err(|error| error.to_string()))
        {
            tracing::warn!(%error, "documents were not taken over; the next report tries again");
        }
    }
}

/// Asks the leader for places, wherever it is.
pub struct LeaderPlacer {
    /// The group's metadata.
    pub metadata: Metadata,
    /// What this node knows as the leader.
    pub board: Board,
    /// The way to other processes.
    pub peers: PeerClient,
}

#[async_trait::async_trait]
impl Placer for LeaderPlacer {
    async fn place(&self, request: &PlaceRequest) -> Result<PlaceAnswer, String> {
        let mut watch = self.metadata.group().watch();
        let status = self.metadata.group().status();
        if status.is_leader {
            return Ok(self.board.place(request));
        }
        let leader = status.leader.and_then(|id| status.members.get(&id)).ok_or("no leader is known")?;
        let place = self.peers.post(Lane::Control, &leader.peer, route::PEER_PLACE, request, PLACE_DEADLINE);
        tokio::select! {
            answer = place => answer.map_err(|error| error.to_string()),
            // A leader that was stopped answers nothing, and the next one does at once.
            _ = watch.wait_for(|now| now.leader != status.leader) => Err("the leader has changed".to_owned()),
        }
    }
}
