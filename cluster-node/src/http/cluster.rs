//! What nodes tell each other about the cluster: formation, Raft messages, heartbeats, placement.

use axum::{
    body::Body,
    extract::{Path, State},
};
use flotilla_api::{
    Code,
    peer::{FormAnswer, FormRequest, Heartbeat, PlaceAnswer, PlaceRequest},
};
use flotilla_http_server::{ApiError, Coded, read_all};
use flotilla_raft_store::{BODY_BYTES_MAX, Rpc};

use super::{error::of_raft, routes::PeerState};

pub(super) async fn form(
    State(state): State<PeerState>,
    Coded(request): Coded<FormRequest>,
) -> Result<Coded<FormAnswer>, ApiError> {
    let answer = tokio::task::spawn_blocking(move || state.formation.answer(&request)).await;
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
) -> Result<Coded<()>, ApiError> {
    state.member.ready()?.board.heard(heartbeat);
    Ok(Coded(()))
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
