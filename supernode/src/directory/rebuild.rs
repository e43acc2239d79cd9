//! How a directory that was lost is made anew from its clusters: the rules of each step. Pure.
//!
//! What the lost directory granted and nobody committed yet is known to nobody. So the clusters first refuse every first commit
//! under an epoch that it can have granted (the floor), and only then their homes are read: whatever is committed later is
//! committed under an epoch of this directory. A finding, or a cluster that is missing, keeps a rebuild from its end.

use std::collections::BTreeSet;

use flotilla_api::{
    ClusterName, Epoch, FileName, codec,
    peer::{Document, Home},
};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    clusters,
    machine::{Answer as Applied, Refusal, get, put, put_document},
    rows::{
        CLUSTERS, CLUSTERS_MAX, ClusterRow, DOCUMENTS, EPOCH, HOMES, HomeRow, REBUILD, REVISION, RebuildRow, SYSTEM,
        Stage, UNCONFIRMED, document_key, epoch_key,
    },
};

/// How far above the highest epoch that any cluster knows the floor is raised: more than one directory can have granted without
/// any of it being committed. 2^32 rebuilds fit into an epoch.
pub const GRANTED_AHEAD_MAX: u64 = 1 << 32;
/// The most homes of one command: each touches two rows.
pub const ADOPTED_MAX: usize = 256;
/// The most documents of one command: each touches eight rows at most.
pub const DOCUMENTS_AT_ONCE_MAX: usize = 64;
/// The most homes that one command clears: each touches three rows.
const CLEARED_MAX: usize = 256;

/// A step. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Begins a try, and ends an earlier one. Only a directory without homes is made anew.
    Begin {
        /// The try: random.
        run: u64,
        /// Clusters that are given up for ever.
        fence: Vec<ClusterName>,
    },
    /// Takes away homes that an earlier try has left.
    Clear {
        /// The try.
        run: u64,
    },
    /// Notes up to which epoch the clusters are to refuse first commits, before the first of them is told.
    Floor {
        /// The try.
        run: u64,
        /// The epoch.
        upto: Epoch,
    },
    /// Takes over documents where there are none of the same name.
    Documents {
        /// The try.
        run: u64,
        /// The highest revision of any cluster's documents.
        revision: u64,
        /// The documents; at most [`DOCUMENTS_AT_ONCE_MAX`] are looked at.
        documents: Vec<Document>,
    },
    /// Takes over homes.
    Adopt {
        /// The try.
        run: u64,
        /// The cluster whose log has them, open or sealed.
        cluster: ClusterName,
        /// Its identity.
        uuid: Uuid,
        /// The homes; at most [`ADOPTED_MAX`] are looked at.
        homes: Vec<(FileName, Epoch)>,
        /// Whether these are the last ones.
        last: bool,
    },
    /// Ends the rebuild, unless something is missing.
    Finish {
        /// The try.
        run: u64,
    },
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// There is more of the same.
    More,
    /// The floor.
    Floor(Epoch),
    /// What was taken over, but for these.
    Taken {
        /// Clusters whose name belongs to another identity.
        foreign: Vec<ClusterName>,
        /// Whether there are more documents than there may be.
        full: bool,
    },
    /// The homes stand, but for the losers of these.
    Adopted {
        /// Keys that two clusters have open.
        clashes: Vec<Clash>,
    },
    /// The rebuild can't end.
    Blocked {
        /// Clusters that are known and were not adopted.
        missing: Vec<ClusterName>,
        /// How much was found that only a person can decide.
        findings: u64,
    },
}

/// A key that two clusters have open: the one of the later grant keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    /// The key.
    pub name: FileName,
    /// The home that stands.
    pub kept: Home,
    /// The home that does not.
    pub lost: Home,
}

/// Whether the directory is made anew now.
pub(super) fn is_under_way(state: &dyn Txn) -> Result<bool, Fault> {
    Ok(state.get(SYSTEM, REBUILD)?.is_some())
}

