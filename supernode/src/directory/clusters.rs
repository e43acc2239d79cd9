//! The rules of clusters: registered by their first report, retired and forgotten by command. Pure.
//!
//! A cluster that retires gets no home any more, and only the log says since when: homes that were counted behind that place can
//! only have become fewer, so "none is left" stays true until somebody takes it back.

use flotilla_api::{
    ClusterName, Epoch, FileName,
    peer::{Document, Home},
};
use flotilla_raft_store::{Fault, Position, Txn};
use uuid::Uuid;

use super::{
    machine::{Answer, Refusal, get, put, put_document, raise_revision},
    rebuild,
    rows::{
        CLUSTERS, CLUSTERS_MAX, ClusterRow, DOCUMENTS, FENCED_KEYS, FENCED_MAX, HOMES, HomeRow, Stage, UNCONFIRMED,
        cluster_key, epoch_key, fenced_key,
    },
};

/// The most homes that one command drops: each touches three rows.
pub const DROPPED_MAX: usize = 256;

/// Reads a cluster's row.
pub(super) fn row(state: &dyn Txn, cluster: &ClusterName) -> Result<Option<ClusterRow>, Fault> {
    get(state, CLUSTERS, cluster.as_str().as_bytes())
}

/// Whether a cluster of this identity is refused for ever.
pub(super) fn is_fenced(state: &dyn Txn, uuid: Uuid) -> Result<bool, Fault> {
    Ok(state.get(DOCUMENTS, &fenced_key(uuid))?.is_some())
}

/// Whether so many more clusters may be refused for ever.
pub(super) fn has_room_to_fence(state: &dyn Txn, more: usize) -> Result<bool, Fault> {
    let (from, to) = FENCED_KEYS;
    Ok(state.scan(DOCUMENTS, from, Some(to), FENCED_MAX)?.len() + more <= FENCED_MAX)
}

/// How many clusters there are.
pub(super) fn count(state: &dyn Txn) -> Result<usize, Fault> {
    Ok(state.scan(CLUSTERS, &[], None, CLUSTERS_MAX)?.len())
}

/// Writes a cluster's row and its document.
pub(super) fn write(state: &mut dyn Txn, cluster: ClusterName, row: &ClusterRow) -> Result<(), Fault> {
    put(state, CLUSTERS, cluster.as_str().as_bytes().to_vec(), row);
    let retiring = row.stage != Stage::Active;
    put_document(state, &Document::Cluster { name: cluster, uuid: row.uuid, retiring })?;
    Ok(())
}

pub(super) fn register(state: &mut dyn Txn, cluster: ClusterName, uuid: Uuid) -> Result<Answer, Fault> {
    let refused = |refusal| Ok(Answer::Refused(refusal));
    if is_fenced(state, uuid)? {
        return refused(Refusal::Fenced);
    }
    match row(state, &cluster)? {
        Some(row) if row.uuid == uuid => Ok(Answer::Done),
        Some(_) => refused(Refusal::ForeignCluster),
        None if rebuild::is_under_way(state)? => refused(Refusal::Rebuilding),
        None if count(state)? >= CLUSTERS_MAX => refused(Refusal::TooMany),
        None => {
            write(state, cluster, &ClusterRow::new(uuid))?;
            Ok(Answer::Done)
        }
    }
}

pub(super) fn retire(state: &mut dyn Txn, cluster: ClusterName, on: bool, at: Position) -> Result<Answer, Fault> {
    let Some(held) = row(state, &cluster)? else { return Ok(Answer::Refused(Refusal::UnknownCluster)) };
    let stage = match (held.stage, on) {
        (Stage::Active, true) => Stage::Retiring { since: at.index },
        (Stage::Retiring { .. }, false) => Stage::Active,
        (Stage::Active, false) | (Stage::Retiring { .. }, true) => return Ok(Answer::Done),
        (Stage::Fenced { .. }, _) => return Ok(Answer::Refused(Refusal::Fenced)),
    };
    write(state, cluster, &ClusterRow { stage, ..held })?;
    Ok(Answer::Done)
}

pub(super) fn fence(state: &mut dyn Txn, cluster: ClusterName, at: Position) -> Result<Answer, Fault> {
    let Some(held) = row(state, &cluster)? else { return Ok(Answer::Refused(Refusal::UnknownCluster)) };
    if matches!(held.stage, Stage::Fenced { .. }) {
        return Ok(Answer::Done);
    }
    if rebuild::is_under_way(state)? {
        return Ok(Answer::Refused(Refusal::Rebuilding));
    }
    if !has_room_to_fence(state, 1)? {
        return Ok(Answer::Refused(Refusal::TooMany));
    }
    let stage = Stage::Fenced { since: at.index };
    put(state, CLUSTERS, cluster.as_str().as_bytes().to_vec(), &ClusterRow { stage, ..held });
    shut_out(state, cluster, held.uuid)?;
    Ok(Answer::Done)
}

/// Leaves of a cluster's documents that it is refused for ever.
pub(super) fn shut_out(state: &mut dyn Txn, cluster: ClusterName, uuid: Uuid) -> Result<(), Fault> {
    state.delete(DOCUMENTS, cluster_key(&cluster));
    raise_revision(state)?;
    put_document(state, &Document::Fenced { name: cluster, uuid })?;
    Ok(())
}

pub(super) fn drop_homes(
    state: &mut dyn Txn,
    cluster: &ClusterName,
    homes: &[(FileName, Epoch)],
) -> Result<Answer, Fault> {
    match row(state, cluster)?.map(|row| row.stage) {
        Some(Stage::Fenced { .. }) => {}
        Some(Stage::Active | Stage::Retiring { .. }) => return Ok(Answer::Refused(Refusal::Passed)),
        None => return Ok(Answer::Refused(Refusal::UnknownCluster)),
    }
    for (name, epoch) in homes.iter().take(DROPPED_MAX) {
        let key = name.to_row();
        let stands = |home: &Home| home.cluster == *cluster && home.epoch == *epoch;
        if get::<HomeRow>(state, HOMES, &key)?.is_some_and(|row| stands(&row.home)) {
            state.delete(HOMES, key);
            state.delete(UNCONFIRMED, epoch_key(*epoch));
        }
    }
    Ok(Answer::Done)
}

pub(super) fn forget(state: &mut dyn Txn, cluster: ClusterName, since: u64) -> Result<Answer, Fault> {
    let Some(held) = row(state, &cluster)? else { return Ok(Answer::Refused(Refusal::UnknownCluster)) };
    if held.stage.since() != Some(since) {
        return Ok(Answer::Refused(Refusal::Passed));
    }
    if rebuild::is_under_way(state)? {
        // Homes that are still to be adopted were not counted.
        return Ok(Answer::Refused(Refusal::Rebuilding));
    }
    if matches!(held.stage, Stage::Retiring { .. }) {
        if !has_room_to_fence(state, 1)? {
            return Ok(Answer::Refused(Refusal::TooMany));
        }
        // It may still run: registered anew by its next report, it would come back.
        shut_out(state, cluster.clone(), held.uuid)?;
    }
    state.delete(CLUSTERS, cluster.as_str().as_bytes().to_vec());
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests;
