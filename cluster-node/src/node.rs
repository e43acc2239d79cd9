//! The composition root: a node's parts in the order in which they come to life, and back.

use std::{path::Path, sync::Arc, time::Duration};

use flotilla_api::{CommandId, NodeId, RequestId, WriterId, codec, peer::auth::FleetSecret};
use flotilla_chunk_store::ChunkStore;
use flotilla_env::Entropy;
use flotilla_http_server::{DocumentCache, Edge, Late, PeerAuth, RequestMetrics};
use flotilla_kv::Kv;
use flotilla_member::{Addresses, Entrant, Error, Seams, hand_over};
use flotilla_raft_store::{formation::Plan, identity::Identity};
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    board::Board,
    gateway::{
        budget::Budget,
        fetch::{self, Fetcher},
        places::Places,
        sequence::Sequence,
        upload::{Parts, Uploads},
    },
    heartbeat::{Card, LeaderPlacer, Teller},
    homes::Homes,
    http::{Admin, FileService, Member, Service, peer_router},
    life::{Keeper, Lost, Periods, Released},
    membership::{self, Kind, Membership, Nodes},
    metadata::{Answer, Command, FileMachine, Metadata, keys, read},
    offers::Offers,
    ops,
    repair::{self, Repair, gate::Gate, pace::Pace, transfers::Transfers},
    supernodes::Supernodes,
    under_way::UnderWay,
};

/// Free space that chunks never use: Raft's log and the database live on the same disk.
const DISK_RESERVE_BYTES: u64 = 256 << 20;
/// How often all chunks are looked at, at most, for copies that are missing.
const SURVEY_EVERY_MIN: Duration = Duration::from_secs(10);
/// Between two tries to be granted a writer id.
const GRANT_AGAIN_AFTER: Duration = Duration::from_millis(200);

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
    pub(crate) settings: Settings,
    pub(crate) addresses: Addresses,
    pub(crate) secret: FleetSecret,
    pub(crate) entrant: Entrant,
    pub(crate) sizes: Sizes,
    pub(crate) member: Late<Member>,
    pub(crate) files: Late<FileService>,
    pub(crate) documents: DocumentCache,
    pub(crate) under_way: UnderWay,
}

impl Node {
    /// Reads the folder, which the caller holds, and checks it against the settings.
    ///
    /// # Errors
    /// [`Error`]; the process ends with its exit code.
    pub fn open(settings: Settings, secret: FleetSecret, seams: Seams, sizes: Sizes) -> Result<Self, Error> {
        let addresses = settings.check()?;
        let plan = Plan {
            dir: settings.data_dir.clone(),
            fleet: secret.fleet(),
            group: settings.cluster.to_string(),
            name: settings.name.clone(),
            own: addresses.peer.clone(),
            members: settings.initial_members.clone(),
            join: settings.join.clone(),
        };
        let entrant = Entrant::open(Kind::Node, plan, &secret, seams)?;
        let (member, files) = (Late::default(), Late::default());
        let (documents, under_way) = (DocumentCache::default(), UnderWay::default());
        Ok(Self { settings, addresses, secret, entrant, sizes, member, files, documents, under_way })
    }

