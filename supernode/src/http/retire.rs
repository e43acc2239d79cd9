//! Clusters on their way out, for root: they get no new keys, lose what they have, and are forgotten.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use flotilla_api::{
    ClusterName, Code, FileName, Problem,
    directory::{Forgotten, Retirement},
};
use flotilla_http_server::{ApiError, Caller};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Late, Service,
    admin::registered,
    directory::{for_root, state_of},
    error::{of_answer, of_directory, of_refusal},
};
use crate::directory::{
    Answer, Command,
    clusters::DROPPED_MAX,
    pages::{HomesPage, Tally},
    rows::Stage,
};

/// How old a count of all homes gets before they are counted again.
const COUNTED_FOR: Duration = Duration::from_secs(10);

/// The last count of all homes: one at a time, whoever asks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tallies(Arc<Mutex<Option<(Instant, Tally)>>>);

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// Whether the cluster is lost, so that its homes are dropped.
    #[serde(default)]
    fence: bool,
}

/// Tells how far a cluster is.
pub(super) async fn show(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
) -> Result<Json<Retirement>, ApiError> {
    let service = service.ready()?;
    for_root(&caller)?;
    let cluster = registered(service, &cluster).await?;
    service.retirement(cluster).await.map(Json)
}

/// A cluster gets no new keys from now on.
pub(super) async fn begin(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
) -> Result<Json<Retirement>, ApiError> {
    set(service.ready()?, &caller, &cluster, true).await
}

/// A cluster gets new keys again.
pub(super) async fn undo(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
) -> Result<Json<Retirement>, ApiError> {
    set(service.ready()?, &caller, &cluster, false).await
}

async fn set(service: &Service, caller: &Caller, cluster: &str, on: bool) -> Result<Json<Retirement>, ApiError> {
    for_root(caller)?;
    let cluster = registered(service, cluster).await?;
    service.change(Command::Retire { cluster: cluster.clone(), on }).await?;
    tracing::info!(%cluster, on, "cluster retires");
    service.gate().retires(&cluster, on);
    service.retirement(cluster).await.map(Json)
}

/// Ends a cluster that has no home left; with `fence` one that is lost, whatever it had.
pub(super) async fn forget(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<Forgotten>, ApiError> {
    let service = service.ready()?;
    for_root(&caller)?;
    let cluster = registered(service, &cluster).await?;
    let dropped = match asked.fence {
        true => service.give_up(&cluster).await?,
        false => 0,
    };
    service.directory().barrier().await.map_err(|error| of_directory(&error))?;
    let tally = service.directory().tally().await.map_err(|error| of_directory(&error))?;
    let homes = tally.homes.get(&cluster).copied().unwrap_or(0);
    let row = tally.clusters.iter().find(|(name, _)| *name == cluster);
    let Some(since) = row.and_then(|(_, row)| row.stage.since()) else {
        let problem = Problem::new(Code::Conflict, format!("cluster '{cluster}' does not retire"));
        return Err(problem.hint(format!("'flotilla cluster retire {cluster}' begins it")).into());
    };
    if homes > 0 {
        let problem = Problem::new(Code::Conflict, format!("the directory has {homes} homes in cluster '{cluster}'"));
        return Err(problem.hint("move or delete its files first; 'flotilla cluster list' counts what is left").into());
    }
    // Refused if it took keys again after what was counted.
    service.change(Command::Forget { cluster: cluster.clone(), since }).await?;
    tracing::info!(%cluster, dropped, "cluster is forgotten");
    Ok(Json(Forgotten { cluster, dropped }))
}

impl Service {
    /// Tells how far a cluster is; homes are counted in the view in which it is seen to retire.
    async fn retirement(&self, cluster: ClusterName) -> Result<Retirement, ApiError> {
        let row = self.directory().cluster(&cluster).map_err(|error| of_directory(&error))?;
        let stage = row.map_or(Stage::Active, |row| row.stage);
        let Some(since) = stage.since() else {
            return Ok(Retirement { cluster, state: state_of(stage), homes: None, safe_to_forget: false });
        };
        let tally = self.tally(&cluster, since).await?;
        let homes = tally.homes.get(&cluster).copied().unwrap_or(0);
        Ok(Retirement { cluster, state: state_of(stage), homes: Some(homes), safe_to_forget: homes == 0 })
    }

    /// Counts all homes, or gives the last count: not one of before this cluster ceased to get keys.
    async fn tally(&self, cluster: &ClusterName, since: u64) -> Result<Tally, ApiError> {
        let mut held = self.tallies.0.lock().await;
        let now = self.clock.now();
        let saw = |tally: &Tally| {
            tally.clusters.iter().any(|(name, row)| name == cluster && row.stage.since() == Some(since))
        };
        if let Some((at, tally)) = &*held
            && now.duration_since(*at) < COUNTED_FOR
            && saw(tally)
        {
            return Ok(tally.clone());
        }
        let tally = self.directory().tally().await.map_err(|error| of_directory(&error))?;
        *held = Some((now, tally.clone()));
        Ok(tally)
    }

    /// Refuses a cluster for ever and drops all its homes; gives how many there were.
    async fn give_up(&self, cluster: &ClusterName) -> Result<u64, ApiError> {
        if self.forwarder.clusters.lives(cluster).await {
            let problem = Problem::new(Code::Conflict, format!("cluster '{cluster}' reports, so it is not lost"));
            return Err(problem.hint("retire it, or stop its nodes for ever first").into());
        }
        self.change(Command::Fence { cluster: cluster.clone() }).await?;
        // Behind the fence nothing is granted to it: from here on all its homes are seen.
        self.directory().barrier().await.map_err(|error| of_directory(&error))?;
        let (mut after, mut dropped): (Option<FileName>, u64) = (None, 0);
        loop {
            let page = self.directory().homes_in(cluster, after.take(), DROPPED_MAX).await;
            let HomesPage { homes, last } = page.map_err(|error| of_directory(&error))?;
            if !homes.is_empty() {
                dropped += homes.len() as u64;
                self.change(Command::Drop { cluster: cluster.clone(), homes }).await?;
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(dropped),
            }
        }
    }

    async fn change(&self, command: Command) -> Result<(), ApiError> {
        let answer = self.directory().propose(self.forwarder.entropy.u128(), command).await;
        match answer.map_err(|error| of_directory(&error))? {
            Answer::Done => Ok(()),
            Answer::Refused(refusal) => Err(of_refusal(&refusal)),
            answer => Err(of_answer(&answer)),
        }
    }
}
