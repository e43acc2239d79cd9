//! What clusters and other supernodes ask: reports, claims, look-ups, formation, places in the group, Raft messages.

use axum::{
    body::Body,
    extract::{Path, State},
};
use flotilla_api::{
    BucketName, ClusterName, Code, FileName,
    peer::{
        ClaimAnswer, ClaimRequest, ClusterReport, FormAnswer, FormRequest, GreetAnswer, GreetRequest, HOMES_MAX, Home,
        JoinAnswer, JoinRequest, NodesAnswer, NodesRequest, ReleaseRequest, ReportAnswer,
    },
};
use flotilla_http_server::{ApiError, Coded, read_all};
use flotilla_member::membership::Register as _;
use flotilla_raft_store::BODY_BYTES_MAX;
use uuid::Uuid;

use super::{
    PeerState, Service,
    error::{
        forgotten, of_directory, of_membership, of_raft, of_refusal, other_directory, rebuilding, retiring,
        unregistered,
    },
    forward::Forwarder,
    rpc,
};
use crate::{
    directory::{
        Answer, Command, Refusal,
        rows::{ClusterRow, Stage},
    },
    supernode::GROUP,
};

/// The most addresses of other clusters that a refused claim names.
const OTHERS_TOLD_MAX: usize = 3;

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
    // Not before the others have said that this one may take part.
    let group = state.membership.ready()?.register.group();
    let message = read_all(body, BODY_BYTES_MAX).await?;
    let answer = group.handle(rpc(&kind)?, message).await.map_err(|error| of_raft(&error))?;
    Ok(answer.into())
}

/// Gives a new supernode its place.
pub(super) async fn join(
    State(state): State<PeerState>,
    Coded(request): Coded<JoinRequest>,
) -> Result<Coded<JoinAnswer>, ApiError> {
    if request.group != GROUP {
        let why = format!("the processes in 'join' are supernodes, not nodes of cluster '{}'", request.group);
        return Ok(Coded(JoinAnswer::Refused { why }));
    }
    state.membership.ready()?.place(&request).await.map(Coded).map_err(|error| of_membership(&error))
}

/// Tells a supernode that starts whether it may take part.
pub(super) async fn greet(
    State(state): State<PeerState>,
    Coded(request): Coded<GreetRequest>,
) -> Result<Coded<GreetAnswer>, ApiError> {
    state.membership.ready()?.greeted(&request).await.map(Coded).map_err(|error| of_membership(&error))
}

