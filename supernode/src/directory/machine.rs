//! The directory's rules: the first claim in the log wins; an epoch is granted once. Pure.

use flotilla_api::{
    ClusterName, Epoch, FileName, NodeId, codec,
    keys::PrincipalName,
    peer::{Document, HOMES_MAX, Home, Principal},
};
use flotilla_kv::Family;
use flotilla_raft_store::{Fault, Machine, Position, Txn};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    clusters, members, rebuild,
    rows::{
        COUNT, DOCUMENTS, DOCUMENTS_MAX, EPOCH, FAMILIES, HOMES, HomeRow, REVISION, SYSTEM, Stage, UNCONFIRMED,
        document_key, epoch_key, is_counted, principal_key,
    },
    tickets,
};

/// A change to the directory. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Grants free keys to clusters, one after the other; answers each home in any case.
    Claim {
        /// The claims; at most [`CLAIMS_MAX`].
        claims: Vec<Claim>,
    },
    /// Grants the same home a fresh epoch, if it still stands at `passed`.
    Refresh {
        /// The key.
        name: FileName,
        /// The cluster.
        cluster: ClusterName,
        /// The epoch that the cluster's sealed floor has passed.
        passed: Epoch,
    },
    /// Frees a key whose home was closed, if it still stands at `epoch`.
    Release {
        /// The key.
        name: FileName,
        /// The epoch of the home that was closed.
        epoch: Epoch,
    },
    /// Registers a cluster under its identity.
    Register {
        /// The cluster.
        cluster: ClusterName,
        /// Its identity.
        uuid: Uuid,
    },
    /// Writes a document.
    PutDocument(Document),
    /// Their cluster's log knows these homes: it tells itself when they end.
    Confirm {
        /// The homes' epochs; at most [`HOMES_MAX`] are looked at.
        epochs: Vec<Epoch>,
    },
    /// Writes a principal's document, if its name is free.
    AddPrincipal(Principal),
    /// Ends a principal, whose key opens nothing any more.
    RemovePrincipal {
        /// Its name.
        name: PrincipalName,
    },
    /// Writes the root's document, if there is none.
    FoundRoot(Principal),
    /// A step in the life of a supernode.
    Members(members::Command),
    /// A cluster gets no new keys from now on, or gets some again.
    Retire {
        /// The cluster.
        cluster: ClusterName,
        /// Whether it gets none.
        on: bool,
    },
    /// A cluster is lost for ever: nothing that it says is heard any more.
    Fence {
        /// The cluster.
        cluster: ClusterName,
    },
    /// Drops homes of a cluster that is fenced, those that stand at these epochs.
    Drop {
        /// The cluster.
        cluster: ClusterName,
        /// The homes; at most [`clusters::DROPPED_MAX`] are looked at.
        homes: Vec<(FileName, Epoch)>,
    },
    /// Ends a cluster that has no home left, as was counted behind `since`.
    Forget {
        /// The cluster.
        cluster: ClusterName,
        /// Where in the log it ceased to get keys, as whoever counted saw it.
        since: u64,
    },
    /// A step in which the directory is made anew.
    Rebuild(rebuild::Command),
    /// Changes tickets.
    Ticket(tickets::Change),
}

/// What a command did. Kept for retries: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The home as it was granted anew, or as it stands.
    Home(Home),
    /// Done, or nothing to do.
    Done,
    /// The command changed nothing.
    Refused(Refusal),
    /// What became of each claim.
    Claimed(Vec<Result<Claimed, Refusal>>),
    /// The id of a supernode that joins.
    Member(NodeId),
    /// The number of a start.
    Started(u64),
    /// What a step of a rebuild did.
    Rebuild(rebuild::Answer),
    /// What became of tickets.
    Ticket(tickets::Told),
}

/// The most claims of one command: each touches six rows at most.
pub const CLAIMS_MAX: usize = 128;

/// A cluster's wish for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The key.
    pub name: FileName,
    /// The cluster that wants it.
    pub cluster: ClusterName,
}

/// The home after a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The home, maybe another cluster's.
    pub home: Home,
    /// Whether this claim was the one that got it.
    pub granted: bool,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The cluster is not registered.
    UnknownCluster,
    /// The name belongs to a cluster with another identity.
    ForeignCluster,
    /// There are as many as there may be.
    TooMany,
    /// The home no longer stands as the command says.
    Passed,
    /// Another principal has the name.
    Taken,
    /// There is no such principal.
    NoPrincipal,
    /// The root principal stays.
    Root,
    /// The supernode leaves for ever.
    Leaves,
    /// Another start of the supernode was noted.
    Started,
    /// The cluster gets no new keys.
    Retiring,
    /// The cluster is refused for ever.
    Fenced,
    /// The directory is made anew.
    Rebuilding,
    /// The directory has homes, so it was not lost.
    NotEmpty,
    /// There are as many tickets as there may be.
    TicketsFull,
    /// The principal has as many tickets as one may have.
    TicketsOfOne,
    /// No other supernode would be left.
    LastSupernode,
}