    /// Makes what the peer listener serves, for a transport that calls it in memory.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn peer_service(&self) -> Result<Service, Error> {
        let Entrant { seams, formation, .. } = &self.entrant;
        let (entropy, clock) = (seams.entropy.clone(), seams.clock.clone());
        let edge = Edge::new(entropy, clock.clone(), RequestMetrics::default(), ops::name);
        let auth = PeerAuth::new(self.secret.clone(), &*self.addresses.peer, clock);
        let routes = peer_router(formation.clone(), self.member.clone(), self.files.clone());
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
        Box::pin(serve(self, stop)).await
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

async fn serve(node: &Node, stop: &CancellationToken) -> Result<(), Error> {
    let Some(identity) = node.entrant.place(stop).await? else { return Ok(()) };
    node.entrant.until_fatal(Box::pin(take_part(node, identity, stop))).await
}

/// Opens what the node keeps, takes its place in the group and serves until `stop`, or until something is fatal.
async fn take_part(node: &Node, identity: Identity, stop: &CancellationToken) -> Result<(), Error> {
    let Node { settings, addresses, entrant, sizes, under_way, .. } = node;
    let Entrant { seams, peers, formation, .. } = entrant;
    let (late_member, late_files) = (&node.member, &node.files);
    let documents = node.documents.clone();
    let seat = entrant.seat(sizes.group.clone());
    let kv = seat.database::<FileMachine>(flotilla_chunk_store::FAMILIES).await?;
    let store = open_store(&settings.data_dir, seams, sizes, kv.clone()).await?;
    let starts = entrant.starts(kv);
    let start = starts.last(|kv| last_writer(kv, identity.node))?;
    let entered = entrant.enter(&seat, &identity, FileMachine, starts, start).await?;
    let metadata = Metadata::new(entered.group.clone());
    tokio::select! {
        greeted = entered.greet() => greeted?,
        () = stop.cancelled() => return Ok(()),
    }
    // What was known before a restart tells good tokens from bad ones, also while nobody leads.
    if let Err(error) = metadata.refresh(&documents) {
        tracing::error!(%error, "documents can't be read");
    }
    let board = Board::new(seams.clock.clone(), seams.entropy.clone());
    let pace = Pace::new(settings.repair_rate.as_u64(), seams.clock.clone());
    let register =
        Nodes { node: identity.node, metadata: metadata.clone(), board: board.clone(), entropy: seams.entropy.clone() };
    let (grace, greeter) = (settings.voter_grace, entered.greeter.clone());
    let membership = Membership::new(identity.node, register, grace, greeter, seams.clock.clone());
    let (removed, unheard) = (membership.removed.clone(), membership.unheard.clone());
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

    let serve = async {
        let writer = grant_writer(&metadata, identity.node, &*seams.entropy).await;
        entered.starts.end(metadata.group()).await;
        formation.end_forming();
        formation.set_formed();
        let budget = Budget::default();
        let placer = LeaderPlacer { metadata: metadata.clone(), board: board.clone(), peers: peers.clone() };
        let chunk_size = settings.chunk_size.as_u64();
        let places = Places::new(identity.node, chunk_size, settings.replicas, Arc::new(placer), seams.clock.clone());
        let told = settings.supernodes.clone();
        let supernodes = Supernodes::new(told, documents.clone(), peers.clone(), seams.clock.clone());
        let homes = Homes::new(settings.cluster.clone(), identity.uuid, supernodes.clone(), metadata.clone());
        let (released, sequence) = (Released::default(), Sequence::default());
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
            sequence: sequence.clone(),
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
            sequence,
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
            unheard: unheard.clone(),
            entropy: seams.entropy.clone(),
            offers: Offers::new(seams.clock.clone()),
            supernodes,
            taking_over: Arc::default(),
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
            under_way: under_way.clone(),
            entropy: seams.entropy.clone(),
            clock: seams.clock.clone(),
        });
        tracing::info!(node = %identity.node, %writer, "node serves");
        let (teller, keeper) = (teller.run(stop.clone()), keeper.run(stop.clone()));
        tokio::join!(teller, keeper, Box::pin(repair.run(stop.clone())));
    };
    let work = async {
        seat.form(metadata.group(), formation).await?;
        // Not only once it may write: a node that leaves may be the one that leads, or the one to be told.
        tokio::join!(Box::pin(serve), membership.run(stop.clone()));
        Ok(())
    };
    tokio::select! {
        result = work => result,
        () = removed.cancelled() => Err(membership::removed(Kind::Node, identity.node)),
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

/// Reads the writer id of the node's last start, before its group is open.
fn last_writer(kv: &dyn Kv, node: NodeId) -> Result<Option<u64>, Error> {
    let row = kv.get(keys::WRITERS, &keys::node(node)).map_err(Error::Kv)?;
    let writer: Option<WriterId> = row
        .map(|row| codec::decode(&row))
        .transpose()
        .map_err(|error| Error::Metadata(format!("writers are corrupt: {error}")))?;
    Ok(writer.map(|writer| writer.0))
}

/// Asks for a writer id until there is one: without it nothing can be written, and there is nothing else to do.
async fn grant_writer(metadata: &Metadata, node: NodeId, entropy: &dyn Entropy) -> WriterId {
    loop {
        match try_grant(metadata, node, entropy).await {
            Ok(Answer::Writer(writer)) => return writer,
            Ok(Answer::Refused(why)) => {
                tracing::warn!(?why, "this start is granted no writer id");
                tokio::time::sleep(GRANT_AGAIN_AFTER * 10).await;
            }
            Ok(other) => tracing::error!(answer = ?other, "a grant was answered with something else"),
            Err(error) => tracing::debug!(%error, "no writer id yet"),
        }
        tokio::time::sleep(GRANT_AGAIN_AFTER).await;
    }
}

/// Asks once, as the start that follows the last one that is known. A try that was granted without an answer is the last one then.
async fn try_grant(metadata: &Metadata, node: NodeId, entropy: &dyn Entropy) -> Result<Answer, read::Error> {
    metadata.barrier().await?;
    let after = metadata.writer_of(node)?;
    let id = CommandId { id: RequestId::from_bits(entropy.u128()), seen: None };
    Ok(metadata.propose(id, Command::GrantWriter { node, after }).await?.answer)
}

fn card(settings: &Settings, addresses: &Addresses, identity: &Identity) -> Card {
    Card {
        node: identity.node,
        cluster: settings.cluster.clone(),
        uuid: identity.uuid,
        peer: addresses.peer.clone(),
        public: addresses.public.clone(),
        zone: settings.zone.clone(),
    }
}
