//! The routers of both listeners, and what a handler gets before the node is ready: nothing.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use flotilla_api::{Code, NodeId, Problem, header, route};
use flotilla_chunk_store::ChunkStore;
use flotilla_client::PeerClient;
use flotilla_env::Clock;
use flotilla_http_server::{ApiError, Late, admin::with_routes};
use flotilla_raft_store::formation::Formation;
use http::HeaderMap;

use super::{
    admin,
    answer::set,
    chunks, cluster,
    direct::{self, Direct},
    files::FileService,
    fsck, homes, peer_files,
};
use crate::{board::Board, membership::Membership, metadata::Metadata, repair::pace::Pace};

/// What the node is within its group, once it has an identity.
#[derive(Clone)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// The group's metadata.
    pub metadata: Metadata,
    /// Who belongs to the cluster.
    pub membership: Membership,
    /// What the leader knows of the nodes.
    pub board: Board,
    /// This node's chunks.
    pub store: ChunkStore,
    /// The way to other processes.
    pub peers: PeerClient,
    /// Hears how long clients wait for this node's disk.
    pub pace: Pace,
    /// The monotonic clock.
    pub clock: Arc<dyn Clock>,
}

/// What the peer routes need.
#[derive(Clone)]
pub(super) struct PeerState {
    pub formation: Arc<Formation>,
    pub member: Late<Member>,
    pub files: Late<FileService>,
}

/// Makes the router of the public listener.
pub fn public_router(state: Direct) -> Router {
    let file = get(direct::get).put(direct::put).delete(direct::delete).head(direct::get).post(direct::make);
    let file = file.patch(direct::patch);
    let router = Router::new()
        .route(&format!("{}/{{*name}}", route::FILES), file)
        .route(&format!("{}/{{cluster}}/{}", route::CLUSTERS, route::FSCK), get(fsck::public));
    with_routes(router, admin::public).layer(DefaultBodyLimit::disable()).with_state(state)
}

/// Makes the router of the peer listener.
pub fn peer_router(formation: Arc<Formation>, member: Late<Member>, files: Late<FileService>) -> Router {
    let file = get(peer_files::get).put(peer_files::put).delete(peer_files::delete).head(peer_files::get);
    let state = PeerState { formation, member: member.clone(), files };
    let file = file.post(peer_files::make).patch(peer_files::patch);
    let file = file.layer(from_fn_with_state(state.clone(), timed));
    Router::new()
        .route(route::PEER_FILE, file)
        .route(route::PEER_LAYOUT, get(peer_files::get_layout))
        .route(route::PEER_LIST, post(peer_files::list))
        .route(route::PEER_INVENTORY, post(fsck::inventory))
        .route(route::PEER_INSPECT, post(fsck::inspect))
        .route(route::PEER_FSCK, post(fsck::peer))
        .route(route::PEER_ADMIN, post(admin::peer))
        .route(route::PEER_TRANSFERS, post(admin::transfers))
        .route(route::PEER_MEMBERS, post(admin::members))
        .route(route::PEER_STOP, post(admin::stop))
        .route(route::PEER_DRAINED, post(admin::drained))
        .route(route::PEER_SETTLE, post(homes::settle))
        .route(route::PEER_HOMES, post(homes::records))
        .route(route::PEER_FENCE, post(homes::fence))
        .route(route::PEER_PLACE, post(cluster::place))
        .route(route::PEER_HEARTBEAT, post(cluster::heartbeat))
        .route(route::PEER_FORM, post(cluster::form))
        .route(route::PEER_JOIN, post(cluster::join))
        .route(route::PEER_GREET, post(cluster::greet))
        .route(&format!("{}/{{kind}}", route::PEER_RAFT), post(cluster::raft))
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
        .merge(chunks::routes(member))
}

/// Tells how long an answer took here, up to its head: how busy the supernode is that asks is not in it.
async fn timed(State(state): State<PeerState>, request: Request, next: Next) -> Response {
    let Ok(member) = state.member.ready() else { return next.run(request).await };
    let begun = member.clock.now();
    let mut answer = next.run(request).await;
    let took = member.clock.now().duration_since(begun);
    set(answer.headers_mut(), header::TOOK, took.as_micros().to_string());
    answer
}

/// A question about another cluster than this node's.
pub(super) fn wrong_cluster(name: &str) -> ApiError {
    let problem = Problem::new(Code::RouteNotFound, format!("this node does not belong to a cluster '{name}'"));
    problem.hint("ask a supernode, or a node of that cluster").into()
}

/// Reads one of our own headers.
///
/// # Errors
/// 400 `header_invalid`: a bug of the other process.
pub(super) fn own_header<T: std::str::FromStr>(headers: &HeaderMap, name: &'static str) -> Result<T, ApiError> {
    let text = headers.get(name).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ApiError::new(Code::HeaderInvalid, format!("header '{name}' is missing or malformed")))
}

/// Reads the file's name from its header.
///
/// # Errors
/// As [`own_header`].
pub(super) fn name_header(headers: &HeaderMap) -> Result<flotilla_api::FileName, ApiError> {
    let text: String = own_header(headers, header::NAME)?;
    flotilla_api::FileName::from_header(&text).map_err(|error| ApiError::new(Code::HeaderInvalid, error.to_string()))
}

#[cfg(test)]
mod tests;