impl Refusal {
    /// Whether the same command can be taken later although nobody does anything about what refuses it.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            // A cluster is registered with its next report, a rebuild ends, and tickets have their turns.
            Self::UnknownCluster | Self::Rebuilding | Self::TicketsFull | Self::TicketsOfOne => true,
            Self::ForeignCluster
            | Self::TooMany
            | Self::Passed
            | Self::Taken
            | Self::NoPrincipal
            | Self::Root
            | Self::Leaves
            | Self::Started
            | Self::Retiring
            | Self::Fenced
            | Self::NotEmpty
            | Self::LastSupernode => false,
        }
    }
}

/// The rules of the directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirectoryMachine;

impl Machine for DirectoryMachine {
    type Command = Command;
    type Answer = Answer;

    const FAMILIES: &'static [Family] = FAMILIES;

    /// 2 since the group keeps its members, clusters retire, and there are tickets.
    const COMMAND_VERSION: u8 = 2;

    fn apply(&self, state: &mut dyn Txn, command: Command, at: Position) -> Result<Answer, Fault> {
        match command {
            Command::Claim { claims } => {
                let rebuilding = rebuild::is_under_way(state)?;
                let claims = claims.into_iter().take(CLAIMS_MAX);
                let answers: Result<_, Fault> =
                    claims.map(|Claim { name, cluster }| claim(state, &name, cluster, rebuilding)).collect();
                Ok(Answer::Claimed(answers?))
            }
            Command::Refresh { name, cluster, passed } => refresh(state, &name, cluster, passed),
            Command::Release { name, epoch } => release(state, &name, epoch),
            Command::Register { cluster, uuid } => clusters::register(state, cluster, uuid),
            Command::PutDocument(document) => put_document(state, &document),
            Command::AddPrincipal(principal) => add_principal(state, principal),
            Command::RemovePrincipal { name } => remove_principal(state, &name),
            // Refused as any name that has another key.
            Command::FoundRoot(principal) => add_principal(state, principal),
            Command::Members(command) => members::apply(state, command),
            Command::Confirm { epochs } => {
                for epoch in epochs.into_iter().take(HOMES_MAX) {
                    state.delete(UNCONFIRMED, epoch_key(epoch));
                }
                Ok(Answer::Done)
            }
            Command::Retire { cluster, on } => clusters::retire(state, cluster, on, at),
            Command::Fence { cluster } => clusters::fence(state, cluster, at),
            Command::Drop { cluster, homes } => clusters::drop_homes(state, &cluster, &homes),
            Command::Forget { cluster, since } => clusters::forget(state, cluster, since),
            Command::Rebuild(command) => rebuild::apply(state, command, at),
            Command::Ticket(change) => tickets::apply(state, change, at),
        }
    }

    /// Claims can be made again, and so can the steps of a rebuild; their answers are long.
    fn is_kept(answer: &Answer) -> bool {
        !matches!(answer, Answer::Claimed(_) | Answer::Rebuild(_))
    }
}

fn claim(
    state: &mut dyn Txn,
    name: &FileName,
    cluster: ClusterName,
    rebuilding: bool,
) -> Result<Result<Claimed, Refusal>, Fault> {
    if let Some(HomeRow { home }) = get(state, HOMES, &name.to_row())? {
        return Ok(Ok(Claimed { home, granted: false }));
    }
    if rebuilding {
        return Ok(Err(Refusal::Rebuilding));
    }
    match clusters::row(state, &cluster)?.map(|row| row.stage) {
        None => Ok(Err(Refusal::UnknownCluster)),
        Some(Stage::Retiring { .. } | Stage::Fenced { .. }) => Ok(Err(Refusal::Retiring)),
        Some(Stage::Active) => Ok(Ok(Claimed { home: grant(state, name, cluster)?, granted: true })),
    }
}

fn refresh(state: &mut dyn Txn, name: &FileName, cluster: ClusterName, passed: Epoch) -> Result<Answer, Fault> {
    let key = name.to_row();
    let rebuilding = rebuild::is_under_way(state)?;
    match get(state, HOMES, &key)? {
        Some(HomeRow { home }) if home.cluster == cluster && home.epoch == passed => {
            if rebuilding {
                // Every epoch that could be granted now is one that the clusters refuse.
                return Ok(Answer::Refused(Refusal::Rebuilding));
            }
            if clusters::row(state, &cluster)?.is_some_and(|row| matches!(row.stage, Stage::Fenced { .. })) {
                return Ok(Answer::Refused(Refusal::Fenced));
            }
            state.delete(UNCONFIRMED, epoch_key(passed));
            Ok(Answer::Home(grant(state, name, cluster)?))
        }
        Some(HomeRow { home }) => Ok(Answer::Home(home)),
        None => Ok(match claim(state, name, cluster, rebuilding)? {
            Ok(claimed) => Answer::Home(claimed.home),
            Err(refusal) => Answer::Refused(refusal),
        }),
    }
}

