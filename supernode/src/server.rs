//! The composition root: a supernode's parts in the order in which they come to life, and back.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use flotilla_api::peer::{Document, Principal, auth::FleetSecret};
use flotilla_client::PeerClient;
use flotilla_http_server::{
    DocumentCache, Edge, Guard, Late, Operations, PeerAuth, Readiness, Reason, RequestMetrics, Sealer, Site, Sites,
    bind, install_metrics, secret,
};
use flotilla_member::{Addresses, Error, Fatal, FormPeers, Seams, Seat, live, marks};
use flotilla_raft_store::{
    formation::{Formation, Plan},
    identity::FolderLock,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    admission::{self, gate::Gate},
    claims::Claims,
    clusters::Clusters,
    directory::{Answer, Command, Directory, DirectoryMachine, Refusal},
    http::{Forwarder, KEPT_BUDGET_BYTES, Others, Service, op, peer_router, public_router},
    root_key,
};

/// The name of the supernodes' group.
const GROUP: &str = "supernodes";
/// Between two tries to write the root's document.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How often decoded documents are brought up to date: another supernode may have changed them.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// How long readiness waits for a read index.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// Runs a supernode until `stop`.
///
/// # Errors
/// [`Error`], whose exit code tells the supervisor what to do.
///
/// # Cancel safety
/// Dropping the future is like a crash: nothing acked is lost.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), Error> {
    let addresses = settings.check()?;
    let secret = secret::read(&settings.fleet_secret_file)?;
    let _folder = FolderLock::take(&settings.data_dir).await?;
    marks::check(&settings.data_dir)?;
    let seams = Seams::system();
    let founds = settings.initial_members.first() == Some(&addresses.peer);
    let root = root_key::read_or_make(&settings.root_key_file, founds, &*seams.entropy)?;
    if root.is_none() && settings.replace_root_key {
        let why = format!("there is no key in '{}' to replace it with", settings.root_key_file.display());
        return Err(Error::Setting { name: "replace_root_key", why });
    }
    let peers = PeerClient::new(
        secret.clone(),
        &*addresses.peer,
        seams.clock.clone(),
        &*seams.entropy,
        seams.transport.clone(),
    );
    let plan = Plan {
        dir: settings.data_dir.clone(),
        fleet: secret.fleet(),
        group: GROUP.to_owned(),
        own: addresses.peer.clone(),
        members: settings.initial_members.clone(),
        join: Vec::new(),
    };
    let formation = Arc::new(Formation::open(plan, seams.disk.clone(), seams.entropy.clone())?);
    let (service, documents) = (Late::default(), DocumentCache::default());
    let sites = sites(&settings, &addresses, &secret, &seams, &formation, &service, &documents, &stop)?;

    let sealer = Sealer::new(secret.clone(), seams.clock.clone(), settings.capability_lifetime.0);
    let fatal = Fatal::default();
    let work = async {
        tokio::select! {
            biased;
            _ = fatal.wait() => fatal.end(&settings.data_dir),
            result = serve(&settings, &seams, &peers, &formation, &service, documents, root, sealer, &fatal, &stop) => result,
        }
    };
    let group = || service.get().map(|service| service.forwarder.directory.group().clone());
    // Nothing is brought to a supernode for somebody else's clients.
    live(sites, std::future::ready(()), Box::pin(work), group, &fatal, &settings.data_dir).await
}

#[allow(clippy::too_many_arguments)] // the composition root hands every part what it uses
fn sites(
    settings: &Settings,
    addresses: &Addresses,
    secret: &FleetSecret,
    seams: &Seams,
    formation: &Arc<Formation>,
    service: &Late<Service>,
    documents: &DocumentCache,
    stop: &CancellationToken,
) -> Result<Sites, Error> {
    let limits = settings.limits()?;
    let metrics = install_metrics(stop).map_err(|error| Error::Listener(std::io::Error::other(error)))?;
    let edge = Edge::new(seams.entropy.clone(), seams.clock.clone(), RequestMetrics::default(), op);
    let auth = PeerAuth::new(secret.clone(), &*addresses.peer, seams.clock.clone());
    let readiness = Arc::new(Ready { service: service.clone() });
    let operations =
        Operations::new(&*settings.name, "supernode", seams.clock.clone(), readiness, metrics, stop.clone());
    let authenticator = Arc::new(documents.clone());
    Ok(Sites {
        public: Site::public(
            bind(settings.public, true)?,
            public_router(service.clone()),
            Guard::tokens(authenticator.clone()),
            &edge,
            limits,
        ),
        peer: Site::peer(
            bind(settings.peer, true)?,
            peer_router(formation.clone(), service.clone()),
            auth,
            &edge,
            limits,
        ),
        operations: Site::operations(bind(settings.ops, true)?, operations.scrapers(authenticator), &edge),
    })
}

