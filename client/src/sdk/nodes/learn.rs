//! Asks supernodes that have just answered for the addresses of clusters and supernodes; what becomes of them is not known here.

use std::time::Duration;

use flotilla_api::{files::ClustersAnswer, route};
use http::uri::Authority;

use super::Learn;
use crate::sdk::{
    client::Client,
    content::Content,
    exchange::{ANSWER_MAX_BYTES, json, whole},
    list::read,
};

/// How long a request that has its answer waits for the addresses, if somebody wants to be told of them.
const LEARN_WITHIN: Duration = Duration::from_millis(300);

impl Client {
    /// Asks for the clusters' and the supernodes' addresses if they are not known, or old: beside the request, or a moment if somebody
    /// wants them.
    ///
    /// Only what an address of the API answers under this client's token is taken: the token may go to the addresses.
    pub(in crate::sdk) async fn learn_nodes(&self, address: &Authority) {
        let inner = &self.0;
        if !inner.nodes.is_due(inner.clock.now()) {
            return;
        }
        let (this, address) = (self.clone(), address.clone());
        let learning = async move {
            let content = Content::none(this.0.clock.clone());
            // A node that was given as an address of the API does not know; then there is nothing to learn.
            let asked = this.0.once(address.as_str(), &read(route::CLUSTERS.to_owned()), &content).await;
            let Ok(response) = asked else { return };
            let answer = whole(response, ANSWER_MAX_BYTES).await;
            let answer: Result<ClustersAnswer, _> = answer.and_then(|(_, bytes)| json(bytes));
            if let Ok(answer) = answer {
                if !answer.supernodes.is_empty() {
                    this.0.addresses.learn(&answer.supernodes);
                }
                this.0.nodes.learn(answer, this.0.clock.now());
            }
        };
        match inner.nodes.learn {
            Learn::Told(_) => _ = tokio::time::timeout(LEARN_WITHIN, learning).await,
            Learn::Beside => drop(tokio::spawn(learning)),
            Learn::Never => {}
        }
    }
}