fn grant(state: &mut dyn Txn, name: &FileName, cluster: ClusterName) -> Result<Home, Fault> {
    let epoch = Epoch(get::<u64>(state, SYSTEM, EPOCH)?.unwrap_or(0) + 1);
    put(state, SYSTEM, EPOCH.to_vec(), &epoch.0);
    let home = Home { cluster, epoch };
    put(state, HOMES, name.to_row(), &HomeRow { home: home.clone() });
    put(state, UNCONFIRMED, epoch_key(epoch), name);
    Ok(home)
}

fn release(state: &mut dyn Txn, name: &FileName, epoch: Epoch) -> Result<Answer, Fault> {
    if rebuild::is_under_way(state)? {
        // A record that its cluster drops now could still be adopted, and would never end.
        return Ok(Answer::Refused(Refusal::Rebuilding));
    }
    let key = name.to_row();
    match get::<HomeRow>(state, HOMES, &key)? {
        Some(HomeRow { home }) if home.epoch == epoch => {
            state.delete(HOMES, key);
            state.delete(UNCONFIRMED, epoch_key(epoch));
            Ok(Answer::Done)
        }
        Some(_) | None => Ok(Answer::Refused(Refusal::Passed)),
    }
}

pub(super) fn put_document(state: &mut dyn Txn, document: &Document) -> Result<Answer, Fault> {
    let key = document_key(document);
    match get::<Document>(state, DOCUMENTS, &key)? {
        Some(held) if held == *document => return Ok(Answer::Done),
        None if is_counted(document) => {
            let count: u64 = get(state, SYSTEM, COUNT)?.unwrap_or(0);
            if count >= DOCUMENTS_MAX {
                return Ok(Answer::Refused(Refusal::TooMany));
            }
            put(state, SYSTEM, COUNT.to_vec(), &(count + 1));
        }
        Some(_) | None => {}
    }
    raise_revision(state)?;
    put(state, DOCUMENTS, key, document);
    Ok(Answer::Done)
}

fn add_principal(state: &mut dyn Txn, principal: Principal) -> Result<Answer, Fault> {
    match get::<Document>(state, DOCUMENTS, &principal_key(&principal.name))? {
        // Sent again under another id; a key is random, so it is nobody else's.
        Some(Document::Principal(held)) if held.key_hash == principal.key_hash => Ok(Answer::Done),
        Some(_) => Ok(Answer::Refused(Refusal::Taken)),
        None => put_document(state, &Document::Principal(principal)),
    }
}

fn remove_principal(state: &mut dyn Txn, name: &PrincipalName) -> Result<Answer, Fault> {
    let key = principal_key(name);
    match get::<Document>(state, DOCUMENTS, &key)? {
        Some(Document::Principal(held)) if !held.root => {}
        Some(_) => return Ok(Answer::Refused(Refusal::Root)),
        None => return Ok(Answer::Refused(Refusal::NoPrincipal)),
    }
    if rebuild::is_under_way(state)? {
        // It would be taken over again from the clusters.
        return Ok(Answer::Refused(Refusal::Rebuilding));
    }
    state.delete(DOCUMENTS, key);
    let count: u64 = get(state, SYSTEM, COUNT)?.unwrap_or(0);
    put(state, SYSTEM, COUNT.to_vec(), &count.saturating_sub(1));
    raise_revision(state)?;
    Ok(Answer::Done)
}

pub(super) fn raise_revision(state: &mut dyn Txn) -> Result<(), Fault> {
    let revision: u64 = get(state, SYSTEM, REVISION)?.unwrap_or(0);
    put(state, SYSTEM, REVISION.to_vec(), &(revision + 1));
    Ok(())
}

pub(super) fn get<T: DeserializeOwned>(state: &dyn Txn, family: Family, key: &[u8]) -> Result<Option<T>, Fault> {
    state
        .get(family, key)?
        .map(|bytes| codec::decode(&bytes).map_err(|source| Fault::Corrupt { family, source }))
        .transpose()
}

pub(super) fn put<T: Serialize>(state: &mut dyn Txn, family: Family, key: Vec<u8>, row: &T) {
    state.put(family, key, codec::encode(row));
}

#[cfg(test)]
mod tests;
