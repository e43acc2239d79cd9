//! The composition root: a node's parts in the order in which they come to life, and back.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use flotilla_api::{CommandId, NodeId, RequestId, WriterId, peer::auth::FleetSecret};
use flotilla_chunk_store::ChunkStore;
use flotilla_client::PeerClient;
use flotilla_env::{Entropy, disk::RealDisk};
use flotilla_http_server::{
    Capabilities, DocumentCache, Edge, Guard, Late, Operations, PeerAuth, Readiness, Reason, RequestMetrics, Sealer,
    Site, Sites, bind, install_metrics, secret,
};
use flotilla_kv::Kv;
use flotilla_member::{Addresses, Error, Fatal, FormPeers, Seams, Seat, hand_over, marks};
use flotilla_raft_store::{
    formation::{Formation, Plan},
    identity::{FolderLock, Identity},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    board::Board,
    gateway::{
        budget::Budget,
        fetch::{self, Fetcher},
        places::Places,
        upload::{Parts, Uploads},
    },
    heartbeat::{Card, LeaderPlacer, Teller},
    homes::Homes,
    http::{Admin, Direct, FileService, Member, Service, peer_router, public_router},
    life::{Keeper, Lost, Periods, Released},
    membership::{self, Joiner, Membership},
    metadata::{Answer, Command, FileMachine, Metadata},
    ops,
    repair::{self, Repair, gate::Gate, pace::Pace, transfers::Transfers},
    under_way::UnderWay,
};

/// Free space that chunks never use: Raft's log and the database live on the same disk.
const DISK_RESERVE_BYTES: u64 = 256 << 20;
/// How long a client that this node sends to another cluster may take to get there.
const CAPABILITY_LIFETIME: Duration = Duration::from_secs(300);
/// How often all chunks are looked at, at most, for copies that are missing.
const SURVEY_EVERY_MIN: Duration = Duration::from_secs(10);
/// Between two tries to be granted a writer id.
const GRANT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Runs a node until `stop`.
///
/// # Errors
/// [`Error`], whose exit code tells the supervisor what to do.
///
/// # Cancel safety
/// Dropping the future is like a crash: nothing acked is lost.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), Error> {
    settings.check()?;
    let secret = secret::read(&settings.fleet_secret_file)?;
    let _folder = FolderLock::take(&settings.data_dir).await?;
    marks::check(&settings.data_dir)?;
    let node = Node::open(settings, secret, Seams::system(), Sizes::default())?;
    let Node { settings, addresses, secret, seams, formation, member, files, documents, .. } = &node;
    let sites = sites(settings, addresses, secret, seams, formation, member, files, documents, &stop)?;

    let drained = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let drained = drained.clone();
        async move { flotilla_http_server::run(sites, drained).await.map_err(Error::from) }
    });
    let result = tokio::select! {
        result = node.serve(&stop) => result,
        Some(ended) = tasks.join_next() => ended.unwrap_or_else(|error| Err(Error::Listener(std::io::Error::other(error)))),
    };
    if result.is_ok() {
        node.hand_over().await;
    }
    drained.cancel();
    while tasks.join_next().await.is_some() {}
    node.end().await;
    result
}

/// Sizes and timers that only tests change.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Of the Raft group.
    pub group: flotilla_raft_store::Settings,
    /// The size of the files that small chunks lie in.
    pub volume_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { group: flotilla_raft_store::Settings::default(), volume_bytes: flotilla_chunk_store::VOLUME_BYTES }
    }
}

/// A node on its seams, whatever they are: what its listeners need from the first moment on, and what comes to life behind them.
pub struct Node {
    settings: Settings,
    addresses: Addresses,
    secret: FleetSecret,
    seams: Seams,
    sizes: Sizes,
    peers: PeerClient,
    formation: Arc<Formation>,
    member: Late<Member>,
    files: Late<FileService>,
    documents: DocumentCache,
}

impl Node {
    /// Reads the folder, which the caller holds, and checks it against the settings.
    ///
    /// # Errors
    /// [`Error`]; the process ends with its exit code.
    pub fn open(settings: Settings, secret: FleetSecret, seams: Seams, sizes: Sizes) -> Result<Self, Error> {
        let addresses = settings.check()?;
        let (clock, transport) = (seams.clock.clone(), seams.transport.clone());
        let peers = PeerClient::new(secret.clone(), &*addresses.peer, clock, &*seams.entropy, transport);
        let plan = Plan {
            dir: settings.data_dir.clone(),
            fleet: secret.fleet(),
            group: settings.cluster.to_string(),
            own: addresses.peer.clone(),
            members: settings.initial_members.clone(),
            joins: !settings.join.is_empty(),
        };
        let formation = Arc::new(Formation::open(plan, seams.disk.clone(), seams.entropy.clone())?);
        let (member, files, documents) = (Late::default(), Late::default(), DocumentCache::default());
        Ok(Self { settings, addresses, secret, seams, sizes, peers, formation, member, files, documents })
    }

