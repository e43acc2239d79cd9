//! The clusters' own addresses: files whose homes the clusters know are reached there while no address of the API answers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_api::{Code, files::ClustersAnswer, route};
use http::{HeaderMap, Method, Response, uri::Authority};
use tokio::time::Instant;

use super::{
    client::{Client, parse},
    content::Content,
    exchange::{ANSWER_MAX_BYTES, Call, json, whole},
    retry::{Failure, Tries},
};
use crate::{body::Body, transport::Lane};

/// How old the addresses may get before they are asked for again, after a request that had an answer.
const LEARN_EVERY: Duration = Duration::from_secs(30);
/// How long a request that has its answer waits for the addresses, if somebody wants to be told of them.
const LEARN_WITHIN: Duration = Duration::from_millis(300);
/// Nodes of one cluster that are remembered and asked: more than one, since the first may be away with the supernodes.
const NODES_PER_CLUSTER: usize = 3;
/// Clusters of a fleet.
const CLUSTERS_MAX: usize = 64;

/// Is told of addresses, by cluster, as URLs.
type OnNodes = dyn Fn(&[Vec<String>]) + Send + Sync;

/// How a client learns the addresses of the clusters' nodes.
#[derive(Clone, Default)]
pub enum Learn {
    /// Beside a request, about twice a minute.
    #[default]
    Beside,
    /// As that, but the request waits for it for 300 ms at most; the function is told of the addresses.
    Told(Arc<OnNodes>),
    /// Not at all.
    Never,
}

/// What is known of the clusters' nodes.
pub(super) struct Nodes {
    state: Mutex<State>,
    learn: Learn,
}

#[derive(Debug, Default)]
struct State {
    /// By cluster.
    known: Vec<Vec<Authority>>,
    asked: Option<Instant>,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Nodes").field(&*self.lock()).finish()
    }
}

impl Nodes {
    /// Begins with what was learned before; what is no address is left out.
    pub(super) fn new(known: &[Vec<String>], learn: Learn) -> Self {
        let state = State { known: authorities(known), asked: None };
        Self { state: Mutex::new(state), learn }
    }

    /// Whether the addresses should be asked for, which the caller does then.
    fn is_due(&self, now: Instant) -> bool {
        if matches!(self.learn, Learn::Never) {
            return false;
        }
        let mut state = self.lock();
        let due = state.asked.is_none_or(|asked| now.duration_since(asked) >= LEARN_EVERY);
        if due {
            state.asked = Some(now);
        }
        due
    }

    fn learn(&self, answer: ClustersAnswer) {
        let of_cluster = |nodes: Vec<_>| -> Vec<String> {
            let (alive, rest): (Vec<flotilla_api::peer::NodeReport>, Vec<_>) =
                nodes.into_iter().partition(|node: &flotilla_api::peer::NodeReport| node.alive);
            alive.into_iter().chain(rest).map(|node| node.public).filter(|public| !public.is_empty()).collect()
        };
        let told: Vec<Vec<String>> = answer.clusters.into_iter().map(|cluster| of_cluster(cluster.nodes)).collect();
        let known = authorities(&told);
        if known.is_empty() {
            return;
        }
        let urls = |nodes: &Vec<Authority>| nodes.iter().map(|node| format!("http://{node}")).collect();
        let told: Vec<Vec<String>> = known.iter().map(urls).collect();
        self.lock().known = known;
        if let Learn::Told(tell) = &self.learn {
            tell(&told);
        }
    }

