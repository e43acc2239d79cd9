//! What operators ask of a cluster, and of the supernodes.

use flotilla_api::{
    ClusterName, NodeId,
    admin::{NodeList, Taken, TaskList, TransferList},
    route,
    supernodes::SupernodeList,
};

use http::Method;

use super::{client::Client, error::Error, exchange::Call, list::read};

/// The most bytes of an answer: a thousand tasks, or the transfers of a hundred nodes.
const ANSWER_MAX_BYTES: usize = 32 << 20;

impl Client {
    /// Asks for the tasks of a cluster; for the root principal.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn tasks(&self, cluster: &ClusterName) -> Result<TaskList, Error> {
        self.run_json(&read(format!("{}/{cluster}/tasks", route::CLUSTERS)), ANSWER_MAX_BYTES).await
    }

    /// Asks for the members of a cluster; for the root principal.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn nodes(&self, cluster: &ClusterName) -> Result<NodeList, Error> {
        self.run_json(&read(format!("{}/{cluster}/nodes", route::CLUSTERS)), ANSWER_MAX_BYTES).await
    }

    /// Moves all data off a node, or stops doing so; for the root principal. Doing it again changes nothing.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn drain(&self, cluster: &ClusterName, node: NodeId, on: bool) -> Result<Taken, Error> {
        let method = if on { Method::POST } else { Method::DELETE };
        let route = format!("{}/{cluster}/nodes/{node}/drain", route::CLUSTERS);
        self.run_json(&Call { method, ..read(route) }, ANSWER_MAX_BYTES).await
    }

    /// Has a node hand over and end; for the root principal.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn stop(&self, cluster: &ClusterName, node: NodeId) -> Result<Taken, Error> {
        let route = format!("{}/{cluster}/nodes/{node}/stop", route::CLUSTERS);
        self.run_json(&Call { method: Method::POST, ..read(route) }, ANSWER_MAX_BYTES).await
    }

    /// Has a node leave its cluster for ever: one without data, or one that is lost; for the root principal. It goes on in the
    /// background until the node is no longer among [`Client::nodes`]. Of one that has left already it is done.
    ///
    /// # Errors
    /// See [`Error::kind`]; 409 `conflict` for a node that has data, or that is up although it was said to be lost.
    pub async fn remove_node(&self, cluster: &ClusterName, node: NodeId, lost: bool) -> Result<Taken, Error> {
        let what = if lost { "remove-lost" } else { "remove" };
        let route = format!("{}/{cluster}/nodes/{node}/{what}", route::CLUSTERS);
        self.run_json(&Call { method: Method::POST, ..read(route) }, ANSWER_MAX_BYTES).await
    }

    /// Asks for the transfers of a cluster's nodes; for the root principal.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn transfers(&self, cluster: &ClusterName) -> Result<TransferList, Error> {
        self.run_json(&read(format!("{}/{cluster}/transfers", route::CLUSTERS)), ANSWER_MAX_BYTES).await
    }

    /// Asks for the supernodes.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn supernodes(&self) -> Result<SupernodeList, Error> {
        self.run_json(&read(route::SUPERNODES.to_owned()), ANSWER_MAX_BYTES).await
    }

    /// Has a supernode leave the group for ever: one that is up, or one that is lost; for the root principal. It goes on in the
    /// background until the supernode is no longer among [`Client::supernodes`]. Of one that has left already it is done.
    ///
    /// # Errors
    /// See [`Error::kind`]; 409 `conflict` for the last one, for one that is silent, or up although it was said to be lost.
    pub async fn remove_supernode(&self, id: NodeId, lost: bool) -> Result<Taken, Error> {
        let what = if lost { route::REMOVE_LOST } else { route::REMOVE };
        let route = format!("{}/{id}/{what}", route::SUPERNODES);
        self.run_json(&Call { method: Method::POST, ..read(route) }, ANSWER_MAX_BYTES).await
    }
}