    /// Makes what the peer listener serves, for a transport that calls it in memory.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn peer_service(&self) -> Result<Service, Error> {
        let (entropy, clock) = (self.seams.entropy.clone(), self.seams.clock.clone());
        let edge = Edge::new(entropy, clock.clone(), RequestMetrics::default(), ops::name);
        let auth = PeerAuth::new(self.secret.clone(), &*self.addresses.peer, clock);
        let routes = peer_router(self.formation.clone(), self.member.clone(), self.files.clone());
        Ok(flotilla_http_server::server::peer(routes, auth, &edge, self.settings.limits()?))
    }

    /// Joins the group and serves files until `stop`.
    ///
    /// # Errors
    /// [`Error`], whose exit code tells the supervisor what to do.
    ///
    /// # Cancel safety
    /// Dropping the future is like a crash, but for the group, which [`Node::end`] ends.
    pub async fn serve(&self, stop: &CancellationToken) -> Result<(), Error> {
        serve(self, stop).await
    }

    /// Gives the body bytes that the node's requests hold now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.files.get().map_or(0, |files| files.budget.held_bytes())
    }

    /// Gives the node's chunks, once it has opened them.
    #[must_use]
    pub fn chunks(&self) -> Option<ChunkStore> {
        self.member.get().map(|member| member.store.clone())
    }

    /// Gives the group as the node sees it, once it has opened it.
    #[must_use]
    pub fn status(&self) -> Option<flotilla_raft_store::Status> {
        self.member.get().map(|member| member.metadata.group().status())
    }

    /// Gives leadership away, for a node that is about to end.
    pub async fn hand_over(&self) {
        if let Some(member) = self.member.get() {
            hand_over(member.metadata.group()).await;
        }
    }

    /// Ends the group, if the node got that far.
    pub async fn end(&self) {
        if let Some(member) = self.member.get() {
            member.metadata.group().shutdown().await;
        }
    }
}

#[allow(clippy::too_many_arguments)] // the composition root hands every part what it uses
fn sites(
    settings: &Settings,
    addresses: &Addresses,
    secret: &FleetSecret,
    seams: &Seams,
    formation: &Arc<Formation>,
    member: &Late<Member>,
    files: &Late<FileService>,
    documents: &DocumentCache,
    stop: &CancellationToken,
) -> Result<Sites, Error> {
    let limits = settings.limits()?;
    let metrics = install_metrics(stop).map_err(|error| Error::Listener(std::io::Error::other(error)))?;
    let edge = Edge::new(seams.entropy.clone(), seams.clock.clone(), RequestMetrics::default(), ops::name);
    let auth = PeerAuth::new(secret.clone(), &*addresses.peer, seams.clock.clone());
    let readiness = Arc::new(Ready { member: member.clone(), files: files.clone() });
    let operations = Operations::new(&*settings.name, "node", seams.clock.clone(), readiness, metrics);
    let scrapers = Arc::new(documents.clone());
    let capabilities = Capabilities::new(secret.clone(), settings.cluster.clone(), seams.clock.clone());
    let guard = Guard::tokens(Arc::new(documents.clone())).or(capabilities);
    let sealer = Sealer::new(secret.clone(), seams.clock.clone(), CAPABILITY_LIFETIME);
    Ok(Sites {
        public: Site::public(
            bind(settings.public, true)?,
            public_router(Direct { files: files.clone(), sealer }),
            guard,
            &edge,
            limits,
        ),
        peer: Site::peer(
            bind(settings.peer, true)?,
            peer_router(formation.clone(), member.clone(), files.clone()),
            auth,
            &edge,
            limits,
        ),
        operations: Site::operations(bind(settings.ops, true)?, operations.scrapers(scrapers), &edge),
    })
}

