//! The directory as the supernode's other parts use it: changes by Raft, reads of applied state, read barriers for misses.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flotilla_api::{
    BucketName, ClusterName, CommandId, Epoch, FileName, NodeId, RequestId, codec,
    peer::{Document, Documents, Home, Supernode},
};
use flotilla_env::{Clock, Entropy};
use flotilla_kv::{Family, View};
use flotilla_raft_store::{Fault, Group};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    Answer, Command, DirectoryMachine, Refusal,
    batch::Claimer,
    machine::Claimed,
    members,
    rows::{
        CLUSTERS, CLUSTERS_MAX, ClusterRow, DISKS, DOCUMENT_ROWS_MAX, DOCUMENTS, EPOCH, HOMES, HomeRow, MEMBERS,
        MEMBERS_MAX, MemberRow, REBUILD, REVISION, RebuildRow, SYSTEM, UNCONFIRMED, bucket_key, epoch_key, fenced_key,
        member_key,
    },
};

/// How long a read barrier or a proposal may take; a new leader is elected well within it.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Why the directory could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Raft group could not serve.
    #[error(transparent)]
    Raft(#[from] flotilla_raft_store::Error),
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// The directory is made anew, so that what it does not know may be there.
    #[error("the directory is being rebuilt")]
    Rebuilding,
    /// A row does not decode.
    #[error("directory row of '{family}' is corrupt: {what}")]
    Corrupt {
        /// The family.
        family: Family,
        /// What is wrong.
        what: String,
    },
}

/// A cheap handle to the directory.
#[derive(Clone)]
pub struct Directory {
    uuid: Uuid,
    group: Group<DirectoryMachine>,
    claimer: Claimer,
}

