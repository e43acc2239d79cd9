//! Questions that any node of a cluster answers.

use flotilla_api::ClusterName;
use flotilla_client::peer;
use flotilla_http_server::ApiError;

use super::{error::cluster_unavailable, forward::Forwarder};

/// How many nodes of a cluster are tried.
const NODES_ASKED_MAX: usize = 3;

/// Asks a node of a cluster; another one if there was no connection, as when the first has just died. `ask` gets its address.
///
/// # Errors
/// What the node said; 503 if none could be asked, or one broke off.
pub(super) async fn any_node<T, F>(
    forwarder: &Forwarder,
    cluster: &ClusterName,
    ask: impl Fn(String) -> F,
) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, peer::Error>>,
{
    let mut avoid: Vec<String> = Vec::new();
    loop {
        let node = forwarder.clusters.wait_for(|known| known.gateway(cluster, &avoid)).await;
        let node = node.ok_or_else(|| cluster_unavailable(cluster))?;
        let error = match ask(node.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(peer::Error::Problem(problem)) => return Err((*problem).into()),
            Err(error) => error,
        };
        tracing::warn!(%node, %error, "node does not answer for its cluster");
        avoid.push(node);
        // Without a connection nothing was done.
        if !matches!(error, peer::Error::Unreachable { .. }) || avoid.len() >= NODES_ASKED_MAX {
            return Err(cluster_unavailable(cluster));
        }
    }
}