async fn serve(node: &Node, stop: &CancellationToken) -> Result<(), Error> {
    let Node { settings, addresses, seams, sizes, peers, formation, member: late_member, files: late_files, .. } = node;
    let documents = node.documents.clone();
    let others = FormPeers(peers.clone());
    let place = async {
        if formation.has_to_join() {
            let (dir, cluster, name) = (&*settings.data_dir, &settings.cluster, &*settings.name);
            let joiner = Joiner { dir, cluster, name, peer: &addresses.peer, members: &settings.join, peers, seams };
            joiner.join(formation).await?;
        }
        Ok::<_, Error>(formation.run(&others).await?)
    };
    let identity = tokio::select! {
        identity = place => identity?,
        () = stop.cancelled() => return Ok(()),
    };
    let dir = &settings.data_dir;
    let fatal = Fatal::default();
    let (group, timers) = (settings.cluster.to_string(), sizes.group.clone());
    let seat = Seat { group, dir: dir.clone(), seams, settings: timers, peers, fatal: &fatal };
    let kv = seat.database::<FileMachine>(flotilla_chunk_store::FAMILIES).await?;
    let store = open_store(dir, seams, sizes, kv.clone()).await?;
    let group = seat.open(&identity, FileMachine, kv).await?;
    let metadata = Metadata::new(group);
    // Before it answers anybody: a vote or a copy of an older disk could undo what was acked.
    membership::greet(&metadata.group().status(), &addresses.peer, peers).await?;
    // What was known before a restart tells good tokens from bad ones, also while nobody leads.
    if let Err(error) = metadata.refresh(&documents) {
        tracing::error!(%error, "documents can't be read");
    }
    let board = Board::new(seams.clock.clone(), seams.entropy.clone());
    let pace = Pace::new(settings.repair_rate.as_u64(), seams.clock.clone());
    let membership = Membership {
        node: identity.node,
        uuid: identity.uuid,
        metadata: metadata.clone(),
        board: board.clone(),
        voter_grace: settings.voter_grace,
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
    };
    let member = Member {
        node: identity.node,
        metadata: metadata.clone(),
        membership: membership.clone(),
        board: board.clone(),
        store: store.clone(),
        peers: peers.clone(),
        pace: pace.clone(),
        clock: seams.clock.clone(),
    };
    late_member.set(member);

    let removed = CancellationToken::new();
    let work = async {
        seat.form(metadata.group(), formation).await?;
        let writer = grant_writer(&metadata, identity.node, &*seams.entropy).await;
        formation.set_formed();
        let budget = Budget::default();
        let placer = LeaderPlacer { metadata: metadata.clone(), board: board.clone(), peers: peers.clone() };
        let chunk_size = settings.chunk_size.as_u64();
        let places = Places::new(identity.node, chunk_size, settings.replicas, Arc::new(placer), seams.clock.clone());
        let homes = Homes::new(settings.cluster.clone(), settings.supernodes.clone(), peers.clone(), metadata.clone());
        let released = Released::default();
        let uploads = Uploads::new(Parts {
            node: identity.node,
            writer,
            metadata: metadata.clone(),
            store: store.clone(),
            peers: peers.clone(),
            places,
            chunk_size,
            replicas: settings.replicas,
            budget: budget.clone(),
            clock: seams.clock.clone(),
            entropy: seams.entropy.clone(),
            homes: homes.clone(),
            released: released.clone(),
        });
        let cache_bytes = settings.cache_bytes.as_u64();
        let fetcher = Fetcher::new(fetch::Parts {
            node: identity.node,
            store: store.clone(),
            peers: peers.clone(),
            replicas: Arc::new(metadata.clone()),
            cache_bytes,
            clock: seams.clock.clone(),
            entropy: seams.entropy.clone(),
            pace: pace.clone(),
        });
        let (lost, transfers) = (Lost::default(), Transfers::new(identity.node, seams.clock.clone()));
        let admin = Admin {
            node: identity.node,
            metadata: metadata.clone(),
            peers: peers.clone(),
            transfers: transfers.clone(),
            board: board.clone(),
            stop: stop.clone(),
            entropy: seams.entropy.clone(),
        };
        let repair = Repair::new(repair::Parts {
            node: identity.node,
            replicas: settings.replicas as usize,
            down_grace: settings.down_grace,
            survey_every: settings.purge_interval.0.max(SURVEY_EVERY_MIN),
            metadata: metadata.clone(),
            board: board.clone(),
            store: store.clone(),
            peers: peers.clone(),
            holders: Arc::new(metadata.clone()),
            gate: Gate::default(),
            pace,
            transfers,
            clock: seams.clock.clone(),
            entropy: seams.entropy.clone(),
        });
        let keeper = Keeper {
            node: identity.node,
            writer,
            metadata: metadata.clone(),
            store: store.clone(),
            homes: homes.clone(),
            released,
            repair: repair.clone(),
            lost: lost.clone(),
            periods: Periods {
                version_linger: settings.version_linger,
                claim_idle: settings.claim_idle,
                purge_interval: settings.purge_interval,
            },
            clock: seams.clock.clone(),
            entropy: seams.entropy.clone(),
        };
        let under_way = UnderWay::default();
        let teller = Teller {
            card: Arc::new(card(settings, addresses, &identity)),
            peers: peers.clone(),
            metadata: metadata.clone(),
            board: board.clone(),
            store: store.clone(),
            lost,
            probe: seams.probe.clone(),
            budget: budget.clone(),
            under_way: under_way.clone(),
            gauges: Arc::default(),
            documents: documents.clone(),
            removed: removed.clone(),
            entropy: seams.entropy.clone(),
        };
        late_files.set(FileService {
            cluster: settings.cluster.clone(),
            metadata: metadata.clone(),
            homes,
            admin,
            uploads,
            fetcher,
            documents,
            budget,
            under_way,
            entropy: seams.entropy.clone(),
            clock: seams.clock.clone(),
        });
        tracing::info!(node = %identity.node, %writer, "node serves");
        let (teller, keeper) = (teller.run(stop.clone()), keeper.run(stop.clone()));
        tokio::join!(teller, keeper, Box::pin(repair.run(stop.clone())), membership.run(stop.clone()));
        Ok(())
    };
    tokio::select! {
        result = work => result,
        why = fatal.wait() => {
            marks::leave(dir, &why);
            Err(Error::Metadata(why))
        }
        () = removed.cancelled() => Err(membership::removed(identity.node)),
        () = stop.cancelled() => Ok(()),
    }
}