    /// Gives the nodes to ask, one of each cluster before the second ones.
    fn to_ask(&self) -> Vec<Authority> {
        let known = &self.lock().known;
        (0..NODES_PER_CLUSTER).flat_map(|at| known.iter().filter_map(move |nodes| nodes.get(at).cloned())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authorities(urls: &[Vec<String>]) -> Vec<Vec<Authority>> {
    let of_cluster = |nodes: &Vec<String>| -> Vec<Authority> {
        nodes.iter().filter_map(|url| parse(url).ok()).take(NODES_PER_CLUSTER).collect()
    };
    urls.iter().take(CLUSTERS_MAX).map(of_cluster).filter(|nodes| !nodes.is_empty()).collect()
}

impl Client {
    /// Asks for the clusters' addresses if they are not known, or old: beside the request, or a moment if somebody wants them.
    pub(super) async fn learn_nodes(&self, address: &Authority) {
        let inner = &self.0;
        if !inner.nodes.is_due(inner.clock.now()) {
            return;
        }
        let (this, address) = (self.clone(), address.clone());
        let learning = async move {
            let (route, headers) = (route::CLUSTERS.to_owned(), HeaderMap::new());
            let call = Call { method: Method::GET, lane: Lane::Control, route, headers, key: None };
            let content = Content::none(this.0.clock.clone());
            // A node that was given as an address of the API does not know; then there is nothing to learn.
            let Ok(response) = this.0.once(address.as_str(), &call, &content).await else { return };
            let answer = whole(response, ANSWER_MAX_BYTES).await.and_then(|(_, bytes)| json(bytes));
            if let Ok(answer) = answer {
                this.0.nodes.learn(answer);
            }
        };
        match inner.nodes.learn {
            Learn::Told(_) => _ = tokio::time::timeout(LEARN_WITHIN, learning).await,
            Learn::Beside => drop(tokio::spawn(learning)),
            Learn::Never => {}
        }
    }

    /// Sends a request for a file to the clusters' nodes, after no address of the API could serve it. Nothing if none of them knows
    /// the file, or can serve it either.
    pub(super) async fn ask_nodes<T, F, Fut>(
        &self,
        call: &Call,
        content: &Content,
        read: &F,
        tries: &mut Tries,
    ) -> Option<Result<T, Failure>>
    where
        F: Fn(Response<Body>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Failure>> + Send,
    {
        for node in self.0.nodes.to_ask() {
            let answer = match self.0.once(node.as_str(), call, content).await {
                Ok(response) => read(response).await,
                Err(failure) => Err(failure),
            };
            let failure = match answer {
                Ok(value) => return Some(Ok(value)),
                Err(failure) => failure,
            };
            tracing::debug!(route = call.route, %node, ?failure, "a node of a cluster was asked");
            match &failure {
                Failure::Unreachable(_) | Failure::Cut(_) => {}
                Failure::Problem(problem) if says_nothing(problem.code) || problem.retryable => {}
                // A read that broke off is asked of another one.
                Failure::Lost(_) if call.key.is_none() => {}
                _ if tries.note(&failure) => return None,
                _ => return Some(Err(failure)),
            }
            if !content.reopens() {
                return None;
            }
        }
        None
    }
}

/// Whether a node that answers so did nothing, and another one may do better.
fn says_nothing(code: Code) -> bool {
    matches!(
        code,
        Code::WrongHome
            | Code::DirectoryUnavailable
            | Code::ClusterUnavailable
            | Code::NotReady
            | Code::NoLeader
            | Code::CatchingUp
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(nodes: &[&[&str]]) -> Vec<Vec<String>> {
        nodes.iter().map(|nodes| nodes.iter().map(|node| format!("http://{node}")).collect()).collect()
    }

    #[test]
    fn every_cluster_is_asked_before_a_second_node() {
        let nodes =
            Nodes::new(&urls(&[&["a1:1", "a2:1", "a3:1", "a4:1"], &["b1:1"], &["no url", "c2:1"]]), Learn::Never);
        let asked: Vec<String> = nodes.to_ask().iter().map(ToString::to_string).collect();
        assert_eq!(asked, ["a1:1", "b1:1", "c2:1", "a2:1", "a3:1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_asked_for_once_in_a_while() {
        let nodes = Nodes::new(&[], Learn::Beside);
        assert!(nodes.is_due(Instant::now()));
        assert!(!nodes.is_due(Instant::now()));
        tokio::time::advance(LEARN_EVERY).await;
        assert!(nodes.is_due(Instant::now()));
        nodes.learn(ClustersAnswer { clusters: Vec::new(), server: None });
        assert!(nodes.to_ask().is_empty());
    }
}
