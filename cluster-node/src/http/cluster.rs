//! What nodes tell each other about the cluster: formation, Raft messages, heartbeats, placement.

use axum::{
    body::Body,
    extract::{Path, State},
};
use flotilla_api::{
    Code,
    peer::{
        FormAnswer, FormRequest, GreetAnswer, GreetRequest, Heartbeat, HeartbeatAnswer, JoinAnswer, JoinRequest,
        PlaceAnswer, PlaceRequest,
    },
};
use flotilla_http_server::{ApiError, Coded, read_all};
use flotilla_raft_store::{BODY_BYTES_MAX, Rpc};

use super::{
    error::{of_membership, of_raft},
    routes::PeerState,
};

pub(super) async fn form(
    State(state): State<PeerState>,
    Coded(request): Coded<FormRequest>,
) -> Result<Coded<FormAnswer>, ApiError> {
    let answer = flotilla_env::blocking::spawn(move || state.formation.answer(&request)).await;
    Ok(Coded(answer.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?))
}

pub(super) async fn raft(
    State(state): State<PeerState>,
    Path(kind): Path<String>,
    body: Body,
) -> Result<Vec<u8>, ApiError> {
    let member = state.member.ready()?;
    let rpc: Rpc = kind.parse().map_err(|_| ApiError::new(Code::RouteNotFound, "there is no such Raft message"))?;
    let message = read_all(body, BODY_BYTES_MAX).await?;
    let answer = member.metadata.group().handle(rpc, message).await.map_err(|error| of_raft(&error))?;
    Ok(answer.into())
}

/// Answers: that is all there is to it.
pub(super) async fn alive() -> Coded<()> {
    Coded(())
}

pub(super) async fn heartbeat(
    State(state): State<PeerState>,
    Coded(heartbeat): Coded<Heartbeat>,
) -> Result<Coded<HeartbeatAnswer>, ApiError> {
    let member = state.member.ready()?;
    let (membership, node) = (&member.membership, heartbeat.node);
    // An address can come to belong to another cluster, which knows nothing of the caller.
    if heartbeat.uuid != membership.uuid {
        return Err(ApiError::new(Code::NotReady, "this node belongs to another cluster"));
    }
    let removed = membership.is_removed(node).await.unwrap_or(false);
    if member.metadata.group().member(node).is_some() {
        member.board.heard(heartbeat);
    }
    Ok(Coded(HeartbeatAnswer { removed, leads: member.metadata.group().status().is_leader }))
}

/// Gives a new node its place.
pub(super) async fn join(
    State(state): State<PeerState>,
    Coded(request): Coded<JoinRequest>,
) -> Result<Coded<JoinAnswer>, ApiError> {
    let cluster = &state.files.ready()?.cluster;
    if request.group != cluster.as_str() {
        let why = format!("the nodes in 'join' are of cluster '{cluster}', not of '{}'", request.group);
        return Ok(Coded(JoinAnswer::Refused { why }));
    }
    state.member.ready()?.membership.place(&request).await.map(Coded).map_err(|error| of_membership(&error))
}

/// Tells a node that starts whether it may take part.
pub(super) async fn greet(
    State(state): State<PeerState>,
    Coded(request): Coded<GreetRequest>,
) -> Result<Coded<GreetAnswer>, ApiError> {
    let member = state.member.ready()?;
    member.membership.greeted(&request).await.map(Coded).map_err(|error| of_membership(&error))
}

pub(super) async fn place(
    State(state): State<PeerState>,
    Coded(request): Coded<PlaceRequest>,
) -> Result<Coded<PlaceAnswer>, ApiError> {
    let member = state.member.ready()?;
    if !member.metadata.group().status().is_leader {
        return Err(ApiError::new(Code::NoLeader, "this node is not the leader"));
    }
    Ok(Coded(member.board.place(&request)))
}
