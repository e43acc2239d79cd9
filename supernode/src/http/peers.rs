//! What clusters and other supernodes ask: reports, claims, look-ups, formation, Raft messages.

use axum::{
    body::Body,
    extract::{Path, State},
};
use flotilla_api::{
    BucketName, Code, FileName,
    peer::{
        ClaimAnswer, ClaimRequest, ClusterReport, FormAnswer, FormRequest, HOMES_MAX, Home, NodesAnswer, NodesRequest,
        ReleaseRequest, ReportAnswer,
    },
};
use flotilla_http_server::{ApiError, Coded, read_all};
use flotilla_raft_store::BODY_BYTES_MAX;

use super::{
    PeerState,
    error::{of_directory, of_raft, of_refusal, other_directory},
    forward::Forwarder,
    rpc,
};
use crate::directory::{Answer, Command};

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
    let service = state.service.ready()?;
    let message = read_all(body, BODY_BYTES_MAX).await?;
    let answer = service.directory().group().handle(rpc(&kind)?, message).await.map_err(|error| of_raft(&error))?;
    Ok(answer.into())
}

/// Takes a cluster's report; a cluster that is not registered yet is registered first.
pub(super) async fn report(
    State(state): State<PeerState>,
    Coded(report): Coded<ClusterReport>,
) -> Result<Coded<ReportAnswer>, ApiError> {
    let service = state.service.ready()?;
    let directory = service.directory();
    if report.directory.is_some_and(|known| known != directory.uuid()) {
        // This one was formed anew: it knows no home, and would grant keys that have one.
        service.forwarder.clusters.heard_foreign();
        return Err(other_directory());
    }
    let registered = directory.clusters().map_err(|error| of_directory(&error))?;
    if !registered.iter().any(|(name, row)| *name == report.cluster && row.uuid == report.uuid) {
        let register = Command::Register { cluster: report.cluster.clone(), uuid: report.uuid };
        let answer = directory.propose(service.forwarder.entropy.u128(), register).await;
        if let Answer::Refused(refusal) = answer.map_err(|error| of_directory(&error))? {
            tracing::error!(cluster = %report.cluster, ?refusal, "cluster is not registered");
            return Err(of_refusal(&refusal));
        }
    }
    let behind = report.documents < directory.revision().map_err(|error| of_directory(&error))?;
    let Forwarder { clusters, gate, .. } = &service.forwarder;
    // One that leads no more must not take away what its successor is to know.
    let felt = (!clusters.is_older(&report)).then(|| gate.reported(&report));
    clusters.heard(report);
    flotilla_env::failpoint!("documents.before_push", |_| Err(ApiError::new(Code::NotReady, "a failpoint")));
    let documents = match behind {
        true => Some(directory.documents().map_err(|error| of_directory(&error))?),
        false => None,
    };
    Ok(Coded(ReportAnswer { documents, felt }))
}

/// Grants a free key to the cluster that asks, or says where it is at home.
pub(super) async fn claim(
    State(state): State<PeerState>,
    Coded(request): Coded<ClaimRequest>,
) -> Result<Coded<ClaimAnswer>, ApiError> {
    let service = state.service.ready()?;
    let ClaimRequest { name, cluster, refresh } = request;
    let home = match refresh {
        None => service.forwarder.claim(&name, &cluster).await?,
        Some(epoch) => service.forwarder.renew(&name, &Home { cluster, epoch }).await?,
    };
    Ok(Coded(ClaimAnswer { home }))
}

/// Lets go of homes that their cluster closed, each only if it still stands at that epoch.
pub(super) async fn release(
    State(state): State<PeerState>,
    Coded(request): Coded<ReleaseRequest>,
) -> Result<Coded<()>, ApiError> {
    let service = state.service.ready()?;
    let released = request.homes.into_iter().take(HOMES_MAX).map(|(name, epoch)| {
        let (bits, release) = (service.forwarder.entropy.u128(), Command::Release { name, epoch });
        async move { service.directory().propose(bits, release).await }
    });
    for answer in futures::future::join_all(released).await {
        // Refused means that the home does not stand at that epoch any more, which is what was asked for.
        answer.map_err(|error| of_directory(&error))?;
    }
    Ok(Coded(()))
}

/// Tells a key's home as it is after a read barrier: nodes ask about keys that their own log does not know, so that nobody would
/// notice a stale answer.
pub(super) async fn lookup(
    State(state): State<PeerState>,
    Coded(name): Coded<FileName>,
) -> Result<Coded<Option<Home>>, ApiError> {
    let service = state.service.ready()?;
    let home = service.directory().fresh_home(&name).await.map_err(|error| of_directory(&error))?;
    if home.is_none() && service.forwarder.clusters.has_foreign() {
        return Err(other_directory());
    }
    Ok(Coded(home))
}

/// Tells which nodes of a cluster clients can be sent to, and which clusters there are.
pub(super) async fn nodes(
    State(state): State<PeerState>,
    Coded(request): Coded<NodesRequest>,
) -> Result<Coded<NodesAnswer>, ApiError> {
    let service = state.service.ready()?;
    let registered = service.directory().clusters().map_err(|error| of_directory(&error))?;
    let addresses = service.forwarder.clusters.addresses(&request.cluster, request.write);
    Ok(Coded(NodesAnswer { addresses, clusters: registered.into_iter().map(|(name, _)| name).collect() }))
}

/// Tells whether a bucket exists; a miss is confirmed by a read barrier.
pub(super) async fn has_bucket(
    State(state): State<PeerState>,
    Coded(name): Coded<BucketName>,
) -> Result<Coded<bool>, ApiError> {
    let service = state.service.ready()?;
    let known = service.directory().has_bucket(&name).await.map_err(|error| of_directory(&error))?;
    if !known && service.forwarder.clusters.has_foreign() {
        return Err(other_directory());
    }
    Ok(Coded(known))
}
