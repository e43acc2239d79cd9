//! A node as a process: its folder, its listeners, and the order in which they end.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use flotilla_chunk_store::ChunkStore;
use flotilla_env::disk::RealDisk;
use flotilla_http_server::{
    Capabilities, Edge, Guard, Late, Operations, PeerAuth, Readiness, Reason, RequestMetrics, Sealer, Site, Sites,
    bind, install_metrics, secret,
};
use flotilla_member::{Entrant, Error, Seams, live, marks};
use flotilla_raft_store::identity::FolderLock;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    http::{Direct, FileService, Member, peer_router, public_router},
    node::{Node, Sizes},
    ops,
};

/// How long a client that this node sends to another cluster may take to get there.
const CAPABILITY_LIFETIME: Duration = Duration::from_secs(300);

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
    let sites = sites(&node, &stop)?;

    let group = || node.member.get().map(|member| member.metadata.group().clone());
    live(sites, node.under_way.none(), node.serve(&stop), group, &node.entrant.fatal, &node.settings.data_dir).await
}

fn sites(node: &Node, stop: &CancellationToken) -> Result<Sites, Error> {
    let Node { settings, addresses, secret, entrant, member, files, documents, .. } = node;
    let Entrant { seams, formation, .. } = entrant;
    let limits = settings.limits()?;
    let metrics = install_metrics(stop).map_err(|error| Error::Listener(std::io::Error::other(error)))?;
    let edge = Edge::new(seams.entropy.clone(), seams.clock.clone(), RequestMetrics::default(), ops::name);
    let auth = PeerAuth::new(secret.clone(), &*addresses.peer, seams.clock.clone());
    let readiness = Arc::new(Ready { member: member.clone(), files: files.clone() });
    let operations = Operations::new(&*settings.name, "node", seams.clock.clone(), readiness, metrics, stop.clone());
    let scrapers = Arc::new(documents.clone());
    let capabilities =
        Capabilities::new(secret.clone(), settings.cluster.clone(), seams.clock.clone(), documents.clone());
    let guard = Guard::tokens(Arc::new(documents.clone())).or(capabilities);
    let sealer = Sealer::new(secret.clone(), seams.clock.clone(), CAPABILITY_LIFETIME, documents.clone());
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
        } else if !self.files.get().is_some_and(|files| files.documents.has_principals()) {
            // Without the supernode group's documents no client could be told from a stranger.
            reasons.push(Reason::CatchingUp);
        }
        reasons
    }
}
