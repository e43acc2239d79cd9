//! Whether a key is at home here: the cluster's own log first, the supernodes' directory for what the log doesn't know.

use flotilla_api::{
    BucketName, ClusterName, Epoch, FileName, Problem,
    peer::{ClaimAnswer, ClaimRequest, Home, NodesAnswer, NodesRequest, ReleaseRequest},
    route,
};
use flotilla_client::PeerClient;
use uuid::Uuid;

use crate::{
    metadata::{
        Metadata,
        read::Error as MetadataError,
        rows::{HomeState, KeyRow},
    },
    supernodes::{Supernodes, Unanswered},
};

/// Why a request can't be served here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is at home in another cluster.
    #[error("the key is at home in cluster '{}'", _0.cluster)]
    Elsewhere(Home),
    /// No supernode answers.
    #[error("no supernode answers: {0}")]
    Directory(String),
    /// The supernodes answer, and this cluster gets no new keys.
    #[error("this cluster gets no new keys: {0}")]
    Refused(Box<Problem>),
    /// The metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Finds out whether keys are at home here. Cheap to clone.
#[derive(Clone)]
pub struct Homes {
    cluster: ClusterName,
    uuid: Uuid,
    supernodes: Supernodes,
    metadata: Metadata,
}

impl Homes {
    /// Puts the parts together; `uuid` is the cluster's identity.
    #[must_use]
    pub fn new(cluster: ClusterName, uuid: Uuid, supernodes: Supernodes, metadata: Metadata) -> Self {
        Self { cluster, uuid, supernodes, metadata }
    }

    /// The way to other processes.
    #[must_use]
    pub fn peers(&self) -> &PeerClient {
        self.supernodes.peers()
    }

    /// Gives the epoch to write under; a free key is claimed for this cluster.
    ///
    /// # Errors
    /// [`Error`]; nothing was claimed for this cluster then, or the claim stands and the next try finds it.
    pub async fn to_write(&self, name: &FileName) -> Result<Epoch, Error> {
        match self.metadata.key(name)? {
            Some(KeyRow { home: HomeState::Open | HomeState::Sealed, epoch, .. }) => Ok(epoch),
            Some(KeyRow { home: HomeState::Closed, epoch, .. }) => self.refresh(name, epoch).await,
            None => {
                flotilla_env::failpoint!("homes.before_claim", |_| Err(Error::Directory("a failpoint".into())));
                self.claim(name, None).await
            }
        }
    }

    /// Gives the epoch to commit under after a commit under `passed` was refused, and can only ever be refused: this cluster's log
    /// says that its home is closed. The same home gets a fresh epoch if it still stands, a free key is claimed anew.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Elsewhere`] if another cluster has the key by now.
    pub async fn again(&self, name: &FileName, passed: Epoch) -> Result<Epoch, Error> {
        // Another request may have renewed the home and committed under it.
        self.metadata.barrier().await?;
        if let Some(KeyRow { home: HomeState::Open, epoch, .. }) = self.metadata.key(name)?
            && epoch > passed
        {
            return Ok(epoch);
        }
        self.refresh(name, passed).await
    }

    async fn refresh(&self, name: &FileName, passed: Epoch) -> Result<Epoch, Error> {
        self.claim(name, Some(passed)).await
    }

    async fn claim(&self, name: &FileName, refresh: Option<Epoch>) -> Result<Epoch, Error> {
        let (name, cluster, uuid) = (name.clone(), self.cluster.clone(), self.uuid);
        let request = ClaimRequest { name, cluster, uuid, refresh };
        let answer: ClaimAnswer = self.ask(route::PEER_CLAIM, &request).await?;
        self.own(answer.home)
    }

    /// Tells the directory that homes are closed here; afterwards none of them stands at its epoch.
    ///
    /// # Errors
    /// [`Error::Directory`]; some may be released, and telling it again does no harm.
    pub async fn release(&self, homes: Vec<(FileName, Epoch)>) -> Result<(), Error> {
        self.ask(route::PEER_RELEASE, &ReleaseRequest { cluster: self.cluster.clone(), homes }).await
    }

    /// Asks the supernodes whether a bucket exists that this cluster has not heard of: documents arrive half a second late.
    ///
    /// # Errors
    /// [`Error::Directory`].
    pub async fn has_bucket(&self, name: &BucketName) -> Result<bool, Error> {
        self.ask(route::PEER_BUCKET, name).await
    }

    /// Tells whether a key that this cluster does not know is at home elsewhere; Ok means that it is not.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn not_elsewhere(&self, name: &FileName) -> Result<(), Error> {
        let home: Option<Home> = self.ask(route::PEER_LOOKUP, name).await?;
        home.map_or(Ok(()), |home| self.own(home).map(drop))
    }

    /// Asks which nodes of a cluster clients can be sent to, and which clusters there are.
    ///
    /// # Errors
    /// [`Error::Directory`].
    pub async fn nodes(&self, cluster: &ClusterName, write: bool) -> Result<NodesAnswer, Error> {
        self.ask(route::PEER_NODES, &NodesRequest { cluster: cluster.clone(), write }).await
    }

    fn own(&self, home: Home) -> Result<Epoch, Error> {
        if home.cluster == self.cluster { Ok(home.epoch) } else { Err(Error::Elsewhere(home)) }
    }

    async fn ask<Q: serde::Serialize + Sync, A: serde::de::DeserializeOwned>(
        &self,
        route: &str,
        request: &Q,
    ) -> Result<A, Error> {
        self.supernodes.ask(route, request).await.map_err(|why| match why {
            Unanswered::Silent(why) => Error::Directory(why),
            Unanswered::Refused(problem) => Error::Refused(problem),
        })
    }
}