/// Takes a cluster's report; a cluster that is not registered yet is registered first.
pub(super) async fn report(
    State(state): State<PeerState>,
    Coded(report): Coded<ClusterReport>,
) -> Result<Coded<ReportAnswer>, ApiError> {
    let service = state.service.ready()?;
    let directory = service.directory();
    if directory.is_fenced(report.uuid).map_err(|error| of_directory(&error))? {
        service.forwarder.clusters.settled(report.uuid);
        return Err(forgotten());
    }
    let row = directory.cluster(&report.cluster).map_err(|error| of_directory(&error))?;
    let row = row.filter(|row| row.uuid == report.uuid);
    let foreign = report.directory.is_some_and(|known| known != directory.uuid());
    if foreign && !row.as_ref().is_some_and(|row| row.adopted) {
        // This one was formed anew: it knows no home, and would grant keys that have one.
        service.forwarder.clusters.heard_foreign(report);
        return Err(other_directory());
    }
    let retires = row.as_ref().is_some_and(|row| row.stage != Stage::Active);
    if row.is_none() {
        register(service, &report).await?;
    }
    // What is made anew is pushed when it is whole.
    let rebuilding = directory.rebuild().map_err(|error| of_directory(&error))?.is_some();
    let behind = !rebuilding && report.documents < directory.revision().map_err(|error| of_directory(&error))?;
    let Forwarder { clusters, gate, .. } = &service.forwarder;
    // Before the report, or its offer would let new keys through that the log refuses.
    gate.retires(&report.cluster, retires);
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

async fn register(service: &Service, report: &ClusterReport) -> Result<(), ApiError> {
    let register = Command::Register { cluster: report.cluster.clone(), uuid: report.uuid };
    let answer = service.directory().propose(service.forwarder.entropy.u128(), register).await;
    let Answer::Refused(refusal) = answer.map_err(|error| of_directory(&error))? else { return Ok(()) };
    if refusal == Refusal::Fenced {
        return Err(forgotten());
    }
    // While the directory is made anew, say, no cluster is: a later report registers it.
    if !refusal.passes() {
        tracing::error!(cluster = %report.cluster, ?refusal, "cluster is not registered");
    }
    Err(of_refusal(&refusal))
}

/// Grants a free key to the cluster that asks, or says where it is at home.
pub(super) async fn claim(
    State(state): State<PeerState>,
    Coded(request): Coded<ClaimRequest>,
) -> Result<Coded<ClaimAnswer>, ApiError> {
    let service = state.service.ready()?;
    let ClaimRequest { name, cluster, uuid, refresh } = request;
    let directory = service.directory();
    let row = directory.cluster(&cluster).map_err(|error| of_directory(&error))?;
    let fenced = directory.is_fenced(uuid).map_err(|error| of_directory(&error))?;
    may_claim(row.as_ref(), uuid, fenced)?;
    if directory.applied_home(&name).map_err(|error| of_directory(&error))?.is_none() {
        service.forwarder.may_grant()?;
    }
    if let Some(epoch) = refresh {
        let home = service.forwarder.renew(&name, &Home { cluster, epoch }).await?;
        return Ok(Coded(ClaimAnswer { home }));
    }
    let claimed = directory.claim(name, cluster.clone()).await.map_err(|error| of_directory(&error))?;
    match claimed {
        Ok(claimed) => Ok(Coded(ClaimAnswer { home: claimed.home })),
        Err(Refusal::Retiring) => Err(retiring(&cluster, &addresses_of_others(service, &cluster)?)),
        // It is, or will be, or is of another directory.
        Err(Refusal::UnknownCluster) => Err(unregistered(&cluster)),
        Err(refusal) => Err(of_refusal(&refusal)),
    }
}

/// Refuses a cluster that is not the one which has its name here: a home that is granted to the name is that one's.
fn may_claim(row: Option<&ClusterRow>, uuid: Uuid, fenced: bool) -> Result<(), ApiError> {
    match row {
        _ if fenced => Err(forgotten()),
        Some(row) if row.uuid != uuid => Err(of_refusal(&Refusal::ForeignCluster)),
        // It may be registered in the log already.
        Some(_) | None => Ok(()),
    }
}

/// Gives a node of each of a few other clusters that get new keys.
fn addresses_of_others(service: &Service, cluster: &ClusterName) -> Result<Vec<String>, ApiError> {
    let registered = service.directory().clusters().map_err(|error| of_directory(&error))?;
    let others = registered.iter().filter(|(name, row)| name != cluster && row.stage == Stage::Active);
    let first = |name: &ClusterName| service.forwarder.clusters.addresses(name, true).into_iter().next();
    Ok(others.filter_map(|(name, _)| first(name)).take(OTHERS_TOLD_MAX).collect())
}

/// Lets go of homes that their cluster closed, each only if it still stands at that epoch.
pub(super) async fn release(
    State(state): State<PeerState>,
    Coded(request): Coded<ReleaseRequest>,
) -> Result<Coded<()>, ApiError> {
    let service = state.service.ready()?;
    if service.directory().cluster(&request.cluster).map_err(|error| of_directory(&error))?.is_none() {
        // An emptied directory has none of its homes: "gone" would be said of those that stand in the one that was lost.
        return Err(unregistered(&request.cluster));
    }
    let released = request.homes.into_iter().take(HOMES_MAX).map(|(name, epoch)| {
        let (bits, release) = (service.forwarder.entropy.u128(), Command::Release { name, epoch });
        async move { service.directory().propose(bits, release).await }
    });
    for answer in futures::future::join_all(released).await {
        // Refused means that the home does not stand at that epoch any more, which is what was asked for.
        if answer.map_err(|error| of_directory(&error))? == Answer::Refused(Refusal::Rebuilding) {
            return Err(rebuilding());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_cluster_claims_nothing_under_the_name_that_another_one_has_by_now() {
        let [own, other] = [1, 2].map(Uuid::from_u128);
        let row = ClusterRow::new(own);
        let code = |row, uuid, fenced| may_claim(row, uuid, fenced).err().map(|error| error.code);
        assert_eq!(code(Some(&row), own, false), None);
        assert_eq!(code(None, own, false), None, "the log decides");
        assert_eq!(code(Some(&row), other, true), Some(Code::DirectoryUnavailable), "forgotten, and its name is taken");
        assert_eq!(code(None, other, true), Some(Code::DirectoryUnavailable));
        assert_eq!(code(Some(&row), other, false), Some(Code::Conflict), "formed anew under the old name");
    }
}
