//! What the directory asks about homes: old claims, which this cluster's log closes if they are not in use, and, when the
//! directory is made anew from the clusters or held against them, the records themselves.

use axum::extract::State;
use flotilla_api::{
    Code,
    peer::{FenceAnswer, FenceRequest, HOMES_MAX, HomesAnswer, HomesRequest, SettleAnswer, SettleRequest},
};
use flotilla_http_server::{ApiError, Coded};

use super::{error::of_metadata, routes::PeerState};
use crate::metadata::{Answer, Command, home_records, life};

/// Confirms the claims that have a record here, and closes the others at their epochs: the leader releases those.
pub(super) async fn settle(
    State(state): State<PeerState>,
    Coded(request): Coded<SettleRequest>,
) -> Result<Coded<SettleAnswer>, ApiError> {
    let files = state.files.ready()?;
    let metadata = &files.metadata;
    metadata.barrier().await.map_err(|error| of_metadata(&error))?;
    let mut confirmed = Vec::new();
    for (name, epoch) in request.claims.into_iter().take(HOMES_MAX) {
        let row = metadata.key(&name).map_err(|error| of_metadata(&error))?;
        if row.is_some_and(|row| row.epoch == epoch) {
            // Open, or closed and on its way to the directory.
            confirmed.push(epoch);
            continue;
        }
        flotilla_env::failpoint!("homes.before_settle", |_| Err(ApiError::new(Code::NoLeader, "a failpoint")));
        let close = Command::Life(life::Command::Close { name, epoch });
        let id = metadata.fresh_id(&*files.entropy);
        match metadata.propose(id, close).await.map_err(|error| of_metadata(&error))?.answer {
            Answer::Life(life::Answer::InUse) => confirmed.push(epoch),
            answer => tracing::debug!(%epoch, ?answer, "a claim was never used"),
        }
    }
    Ok(Coded(SettleAnswer { confirmed }))
}

/// Tells home records, as they are after a read barrier.
pub(super) async fn records(
    State(state): State<PeerState>,
    Coded(request): Coded<HomesRequest>,
) -> Result<Coded<HomesAnswer>, ApiError> {
    let metadata = &state.files.ready()?.metadata;
    metadata.barrier().await.map_err(|error| of_metadata(&error))?;
    let read = metadata.with_view(move |view| home_records::read(view, &request)).await;
    read.map_err(|error| of_metadata(&error))?.map(Coded).map_err(|error| {
        tracing::error!(%error, "home records can't be read");
        ApiError::new(Code::Internal, "the node's home records can't be read")
    })
}

/// Has this cluster refuse first commits under what a lost directory may have granted, and tells the documents that it has.
pub(super) async fn fence(
    State(state): State<PeerState>,
    Coded(request): Coded<FenceRequest>,
) -> Result<Coded<FenceAnswer>, ApiError> {
    let files = state.files.ready()?;
    let metadata = &files.metadata;
    let FenceRequest { directory, upto } = request;
    let raise = Command::Life(life::Command::RaiseFloor { upto, directory });
    let id = metadata.fresh_id(&*files.entropy);
    metadata.propose(id, raise).await.map_err(|error| of_metadata(&error))?;
    tracing::info!(%directory, %upto, "a directory is made anew from this cluster");
    metadata.barrier().await.map_err(|error| of_metadata(&error))?;
    let documents = metadata.documents().map_err(|error| of_metadata(&error))?;
    Ok(Coded(FenceAnswer { documents }))
}
