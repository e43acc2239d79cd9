//! The directory's rules: the first claim in the log wins; an epoch is granted once. Pure.

use flotilla_api::{
    ClusterName, Epoch, FileName, codec,
    keys::PrincipalName,
    peer::{Document, HOMES_MAX, Home, Principal},
};
use flotilla_kv::Family;
use flotilla_raft_store::{Fault, Machine, Position, Txn};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::rows::{
    CLUSTERS, CLUSTERS_MAX, COUNT, ClusterRow, DOCUMENTS, DOCUMENTS_MAX, EPOCH, FAMILIES, HOMES, HomeRow, REVISION,
    SYSTEM, UNCONFIRMED, document_key, epoch_key, principal_key,
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
}

/// The rules of the directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirectoryMachine;

impl Machine for DirectoryMachine {
    type Command = Command;
    type Answer = Answer;

    const FAMILIES: &'static [Family] = FAMILIES;

    fn apply(&self, state: &mut dyn Txn, command: Command, _at: Position) -> Result<Answer, Fault> {
        match command {
            Command::Claim { claims } => {
                let claims = claims.into_iter().take(CLAIMS_MAX);
                let answers: Result<_, Fault> =
                    claims.map(|Claim { name, cluster }| claim(state, &name, cluster)).collect();
                Ok(Answer::Claimed(answers?))
            }
            Command::Refresh { name, cluster, passed } => refresh(state, &name, cluster, passed),
            Command::Release { name, epoch } => release(state, &name, epoch),
            Command::Register { cluster, uuid } => register(state, &cluster, uuid),
            Command::PutDocument(document) => put_document(state, &document),
            Command::AddPrincipal(principal) => add_principal(state, principal),
            Command::RemovePrincipal { name } => remove_principal(state, &name),
            // Refused as any name that has another key.
            Command::FoundRoot(principal) => add_principal(state, principal),
            Command::Confirm { epochs } => {
                for epoch in epochs.into_iter().take(HOMES_MAX) {
                    state.delete(UNCONFIRMED, epoch_key(epoch));
                }
                Ok(Answer::Done)
            }
        }
    }

    /// Claims can be made again, and their answers are long.
    fn is_kept(answer: &Answer) -> bool {
        !matches!(answer, Answer::Claimed(_))
    }
}

fn claim(state: &mut dyn Txn, name: &FileName, cluster: ClusterName) -> Result<Result<Claimed, Refusal>, Fault> {
    if let Some(HomeRow { home }) = get(state, HOMES, &name.to_row())? {
        return Ok(Ok(Claimed { home, granted: false }));
    }
    if state.get(CLUSTERS, cluster.as_str().as_bytes())?.is_none() {
        return Ok(Err(Refusal::UnknownCluster));
    }
    Ok(Ok(Claimed { home: grant(state, name, cluster)?, granted: true }))
}

fn refresh(state: &mut dyn Txn, name: &FileName, cluster: ClusterName, passed: Epoch) -> Result<Answer, Fault> {
    let key = name.to_row();
    match get(state, HOMES, &key)? {
        Some(HomeRow { home }) if home.cluster == cluster && home.epoch == passed => {
            state.delete(UNCONFIRMED, epoch_key(passed));
            Ok(Answer::Home(grant(state, name, cluster)?))
        }
        Some(HomeRow { home }) => Ok(Answer::Home(home)),
        None => Ok(match claim(state, name, cluster)? {
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

fn register(state: &mut dyn Txn, cluster: &ClusterName, uuid: Uuid) -> Result<Answer, Fault> {
    let key = cluster.as_str().as_bytes().to_vec();
    match get::<ClusterRow>(state, CLUSTERS, &key)? {
        Some(row) if row.uuid == uuid => Ok(Answer::Done),
        Some(_) => Ok(Answer::Refused(Refusal::ForeignCluster)),
        None if state.scan(CLUSTERS, &[], None, CLUSTERS_MAX)?.len() >= CLUSTERS_MAX => {
            Ok(Answer::Refused(Refusal::TooMany))
        }
        None => {
            put(state, CLUSTERS, key, &ClusterRow { uuid });
            Ok(Answer::Done)
        }
    }
}

fn put_document(state: &mut dyn Txn, document: &Document) -> Result<Answer, Fault> {
    let key = document_key(document);
    match get::<Document>(state, DOCUMENTS, &key)? {
        Some(held) if held == *document => return Ok(Answer::Done),
        Some(_) => {}
        None => {
            let count: u64 = get(state, SYSTEM, COUNT)?.unwrap_or(0);
            if count >= DOCUMENTS_MAX {
                return Ok(Answer::Refused(Refusal::TooMany));
            }
            put(state, SYSTEM, COUNT.to_vec(), &(count + 1));
        }
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
    state.delete(DOCUMENTS, key);
    let count: u64 = get(state, SYSTEM, COUNT)?.unwrap_or(0);
    put(state, SYSTEM, COUNT.to_vec(), &count.saturating_sub(1));
    raise_revision(state)?;
    Ok(Answer::Done)
}

fn raise_revision(state: &mut dyn Txn) -> Result<(), Fault> {
    let revision: u64 = get(state, SYSTEM, REVISION)?.unwrap_or(0);
    put(state, SYSTEM, REVISION.to_vec(), &(revision + 1));
    Ok(())
}

fn get<T: DeserializeOwned>(state: &dyn Txn, family: Family, key: &[u8]) -> Result<Option<T>, Fault> {
    state
        .get(family, key)?
        .map(|bytes| codec::decode(&bytes).map_err(|source| Fault::Corrupt { family, source }))
        .transpose()
}

fn put<T: Serialize>(state: &mut dyn Txn, family: Family, key: Vec<u8>, row: &T) {
    state.put(family, key, codec::encode(row));
}

#[cfg(test)]
mod tests;