/// Applies a step.
pub(super) fn apply(state: &mut dyn Txn, command: Command, at: Position) -> Result<Applied, Fault> {
    let held: Option<RebuildRow> = get(state, SYSTEM, REBUILD)?;
    let run = match &command {
        Command::Begin { run, fence } => return begin(state, held, *run, fence),
        Command::Clear { run }
        | Command::Floor { run, .. }
        | Command::Documents { run, .. }
        | Command::Adopt { run, .. }
        | Command::Finish { run } => *run,
    };
    let Some(mut row) = held.filter(|row| row.run == run) else { return Ok(Applied::Refused(Refusal::Passed)) };
    match command {
        Command::Begin { .. } => Ok(Applied::Refused(Refusal::Passed)),
        Command::Clear { .. } => clear(state, &row),
        Command::Floor { upto, .. } => {
            row.floor = row.floor.max(upto);
            put(state, SYSTEM, REBUILD.to_vec(), &row);
            Ok(Applied::Rebuild(Answer::Floor(row.floor)))
        }
        Command::Documents { revision, documents, .. } => take_over(state, row, revision, documents, at),
        Command::Adopt { cluster, uuid, homes, last, .. } => adopt(state, row, cluster, uuid, (homes, last)),
        Command::Finish { .. } => finish(state, &row, at),
    }
}

fn begin(state: &mut dyn Txn, held: Option<RebuildRow>, run: u64, fence: &[ClusterName]) -> Result<Applied, Fault> {
    // What an earlier try told clusters to refuse stays refused.
    let floor = match held {
        Some(row) if row.run == run => return Ok(Applied::Rebuild(Answer::Done)),
        Some(row) => row.floor,
        None if state.scan(HOMES, &[], None, 1)?.is_empty() => Epoch(0),
        None => return Ok(Applied::Refused(Refusal::NotEmpty)),
    };
    if fence.len() > CLUSTERS_MAX || !clusters::has_room_to_fence(state, fence.len())? {
        return Ok(Applied::Refused(Refusal::TooMany));
    }
    let fenced: BTreeSet<ClusterName> = fence.iter().cloned().collect();
    put(state, SYSTEM, REBUILD.to_vec(), &RebuildRow { run, fenced, floor, ..RebuildRow::default() });
    Ok(Applied::Rebuild(Answer::Done))
}

fn clear(state: &mut dyn Txn, row: &RebuildRow) -> Result<Applied, Fault> {
    // A step that was proposed twice can come late, and would take away what this try has adopted.
    if row.highest > Epoch(0) {
        return Ok(Applied::Rebuild(Answer::Done));
    }
    let rows = state.scan(HOMES, &[], None, CLEARED_MAX)?;
    let more = rows.len() == CLEARED_MAX;
    for (key, bytes) in rows {
        let HomeRow { home } = codec::decode(&bytes).map_err(|source| Fault::Corrupt { family: HOMES, source })?;
        state.delete(UNCONFIRMED, epoch_key(home.epoch));
        state.delete(HOMES, key);
    }
    Ok(Applied::Rebuild(if more { Answer::More } else { Answer::Done }))
}

fn take_over(
    state: &mut dyn Txn,
    mut row: RebuildRow,
    revision: u64,
    documents: Vec<Document>,
    at: Position,
) -> Result<Applied, Fault> {
    let (mut foreign, mut full) = (Vec::new(), false);
    let mut count = clusters::count(state)?;
    for document in documents.into_iter().take(DOCUMENTS_AT_ONCE_MAX) {
        match document {
            Document::Cluster { name, uuid, retiring } => {
                let stage = if retiring { Stage::Retiring { since: at.index } } else { Stage::Active };
                match clusters::row(state, &name)? {
                    // It may still run, and another one may have its name.
                    _ if clusters::is_fenced(state, uuid)? => {}
                    None if count >= CLUSTERS_MAX => full = true,
                    None => {
                        count += 1;
                        clusters::write(state, name, &ClusterRow { uuid, stage, adopted: true })?;
                    }
                    Some(held) if held.uuid != uuid => foreign.push(name),
                    Some(held) if held.adopted => {}
                    Some(held) => clusters::write(state, name, &ClusterRow { adopted: true, ..held })?,
                }
            }
            // They are those of the lost group; the ones of this group have noted their starts here.
            Document::Supernode(_) => {}
            // What was decided here since then is newer than what the clusters heard last.
            other => match state.get(DOCUMENTS, &document_key(&other))? {
                Some(_) => {}
                None => full |= put_document(state, &other)? != Applied::Done,
            },
        }
    }
    row.revision = row.revision.max(revision);
    row.findings += foreign.len() as u64 + u64::from(full);
    put(state, SYSTEM, REBUILD.to_vec(), &row);
    Ok(Applied::Rebuild(Answer::Taken { foreign, full }))
}

