//! The supernode's routes: clients on the public listener, nodes on the peer listener.

mod admin;
mod admit;
mod ask;
mod copy;
mod directory;
mod documents;
pub mod error;
mod files;
mod forward;
mod fsck;
mod keys;
mod lent;
mod others;
mod peers;
mod polls;
mod queue;
mod retire;
mod supernodes;
mod tickets;

pub use files::KEPT_BUDGET_BYTES;
pub use forward::Forwarder;
pub use others::Others;
pub use polls::Polls;
pub use retire::Tallies;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post, put},
};
use flotilla_api::route;
use flotilla_env::Clock;
use flotilla_http_server::{DocumentCache, Sealer, admin::with_routes};
use flotilla_raft_store::{Rpc, formation::Formation};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};

use crate::{
    admission::gate::Gate,
    directory::Directory,
    membership::{Membership, Roster},
    tickets::Seen,
};

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// Requests on their way to clusters.
    pub forwarder: Forwarder,
    /// The other supernodes.
    pub others: Others,
    /// The supernodes.
    pub roster: Roster,
    /// Decoded documents.
    pub documents: DocumentCache,
    /// Sends clients to nodes.
    pub sealer: Sealer,
    /// Memory for bodies that are kept until they are answered.
    pub kept: Arc<Semaphore>,
    /// The last count of all homes.
    pub tallies: Tallies,
    /// Tells when keys are made and homes were counted, and for how long tickets are waited for.
    pub clock: Arc<dyn Clock>,
    /// Tells when tickets change.
    pub turns: watch::Receiver<Seen>,
    /// Those who wait for that.
    pub polls: Polls,
    /// How long a place is held for a ticket.
    pub ticket_hold: Duration,
}

impl Service {
    fn directory(&self) -> &Directory {
        &self.forwarder.directory
    }

    fn gate(&self) -> &Gate {
        &self.forwarder.gate
    }
}

/// What the peer routes need.
#[derive(Clone)]
struct PeerState {
    formation: Arc<Formation>,
    /// There once the others have said that this supernode may take part.
    membership: Late<Membership>,
    service: Late<Service>,
}

/// Something that is there only later in the start.
pub type Late<T> = flotilla_http_server::Late<T>;

/// Makes the router of the public listener.
pub fn public_router(service: Late<Service>) -> Router {
    let file =
        get(files::get).put(files::put).delete(files::delete).head(files::get).post(copy::post).patch(files::patch);
    let router = Router::new()
        .route(&format!("{}/{{*name}}", route::FILES), file)
        .route(&format!("{}/{{bucket}}", route::BUCKETS), put(documents::put_bucket))
        .route(route::BUCKETS, get(documents::buckets))
        .route(route::KEYS, get(keys::list))
        .route(&format!("{}/{{name}}", route::KEYS), post(keys::create).delete(keys::revoke))
        .route(route::CLUSTERS, get(documents::clusters))
        .route(route::SUPERNODES, get(supernodes::list))
        .route(&format!("{}/{{id}}/{}", route::SUPERNODES, route::REMOVE), post(supernodes::remove))
        .route(&format!("{}/{{id}}/{}", route::SUPERNODES, route::REMOVE_LOST), post(supernodes::remove_lost))
        .route(route::QUEUE, get(queue::queue))
        .route(&format!("{}/{{id}}", route::EXPLAIN), get(queue::explain))
        .route(route::DIRECTORY_REBUILD, post(directory::rebuild))
        .route(route::DIRECTORY_VERIFY, get(directory::verify))
        .route(route::DIRECTORY_DUMP, get(directory::dump))
        .route(
            &format!("{}/{{cluster}}/{}", route::CLUSTERS, route::RETIRE),
            get(retire::show).post(retire::begin).delete(retire::undo),
        )
        .route(&format!("{}/{{cluster}}/{}", route::CLUSTERS, route::FORGET), post(retire::forget))
        .route(&format!("{}/{{id}}", route::TICKETS), get(tickets::look).delete(tickets::cancel))
        .route(&format!("{}/{{cluster}}/{}", route::CLUSTERS, route::FSCK), get(fsck::fsck));
    with_routes(router, admin::admin).layer(DefaultBodyLimit::disable()).with_state(service)
}

/// Makes the router of the peer listener.
pub fn peer_router(formation: Arc<Formation>, membership: Late<Membership>, service: Late<Service>) -> Router {
    Router::new()
        .route(route::PEER_FORM, post(peers::form))
        .route(route::PEER_JOIN, post(peers::join))
        .route(route::PEER_GREET, post(peers::greet))
        .route(route::PEER_MEMBERS, post(supernodes::members))
        .route(route::PEER_REPORT, post(peers::report))
        .route(route::PEER_CLAIM, post(peers::claim))
        .route(route::PEER_LOOKUP, post(peers::lookup))
        .route(route::PEER_RELEASE, post(peers::release))
        .route(route::PEER_NODES, post(peers::nodes))
        .route(route::PEER_BUCKET, post(peers::has_bucket))
        .route(route::PEER_QUEUE, post(queue::peer_queue))
        .route(route::PEER_EXPLAIN, post(queue::peer_explain))
        .route(&format!("{}/{{kind}}", route::PEER_RAFT), post(peers::raft))
        .layer(DefaultBodyLimit::disable())
        .with_state(PeerState { formation, membership, service })
}

/// Names a request's operation for metrics and logs: few and fixed, whatever is requested.
#[must_use]
pub fn op(method: &http::Method, route: Option<&str>) -> &'static str {
    match route {
        Some(path) if path.starts_with(route::FILES) => match method.as_str() {
            "PUT" => "put",
            "GET" => "get",
            "HEAD" => "head",
            "DELETE" => "delete",
            "POST" => "copy",
            "PATCH" => "patch",
            _ => "other",
        },
        Some(path) if path.starts_with(route::PEER_RAFT) => "raft",
        Some(path) if path.starts_with(route::BUCKETS) => "buckets",
        Some(path) if path.starts_with(route::KEYS) => "keys",
        Some(route::CLUSTERS) => "clusters",
        Some(path) if path.starts_with(route::SUPERNODES) => "admin",
        Some(path) if path.starts_with(route::QUEUE) || path.starts_with(route::EXPLAIN) => "queue",
        Some(path) if path.starts_with(route::CLUSTERS) && path.ends_with(route::FSCK) => "fsck",
        Some(path) if path.starts_with(route::CLUSTERS) => "admin",
        Some(route::DIRECTORY_REBUILD | route::DIRECTORY_VERIFY | route::DIRECTORY_DUMP) => "directory",
        Some(path) if path.starts_with(route::TICKETS) => "tickets",
        Some(route::PEER_REPORT) => "report",
        Some(route::PEER_CLAIM) => "claim",
        Some(route::PEER_LOOKUP | route::PEER_BUCKET | route::PEER_NODES) => "lookup",
        Some(route::PEER_RELEASE) => "release",
        Some(route::PEER_QUEUE | route::PEER_EXPLAIN) => "queue",
        Some(route::PEER_FORM | route::PEER_JOIN | route::PEER_GREET) => "form",
        Some(route::PEER_MEMBERS) => "admin",
        Some(_) | None => "other",
    }
}

/// Reads the kind of a Raft message from its route.
fn rpc(kind: &str) -> Result<Rpc, flotilla_http_server::ApiError> {
    kind.parse().map_err(|_| {
        flotilla_http_server::ApiError::new(flotilla_api::Code::RouteNotFound, "there is no such Raft message")
    })
}

#[cfg(test)]
mod tests;
