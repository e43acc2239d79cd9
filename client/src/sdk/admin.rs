//! What operators ask of a cluster.

use flotilla_api::{
    ClusterName,
    admin::{TaskList, TransferList},
    route,
};

use super::{client::Client, error::Error, list::read};

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

    /// Asks for the transfers of a cluster's nodes; for the root principal.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn transfers(&self, cluster: &ClusterName) -> Result<TransferList, Error> {
        self.run_json(&read(format!("{}/{cluster}/transfers", route::CLUSTERS)), ANSWER_MAX_BYTES).await
    }
}
