//! A supernode as a process: its folder, its root key, its listeners, and the order in which they end.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use flotilla_http_server::{
    Edge, Guard, Late, Operations, PeerAuth, Readiness, Reason, RequestMetrics, Site, Sites, bind, install_metrics,
    secret,
};
use flotilla_member::{Error, Seams, live, marks};
use flotilla_raft_store::identity::FolderLock;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    http::{Service, op, peer_router, public_router},
    root_key,
    supernode::Supernode,
};

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
    live(sites, forwarded, supernode.serve(&stop), || supernode.group(), &supernode.fatal, dir).await
}

fn sites(supernode: &Supernode, stop: &CancellationToken) -> Result<Sites, Error> {
    let Supernode { settings, addresses, secret, seams, formation, membership, service, documents, .. } = supernode;
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
            peer_router(formation.clone(), membership.clone(), service.clone()),
            auth,
            &edge,
            limits,
        ),
        operations: Site::operations(bind(settings.ops, true)?, operations.scrapers(authenticator), &edge),
    })
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
            Ok(_) if service.documents.has_principals() => Vec::new(),
            Ok(_) | Err(_) => vec![Reason::NoQuorum],
        }
    }
}