/// Joins the group and serves until `stop`.
#[allow(clippy::too_many_arguments)] // as `sites`
async fn serve(
    settings: &Settings,
    seams: &Seams,
    peers: &PeerClient,
    formation: &Arc<Formation>,
    late: &Late<Service>,
    documents: DocumentCache,
    root: Option<Principal>,
    sealer: Sealer,
    fatal: &Fatal,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let (dir, idle, replace) = (&settings.data_dir, settings.claim_idle.0, settings.replace_root_key);
    let admission = admission::Settings { queue_wait: settings.queue_wait.0, stealing: settings.stealing };
    let others = Others::new(&settings.initial_members, peers.clone());
    let members = FormPeers(peers.clone());
    let identity = tokio::select! {
        identity = formation.run(&members) => identity?,
        () = stop.cancelled() => return Ok(()),
    };
    let settings = flotilla_raft_store::Settings::default();
    let seat = Seat { group: GROUP.to_owned(), dir: dir.clone(), seams, settings, peers, elects: true, fatal };
    let kv = seat.database::<DirectoryMachine>(&[]).await?;
    let directory = Directory::new(
        identity.uuid,
        seat.open(&identity, DirectoryMachine, kv).await?,
        seams.clock.clone(),
        seams.entropy.clone(),
    );
    let gate = Gate::new(admission, seams.clock.clone(), seams.entropy.clone());
    let forwarder = Forwarder {
        directory: directory.clone(),
        clusters: Clusters::new(seams.clock.clone(), seams.entropy.clone()),
        peers: peers.clone(),
        entropy: seams.entropy.clone(),
        gate: gate.clone(),
        clock: seams.clock.clone(),
    };
    let claims = Claims {
        directory: directory.clone(),
        clusters: forwarder.clusters.clone(),
        peers: peers.clone(),
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
        idle,
    };
    let kept = Arc::new(Semaphore::new(KEPT_BUDGET_BYTES));
    // What was known before a restart tells good tokens from bad ones, also while nobody leads.
    refresh(&directory, &documents);
    late.set(Service { forwarder, others, documents: documents.clone(), sealer, kept, clock: seams.clock.clone() });

    let work = async {
        seat.form(directory.group(), formation).await?;
        if let Some(root) = root {
            let done = replace && root_key::was_put(dir, &root)?;
            if done {
                tracing::warn!(
                    "replace_root_key was followed by an earlier start with this key; take it out, or remove root-key.put to do it again"
                );
            }
            let replace = replace && !done;
            write_root(&directory, seams, &root, replace).await;
            if replace {
                root_key::note_put(dir, &root)?;
            }
        }
        formation.set_formed();
        tracing::info!(node = %identity.node, "supernode serves");
        loop {
            refresh(&directory, &documents);
            tokio::time::sleep(REFRESH_EVERY).await;
        }
    };
    tokio::select! {
        result = work => result,
        () = claims.run() => Ok(()),
        // Ends with the stop.
        () = gate.run(stop.clone()) => Ok(()),
    }
}

/// Brings the decoded documents up to what is applied here.
fn refresh(directory: &Directory, documents: &DocumentCache) {
    if directory.revision().is_ok_and(|revision| revision != documents.revision()) {
        match directory.documents() {
            Ok(fresh) => documents.replace(fresh),
            Err(error) => tracing::error!(%error, "documents can't be read"),
        }
    }
}

/// Writes the root's document until one is there: without it nobody can do anything.
async fn write_root(directory: &Directory, seams: &Seams, root: &Principal, replace: bool) {
    loop {
        let put = match replace {
            true => Command::PutDocument(Document::Principal(root.clone())),
            false => Command::FoundRoot(root.clone()),
        };
        match directory.propose(seams.entropy.u128(), put).await {
            Ok(Answer::Done) => return,
            Ok(Answer::Refused(Refusal::Taken)) => {
                tracing::warn!("the root key is another one than that in root_key_file, which opens nothing");
                return;
            }
            Ok(answer) => tracing::error!(?answer, "the root's document was not taken"),
            Err(error) => tracing::debug!(%error, "no leader for the root's document yet"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Whether the supernode can route: a read index within a second, and the root known.
struct Ready {
    service: Late<Service>,
}

#[async_trait]
impl Readiness for Ready {
    async fn reasons(&self) -> Vec<Reason> {
        let Some(service) = self.service.get() else { return vec![Reason::NoQuorum] };
        let group = service.forwarder.directory.group();
        if group.status().catching_up {
            return vec![Reason::CatchingUp];
        }
        match group.read(READ_WITHIN).await {
            Ok(_) if service.documents.revision() > 0 => Vec::new(),
            Ok(_) | Err(_) => vec![Reason::NoQuorum],
        }
    }
}
