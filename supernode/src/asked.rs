//! Clusters asked for their home records, or for the fence of a rebuild: any node of theirs, with patience for elections.
//!
//! It must not know what is made of the answers.

use std::time::Duration;

use flotilla_api::{
    ClusterName, FileName,
    peer::{FenceAnswer, FenceRequest, HOME_RECORDS_MAX, HomesAnswer, HomesRequest},
    route,
};
use flotilla_client::{Lane, PeerClient};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::clusters::Clusters;

/// Clusters report twice a second, so whoever lives is heard within this time, also by a supernode that has just started.
pub const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// How long a node may take for a page: a read index, and a scan of 512 rows.
const DEADLINE: Duration = Duration::from_secs(4);
/// How often a cluster is asked: for ten seconds at least, in which a leader is elected several times, and for less than the minute
/// after which whoever waits for a line gives up.
const TRIES_MAX: usize = 10;
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A cluster that is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its name.
    pub name: ClusterName,
    /// Its identity: another one under its name is not asked.
    pub uuid: Uuid,
}

/// A cluster did not answer.
#[derive(Debug, thiserror::Error)]
#[error("cluster '{cluster}' does not answer: {why}")]
pub struct Silent {
    /// The cluster.
    pub cluster: ClusterName,
    /// What was said last.
    pub why: String,
}

/// Asks clusters. Cheap to clone.
#[derive(Clone)]
pub struct Asker {
    /// Clusters and their nodes.
    pub clusters: Clusters,
    /// The way to nodes.
    pub peers: PeerClient,
}

impl Asker {
    /// Asks for the home records behind `after`; fewer than [`HOME_RECORDS_MAX`] are the last ones.
    ///
    /// # Errors
    /// [`Silent`]
    pub async fn page(&self, of: &Target, after: Option<FileName>) -> Result<HomesAnswer, Silent> {
        let limit = u32::try_from(HOME_RECORDS_MAX).unwrap_or(u32::MAX);
        self.ask(of, route::PEER_HOMES, &HomesRequest::Page { after, limit }).await
    }

    /// Asks for the home records of these keys.
    ///
    /// # Errors
    /// [`Silent`]
    pub async fn named(&self, of: &Target, names: &[FileName]) -> Result<HomesAnswer, Silent> {
        self.ask(of, route::PEER_HOMES, &HomesRequest::Named { names: names.to_vec() }).await
    }

    /// Has a cluster refuse first commits under what a lost directory can have granted.
    ///
    /// # Durability
    /// Ok means: committed in the cluster's log.
    ///
    /// # Errors
    /// [`Silent`]; the fence may stand all the same.
    ///
    /// # Cancel safety
    /// The fence may stand, and doing it again does no harm.
    pub async fn fence(&self, of: &Target, request: &FenceRequest) -> Result<FenceAnswer, Silent> {
        self.ask(of, route::PEER_FENCE, request).await
    }

    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        of: &Target,
        route: &str,
        request: &Q,
    ) -> Result<A, Silent> {
        let mut why = "none of its nodes is known".to_owned();
        let mut avoid: Vec<String> = Vec::new();
        for tried in 0..TRIES_MAX {
            if tried > 0 {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            let Some(node) = self.clusters.node_of(of, &avoid) else {
                avoid.clear();
                continue;
            };
            match self.peers.post(Lane::Control, &node, route, request, DEADLINE).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::debug!(cluster = %of.name, %node, %error, "node does not answer for its cluster");
                    why = error.to_string();
                    avoid.push(node);
                }
            }
        }
        Err(Silent { cluster: of.name.clone(), why })
    }
}

#[cfg(test)]
pub(crate) mod testing;