async fn open_store(dir: &Path, seams: &Seams, sizes: &Sizes, kv: Arc<dyn Kv>) -> Result<ChunkStore, Error> {
    let dir = dir.join("chunks");
    let options = flotilla_chunk_store::Options {
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
        volume_bytes: sizes.volume_bytes,
        ..flotilla_chunk_store::Options::new(dir, seams.disk.clone(), kv, DISK_RESERVE_BYTES)
    };
    let (store, recovery) = ChunkStore::open(options).await.map_err(|error| Error::Chunks(error.to_string()))?;
    tracing::info!(?recovery, "chunk store is open");
    Ok(store)
}

/// Asks for a writer id until there is one: without it nothing can be written, and there is nothing else to do.
async fn grant_writer(metadata: &Metadata, node: NodeId, entropy: &dyn Entropy) -> WriterId {
    let id = RequestId::from_bits(entropy.u128());
    loop {
        let id = CommandId { id: id.clone(), seen: None };
        match metadata.propose(id, Command::GrantWriter { node }).await.map(|applied| applied.answer) {
            Ok(Answer::Writer(writer)) => return writer,
            Ok(other) => tracing::error!(answer = ?other, "a grant was answered with something else"),
            Err(error) => tracing::debug!(%error, "no writer id yet"),
        }
        tokio::time::sleep(GRANT_AGAIN_AFTER).await;
    }
}

fn card(settings: &Settings, addresses: &Addresses, identity: &Identity) -> Card {
    Card {
        node: identity.node,
        cluster: settings.cluster.clone(),
        uuid: identity.uuid,
        peer: addresses.peer.clone(),
        public: addresses.public.clone(),
        zone: settings.zone.clone(),
        supernodes: settings.supernodes.clone(),
    }
}

/// Removes the marks of a failed disk: the operator trusts the folder again.
///
/// # Errors
/// [`Error`]: the folder is in use, or a mark can't be removed.
pub async fn accept_disk(dir: &Path) -> Result<(), Error> {
    let _folder = FolderLock::take(dir).await?;
    marks::remove(dir)?;
    ChunkStore::accept(dir.join("chunks"), Arc::new(RealDisk)).await.map_err(|error| Error::Chunks(error.to_string()))
}

/// Whether the node can serve: a read index within a second, space for a chunk, a store that syncs.
struct Ready {
    member: Late<Member>,
    files: Late<FileService>,
}

#[async_trait]
impl Readiness for Ready {
    async fn reasons(&self) -> Vec<Reason> {
        let Some(member) = self.member.get() else { return vec![Reason::NoQuorum] };
        let mut reasons = Vec::new();
        let usage = member.store.usage();
        if usage.full {
            reasons.push(Reason::DiskFull);
        }
        if usage.poisoned {
            reasons.push(Reason::DiskFailed);
        }
        if member.metadata.group().status().catching_up {
            reasons.push(Reason::CatchingUp);
        } else if member.metadata.barrier().await.is_err() {
            reasons.push(Reason::NoQuorum);
        } else if self.files.get().is_none_or(|files| files.documents.revision() == 0) {
            // Without the supernode group's documents no client could be told from a stranger.
            reasons.push(Reason::CatchingUp);
        }
        reasons
    }
}
