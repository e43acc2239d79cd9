//! A supernode as a process: its folder, its root key, its listeners, and the order in which they end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use flotilla_api::ClusterName;
use flotilla_env::Clock;
use flotilla_http_server::{
    Edge, Guard, Late, Operations, PeerAuth, Readiness, Reason, RequestMetrics, Site, Sites, bind, install_metrics,
    secret,
};
use flotilla_member::{Entrant, Error, Seams, live, marks};
use flotilla_raft_store::identity::FolderLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    clusters::Clusters,
    directory::rows::{ClusterRow, Stage},
    http::{Forwarder, Service, op, peer_router, public_router},
    root_key,
    supernode::Supernode,
};

/// How long readiness waits for a read index.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// How long after its start a supernode is not ready for want of a cluster: twice the half minute for which an address is usually
/// kept by whoever asked for it by name, so that clusters find one that moved. Dead ones keep it out no longer.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;

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
    let file = settings.root_key_file.as_deref();
    let root = match file {
        Some(path) => root_key::read_or_make(path, founds, &*seams.entropy)?,
        None => None,
    };
    if root.is_none() && settings.replace_root_key {
        let file = file.map_or_else(|| "root_key_file".to_owned(), |path| path.display().to_string());
        let why = format!("there is no key in '{file}' to replace it with");
        return Err(Error::Setting { name: "replace_root_key", why });
    }
    let timers = flotilla_raft_store::Settings::default();
    let supernode = Supernode::open(settings, secret, root, seams, timers)?;
    let sites = sites(&supernode, &stop)?;

    let dir = &supernode.settings.data_dir;
    // Nothing is brought to a supernode for somebody else's clients.
    let forwarded = std::future::ready(());
    live(sites, forwarded, supernode.serve(&stop), || supernode.group(), &supernode.entrant.fatal, dir).await
}

fn sites(supernode: &Supernode, stop: &CancellationToken) -> Result<Sites, Error> {
    let Supernode { settings, addresses, secret, entrant, membership, service, documents, .. } = supernode;
    let Entrant { seams, formation, .. } = entrant;
    let limits = settings.limits()?;
    let metrics = install_metrics(stop).map_err(|error| Error::Listener(std::io::Error::other(error)))?;
    let edge = Edge::new(seams.entropy.clone(), seams.clock.clone(), RequestMetrics::default(), op);
    let auth = PeerAuth::new(secret.clone(), &*addresses.peer, seams.clock.clone());
    let readiness = Arc::new(Ready { service: service.clone(), beginning: Beginning::new(seams.clock.clone()) });
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
            peer_router(formation.clone(), membership.clone(), service.clone()),
            auth,
            &edge,
            limits,
        ),
        operations: Site::operations(bind(settings.ops, true)?, operations.scrapers(authenticator), &edge),
    })
}

/// Whether the supernode can route: a read index within a second, the root known, and after a start a cluster heard.
struct Ready {
    service: Late<Service>,
    beginning: Beginning,
}

#[async_trait]
impl Readiness for Ready {
    async fn reasons(&self) -> Vec<Reason> {
        let Some(service) = self.service.get() else { return vec![Reason::NoQuorum] };
        let Forwarder { directory, clusters, .. } = &service.forwarder;
        if directory.group().status().catching_up {
            return vec![Reason::CatchingUp];
        }
        match directory.group().read(READ_WITHIN).await {
            Ok(_) if service.documents.has_principals() => {}
            Ok(_) | Err(_) => return vec![Reason::NoQuorum],
        }
        // Rows that can't be read are nothing that time mends, and everything else tells of them.
        let waits = directory.clusters().is_ok_and(|registered| self.beginning.waits(&registered, clusters));
        waits.then_some(Reason::NoCluster).into_iter().collect()
    }
}

/// The time after a start in which no cluster may have reported here yet. New files find none then, and other supernodes that
/// have heard of theirs could take them.
struct Beginning {
    clock: Arc<dyn Clock>,
    /// When it is over, whatever was heard.
    until: Instant,
    over: AtomicBool,
}

impl Beginning {
    /// Begins it.
    fn new(clock: Arc<dyn Clock>) -> Self {
        let until = clock.now() + HEARD_WITHIN;
        Self { clock, until, over: AtomicBool::new(false) }
    }

    /// Whether none of the registered clusters that get new files has reported, though there are some. Once that is not so, it is
    /// over for good: a fleet's first cluster is registered where it reports first, and keeps no other supernode from its work.
    fn waits(&self, registered: &[(ClusterName, ClusterRow)], clusters: &Clusters) -> bool {
        if self.over.load(Ordering::Relaxed) {
            return false;
        }
        let mut active = registered.iter().filter(|(_, row)| row.stage == Stage::Active).peekable();
        let silent = active.peek().is_some() && !active.any(|(name, _)| clusters.is_known(name));
        let waits = silent && self.clock.now() < self.until;
        if !waits {
            self.over.store(true, Ordering::Relaxed);
        }
        waits
    }
}