fn adopt(
    state: &mut dyn Txn,
    mut row: RebuildRow,
    cluster: ClusterName,
    uuid: Uuid,
    (homes, last): (Vec<(FileName, Epoch)>, bool),
) -> Result<Applied, Fault> {
    // Before the floor is known, no cluster can have refused anything.
    if row.floor == Epoch(0) {
        return Ok(Applied::Refused(Refusal::Passed));
    }
    if row.fenced.contains(&cluster) {
        return Ok(Applied::Refused(Refusal::Fenced));
    }
    match clusters::row(state, &cluster)? {
        Some(held) if held.uuid == uuid => {}
        Some(_) => return Ok(Applied::Refused(Refusal::ForeignCluster)),
        None => return Ok(Applied::Refused(Refusal::UnknownCluster)),
    }
    let mut clashes = Vec::new();
    for (name, epoch) in homes.into_iter().take(ADOPTED_MAX) {
        row.highest = row.highest.max(epoch);
        let key = name.to_row();
        let home = Home { cluster: cluster.clone(), epoch };
        let held = get::<HomeRow>(state, HOMES, &key)?.map(|row| row.home);
        let (stands, clash) = decide(held, home);
        if let Some(lost) = clash {
            clashes.push(Clash { name, kept: stands.clone(), lost });
        }
        put(state, HOMES, key, &HomeRow { home: stands });
    }
    row.findings += clashes.len() as u64;
    if last {
        row.adopted.insert(cluster);
    }
    put(state, SYSTEM, REBUILD.to_vec(), &row);
    Ok(Applied::Rebuild(Answer::Adopted { clashes }))
}

/// Which of two homes of a key stands, and the other one if it is another cluster's: the later grant wins.
fn decide(held: Option<Home>, new: Home) -> (Home, Option<Home>) {
    match held {
        None => (new, None),
        Some(held) => {
            let elsewhere = held.cluster != new.cluster;
            let (stands, lost) = if new.epoch > held.epoch { (new, held) } else { (held, new) };
            (stands, elsewhere.then_some(lost))
        }
    }
}

fn finish(state: &mut dyn Txn, row: &RebuildRow, at: Position) -> Result<Applied, Fault> {
    let rows = state.scan(CLUSTERS, &[], None, CLUSTERS_MAX)?;
    let names = rows.iter().filter_map(|(key, _)| String::from_utf8_lossy(key).parse::<ClusterName>().ok());
    let (there, missing): (Vec<ClusterName>, Vec<ClusterName>) =
        names.partition(|name| row.adopted.contains(name) || row.fenced.contains(name));
    if !missing.is_empty() || row.findings > 0 || row.floor == Epoch(0) {
        return Ok(Applied::Rebuild(Answer::Blocked { missing, findings: row.findings }));
    }
    for name in &row.fenced {
        if let Some(held) = clusters::row(state, name)? {
            state.delete(CLUSTERS, name.as_str().as_bytes().to_vec());
            clusters::shut_out(state, name.clone(), held.uuid)?;
        }
    }
    for name in there {
        if let Some(held) = clusters::row(state, &name)?
            && matches!(held.stage, Stage::Retiring { .. })
        {
            // It got homes by being adopted: what was counted before now ends nothing.
            let stage = Stage::Retiring { since: at.index };
            clusters::write(state, name, &ClusterRow { stage, ..held })?;
        }
    }
    // The next grant is above everything that was ever granted, and the next document newer than any that a cluster has.
    let epoch: u64 = get(state, SYSTEM, EPOCH)?.unwrap_or(0);
    put(state, SYSTEM, EPOCH.to_vec(), &epoch.max(row.floor.0).max(row.highest.0));
    let revision: u64 = get(state, SYSTEM, REVISION)?.unwrap_or(0);
    put(state, SYSTEM, REVISION.to_vec(), &(revision.max(row.revision) + 1));
    state.delete(SYSTEM, REBUILD.to_vec());
    Ok(Applied::Rebuild(Answer::Done))
}

#[cfg(test)]
mod tests;
