//! Requests to the clusters' nodes, while no address of the API can serve them: first whose file it is, then the request itself.
//!
//! The home is looked for by a small question, since a stream can be sent once, and since a node that hangs then costs a moment
//! instead of the request. It is a GET on condition that there is no such file, and not a HEAD: a refused HEAD has no document, and
//! so neither a code nor the home's addresses.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use flotilla_api::{ClusterName, Code};
use futures::{StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, HeaderValue, Method, Response, header::IF_NONE_MATCH};
use tokio::time::Instant;

use super::Candidate;
use crate::{
    body::Body,
    sdk::{
        client::Client,
        content::Content,
        exchange::Call,
        retry::{Failure, Tries},
    },
    transport::Lane,
};

/// After how long without an answer the next node is asked as well: longer than a read of metadata takes.
const HEDGE_AFTER: Duration = Duration::from_millis(300);
/// How long a node may take to say whose file it is: it may ask three supernodes that hang, for 3 s each and 300 ms apart.
const SAY_WITHIN: Duration = Duration::from_secs(5);
/// Nodes that one round of asking sends the request to: as many as are remembered of its home.
const SENDS_MAX: usize = 3;

/// What came of asking the nodes, with the address of the one that said so.
pub(in crate::sdk) enum Asked<T> {
    /// The answer.
    Answered(T, String),
    /// A failure that asking again does not mend.
    Refused(Failure, String),
    /// None could serve it now; the failure of one that should have, if there was one.
    Nobody(Option<(Failure, String)>),
}

/// What a node said of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// It will answer requests for the file.
    Here,
    /// The file is at home in another cluster, at these addresses if they are known. All nodes of its cluster would say so.
    Elsewhere(Vec<String>),
    /// Its cluster's log does not have the key, and no supernode answers it. The log is that of all nodes of its cluster.
    Unknown,
    /// It can't tell now; another node of its cluster may.
    NotNow,
}

impl Client {
    /// Sends a request for a file to its home, after no address of the API could serve it; `named` are addresses that a server
    /// named as the home's.
    pub(in crate::sdk) async fn ask_nodes<T, F, Fut>(
        &self,
        call: &Call,
        content: &Content,
        read: &F,
        tries: &mut Tries,
        named: &[String],
    ) -> Asked<T>
    where
        F: Fn(Response<Body>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Failure>> + Send,
    {
        let inner = &*self.0;
        let mut last = None;
        for _ in 0..SENDS_MAX {
            let Some(node) = self.find(&call.route, named).await else { break };
            let answer = match inner.once(&node, call, content).await {
                Ok(response) => read(response).await,
                Err(failure) => Err(failure),
            };
            let failure = match answer {
                Ok(value) => return Asked::Answered(value, node),
                Err(failure) => failure,
            };
            tracing::debug!(route = call.route, node, ?failure, "a node of a cluster was asked");
            tries.note(&failure);
            if !passes(&failure) || !content.reopens() || tries.is_spent() {
                return Asked::Refused(failure, node);
            }
            let elsewhere = failure.blames_address();
            if elsewhere {
                inner.nodes.failed(&node, inner.clock.now());
            }
            last = Some((failure, node));
            if !elsewhere {
                break; // It would say so again at once.
            }
        }
        Asked::Nobody(last)
    }

    /// Finds a node that answers requests for a file.
    async fn find(&self, route: &str, named: &[String]) -> Option<String> {
        let (nodes, now) = (&self.0.nodes, || self.0.clock.now());
        let mut search = Search::new(nodes.to_ask(named, now()));
        let question = Arc::new(question(route));
        let mut asked = FuturesUnordered::new();
        loop {
            if asked.is_empty() {
                asked.push(ask(self.clone(), search.next(now())?, question.clone()));
            }
            tokio::select! {
                Some((candidate, said)) = asked.next() => {
                    tracing::debug!(route, node = candidate.node, ?said, "a node said whose file it is");
                    let said = match said {
                        Said::Elsewhere(named) => Said::Elsewhere(nodes.usable(named.iter().map(String::as_str))),
                        Said::Here | Said::Unknown | Said::NotNow => said,
                    };
                    match said {
                        Said::NotNow => nodes.failed(&candidate.node, now()),
                        Said::Here | Said::Elsewhere(_) | Said::Unknown => nodes.answered(&candidate.node),
                    }
                    if search.hear(&candidate, said) {
                        search.silent(now()).for_each(|node| nodes.failed(node, now()));
                        return Some(candidate.node);
                    }
                    asked.extend(search.next(now()).map(|next| ask(self.clone(), next, question.clone())));
                }
                () = tokio::time::sleep(HEDGE_AFTER), if !search.queue.is_empty() => {
                    asked.extend(search.next(now()).map(|next| ask(self.clone(), next, question.clone())));
                }
            }
        }
    }
}

/// Whether a request that failed so can do better at another node, or later.
fn passes(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable(_) | Failure::Cut(_) | Failure::Lost(_) => true,
        Failure::Problem(problem) => problem.retryable || problem.code == Code::Indeterminate,
        Failure::Malformed(_) | Failure::Source(_) | Failure::Invalid(_) => false,
    }
}

