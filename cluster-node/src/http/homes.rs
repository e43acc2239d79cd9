//! Old claims that the directory asks about: this cluster's log decides whether they are in use, and closes them if not.

use axum::extract::State;
use flotilla_api::peer::{HOMES_MAX, SettleAnswer, SettleRequest};
use flotilla_http_server::{ApiError, Coded};

use super::{error::of_metadata, routes::PeerState};
use crate::metadata::{Answer, Command, life};

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
        flotilla_env::failpoint!("homes.before_settle", |_| Err(ApiError::new(
            flotilla_api::Code::NoLeader,
            "a failpoint"
        )));
        let close = Command::Life(life::Command::Close { name, epoch });
        let id = metadata.fresh_id(&*files.entropy);
        match metadata.propose(id, close).await.map_err(|error| of_metadata(&error))?.answer {
            Answer::Life(life::Answer::InUse) => confirmed.push(epoch),
            answer => tracing::debug!(%epoch, ?answer, "a claim was never used"),
        }
    }
    Ok(Coded(SettleAnswer { confirmed }))
}