impl Directory {
    /// Wraps the supernode's Raft group and its identity. `clock` and `entropy` time claims and make their ids.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(uuid: Uuid, group: Group<DirectoryMachine>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let claimer = Claimer::new(group.clone(), clock, entropy);
        Self { uuid, group, claimer }
    }

    /// The identity of the group: one that is formed anew is another directory.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The group itself, for status and Raft messages.
    #[must_use]
    pub fn group(&self) -> &Group<DirectoryMachine> {
        &self.group
    }

    /// Changes the directory; `bits` make the command's id and must be random.
    ///
    /// # Errors
    /// [`Error::Raft`], whose kind tells whether the change can have happened.
    ///
    /// # Cancel safety
    /// A dropped future may leave the command on its way. Every command of the directory can be repeated.
    pub async fn propose(&self, bits: u128, command: Command) -> Result<Answer, Error> {
        let id = CommandId { id: RequestId::from_bits(bits), seen: Some(self.group.applied_index()) };
        Ok(self.group.propose(id, command, DEADLINE).await?.answer)
    }

    /// Claims a key for a cluster, together with the claims of others, and gives its home; the first claim in the log wins.
    ///
    /// # Errors
    /// [`Error::Raft`], whose kind tells whether the claim can have been made.
    ///
    /// # Cancel safety
    /// A dropped future may leave the claim on its way. It can be repeated, and one that nobody uses is taken back.
    pub async fn claim(&self, name: FileName, cluster: ClusterName) -> Result<Result<Claimed, Refusal>, Arc<Error>> {
        self.claimer.claim(name, cluster).await
    }

    /// Gives a key's home. A hit comes from applied state and may be stale: its cluster refuses it then. A miss is answered only
    /// after a read barrier of the group.
    ///
    /// # Errors
    /// [`Error`]; the caller may try again.
    pub async fn home(&self, name: &FileName) -> Result<Option<Home>, Error> {
        match self.applied_home(name)? {
            Some(home) => Ok(Some(home)),
            None => {
                // A planted fault: what is not applied here is not there.
                flotilla_env::failpoint!("directory.miss_unread", |_| Ok(None));
                self.fresh_home(name).await
            }
        }
    }

    /// Gives a key's home after a read barrier.
    ///
    /// # Errors
    /// As [`Directory::home`].
    pub async fn fresh_home(&self, name: &FileName) -> Result<Option<Home>, Error> {
        self.group.read(DEADLINE).await?;
        let view = self.group.consistent_view()?;
        match view.get(HOMES, &name.to_row())? {
            Some(bytes) => Ok(Some(decode::<HomeRow>(HOMES, &bytes)?.home)),
            None => whole(&*view).map(|()| None),
        }
    }

    /// Gives a key's home as it is applied here.
    ///
    /// # Errors
    /// [`Error::Kv`] and [`Error::Corrupt`]; trying again does not help.
    pub fn applied_home(&self, name: &FileName) -> Result<Option<Home>, Error> {
        Ok(self.row::<HomeRow>(HOMES, &name.to_row())?.map(|row| row.home))
    }

    /// Whether a bucket exists; a miss is answered only after a read barrier.
    ///
    /// # Errors
    /// As [`Directory::home`].
    pub async fn has_bucket(&self, name: &BucketName) -> Result<bool, Error> {
        let key = bucket_key(name.as_str());
        if self.group.consistent_view()?.get(DOCUMENTS, &key)?.is_some() {
            return Ok(true);
        }
        self.group.read(DEADLINE).await?;
        let view = self.group.consistent_view()?;
        match view.get(DOCUMENTS, &key)? {
            Some(_) => Ok(true),
            None => whole(&*view).map(|()| false),
        }
    }

    /// Gives all documents as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn documents(&self) -> Result<Documents, Error> {
        let view = self.group.consistent_view()?;
        let revision = match view.get(SYSTEM, REVISION)? {
            Some(bytes) => decode(SYSTEM, &bytes)?,
            None => 0,
        };
        let rows = view.scan(DOCUMENTS, &[], None, DOCUMENT_ROWS_MAX)?;
        let entries: Result<Vec<Document>, Error> = rows.iter().map(|(_, bytes)| decode(DOCUMENTS, bytes)).collect();
        Ok(Documents { directory: self.uuid, revision, entries: entries? })
    }

    /// Gives all documents after a read barrier.
    ///
    /// # Errors
    /// As [`Directory::home`].
    pub async fn fresh_documents(&self) -> Result<Documents, Error> {
        self.group.read(DEADLINE).await?;
        self.documents()
    }

    /// The documents' revision as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn revision(&self) -> Result<u64, Error> {
        Ok(self.row(SYSTEM, REVISION)?.unwrap_or(0))
    }

    /// Gives the registered clusters after a read barrier: from then on the homes applied here are those of all that was acked
    /// before.
    ///
    /// # Errors
    /// As [`Directory::home`].
    pub async fn fresh_clusters(&self) -> Result<Vec<(ClusterName, ClusterRow)>, Error> {
        // A planted fault: what is applied here is all that there is.
        flotilla_env::failpoint!("directory.list_unread", |_| self.clusters());
        self.group.read(DEADLINE).await?;
        let view = self.group.consistent_view()?;
        whole(&*view)?;
        clusters(&*view)
    }

    /// Gives the registered clusters as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn clusters(&self) -> Result<Vec<(ClusterName, ClusterRow)>, Error> {
        clusters(&*self.group.consistent_view()?)
    }

    /// Gives a registered cluster as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn cluster(&self, name: &ClusterName) -> Result<Option<ClusterRow>, Error> {
        self.row(CLUSTERS, name.as_str().as_bytes())
    }

    /// Whether a cluster of this identity is refused for ever, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn is_fenced(&self, uuid: Uuid) -> Result<bool, Error> {
        Ok(self.group.consistent_view()?.get(DOCUMENTS, &fenced_key(uuid))?.is_some())
    }

    /// How far the directory is made anew, as applied here; none if it is not.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn rebuild(&self) -> Result<Option<RebuildRow>, Error> {
        self.row(SYSTEM, REBUILD)
    }

    /// The last epoch granted, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn last_epoch(&self) -> Result<Epoch, Error> {
        Ok(Epoch(self.row(SYSTEM, EPOCH)?.unwrap_or(0)))
    }

    /// Gives at most `limit` claims with `after < epoch <= upto` that their clusters have not confirmed, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn unconfirmed(&self, after: Epoch, upto: Epoch, limit: usize) -> Result<Vec<(FileName, Home)>, Error> {
        let view = self.group.consistent_view()?;
        let (from, to) = (epoch_key(Epoch(after.0 + 1)), epoch_key(Epoch(upto.0 + 1)));
        let mut claims = Vec::new();
        for (key, bytes) in view.scan(UNCONFIRMED, &from, Some(&to), limit)? {
            let name: FileName = decode(UNCONFIRMED, &bytes)?;
            let Some(home) = view.get(HOMES, &name.to_row())? else { continue };
            let HomeRow { home } = decode(HOMES, &home)?;
            if epoch_key(home.epoch) == key {
                claims.push((name, home));
            }
        }
        Ok(claims)
    }

    /// Gives what is kept of supernodes, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn members(&self) -> Result<BTreeMap<NodeId, MemberRow>, Error> {
        let rows = self.group.consistent_view()?.scan(MEMBERS, &[], None, MEMBERS_MAX)?;
        let ids = rows.iter().filter_map(|(key, row)| Some((NodeId(u64::from_be_bytes(*key.first_chunk()?)), row)));
        ids.map(|(id, row)| Ok((id, decode(MEMBERS, row)?))).collect()
    }

    /// Gives what is kept of one supernode, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn member(&self, id: NodeId) -> Result<Option<MemberRow>, Error> {
        self.row(MEMBERS, &member_key(id))
    }

    /// Whether a supernode has left the group, as applied here; an id that was never given is none's.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn has_left(&self, id: NodeId) -> Result<bool, Error> {
        let gone = members::has_left(&*self.group.consistent_view()?, id).map_err(|fault| match fault {
            Fault::Kv(error) => Error::Kv(error),
            Fault::Corrupt { family, source } => Error::Corrupt { family, what: source.to_string() },
        })?;
        Ok(gone && self.group.member(id).is_none())
    }

    /// Gives the supernode that a disk which joined belongs to, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn member_of(&self, disk: Uuid) -> Result<Option<NodeId>, Error> {
        self.row(DISKS, disk.as_bytes())
    }

    /// Gives the supernodes that were started, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn supernodes(&self) -> Result<Vec<Supernode>, Error> {
        let of_supernode = |document| match document {
            Document::Supernode(supernode) => Some(supernode),
            Document::Bucket { .. } | Document::Principal(_) | Document::Cluster { .. } | Document::Fenced { .. } => {
                None
            }
        };
        Ok(self.documents()?.entries.into_iter().filter_map(of_supernode).collect())
    }

    /// Waits until the local state holds everything that was acked before the call.
    ///
    /// # Errors
    /// [`Error::Raft`]; the caller may try again.
    pub async fn barrier(&self) -> Result<(), Error> {
        self.group.read(DEADLINE).await?;
        Ok(())
    }

    pub(super) fn row<T: DeserializeOwned>(&self, family: Family, key: &[u8]) -> Result<Option<T>, Error> {
        self.group.consistent_view()?.get(family, key)?.map(|bytes| decode(family, &bytes)).transpose()
    }
}

/// Whether what is not in a view is not there at all: while the directory is made anew, it may be.
pub(super) fn whole(view: &dyn View) -> Result<(), Error> {
    match view.get(SYSTEM, REBUILD)? {
        None => Ok(()),
        Some(_) => Err(Error::Rebuilding),
    }
}

pub(super) fn clusters(view: &dyn View) -> Result<Vec<(ClusterName, ClusterRow)>, Error> {
    let rows = view.scan(CLUSTERS, &[], None, CLUSTERS_MAX)?;
    rows.iter()
        .map(|(key, bytes)| {
            let name = String::from_utf8_lossy(key).parse::<ClusterName>();
            let name = name.map_err(|error| Error::Corrupt { family: CLUSTERS, what: error.to_string() })?;
            Ok((name, decode(CLUSTERS, bytes)?))
        })
        .collect()
}

pub(super) fn decode<T: DeserializeOwned>(family: Family, bytes: &[u8]) -> Result<T, Error> {
    codec::decode(bytes).map_err(|error| Error::Corrupt { family, what: error.to_string() })
}