/// Asks whether there is a file; its bytes are not wanted.
fn question(route: &str) -> Call {
    let path = route.split('?').next().unwrap_or(route);
    let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))]);
    Call { method: Method::GET, lane: Lane::Control, route: path.to_owned(), headers, key: None }
}

/// Owns all that it uses, so that many can be under way in a future that is sent between threads.
async fn ask(client: Client, candidate: Candidate, question: Arc<Call>) -> (Candidate, Said) {
    let content = Content::none(client.0.clock.clone());
    let answer = tokio::time::timeout(SAY_WITHIN, client.0.once(&candidate.node, &question, &content)).await;
    let said = match answer {
        Ok(Ok(_)) => Said::Here,
        Ok(Err(failure)) => said(&failure),
        Err(_) => Said::NotNow,
    };
    (candidate, said)
}

fn said(failure: &Failure) -> Said {
    match failure {
        Failure::Problem(problem) => match problem.code {
            Code::WrongHome => Said::Elsewhere(failure.told_home().to_vec()),
            Code::DirectoryUnavailable => Said::Unknown,
            Code::Internal => Said::NotNow,
            _ if problem.retryable => Said::NotNow,
            // That there is no such file or bucket, or that the token does not do: it is what the request is answered as well.
            _ => Said::Here,
        },
        Failure::Unreachable(_)
        | Failure::Cut(_)
        | Failure::Lost(_)
        | Failure::Malformed(_)
        | Failure::Source(_)
        | Failure::Invalid(_) => Said::NotNow,
    }
}

/// The search for a file's home: whom to ask next, by what was said before; pure.
struct Search {
    queue: VecDeque<Candidate>,
    /// Clusters whose nodes all say what one of them has said.
    spoken: BTreeSet<ClusterName>,
    /// Every node that was asked; none is asked twice.
    asked: HashSet<String>,
    /// Nodes that have not answered, and since when they are waited for.
    awaited: Vec<(String, Instant)>,
    /// Whether addresses of the home were named, which is believed once.
    followed: bool,
}

impl Search {
    fn new(queue: Vec<Candidate>) -> Self {
        Self {
            queue: queue.into(),
            spoken: BTreeSet::new(),
            asked: HashSet::new(),
            awaited: Vec::new(),
            followed: false,
        }
    }

    /// Gives the node to ask next.
    fn next(&mut self, now: Instant) -> Option<Candidate> {
        while let Some(candidate) = self.queue.pop_front() {
            let spoken = candidate.cluster.as_ref().is_some_and(|cluster| self.spoken.contains(cluster));
            if !spoken && self.asked.insert(candidate.node.clone()) {
                self.awaited.push((candidate.node.clone(), now));
                return Some(candidate);
            }
        }
        None
    }

    /// Takes note of an answer; gives whether the search is over.
    fn hear(&mut self, candidate: &Candidate, said: Said) -> bool {
        self.awaited.retain(|(node, _)| *node != candidate.node);
        match said {
            Said::Here => return true,
            Said::NotNow => return false,
            Said::Elsewhere(_) | Said::Unknown => self.spoken.extend(candidate.cluster.clone()),
        }
        if let Said::Elsewhere(nodes) = said
            && !nodes.is_empty()
            && !self.followed
        {
            self.followed = true;
            self.name(nodes);
        }
        false
    }

    fn name(&mut self, nodes: Vec<String>) {
        for node in nodes.into_iter().rev() {
            self.queue.push_front(Candidate { cluster: None, node });
        }
    }

    /// Gives the nodes that have said nothing although others were asked after them.
    fn silent(&self, now: Instant) -> impl Iterator<Item = &str> {
        let silent = move |at: Instant| now.duration_since(at) >= HEDGE_AFTER;
        self.awaited.iter().filter(move |(_, at)| silent(*at)).map(|(node, _)| node.as_str())
    }
}

#[cfg(test)]
mod tests;
