//! What is known of the clusters' own nodes: their addresses, how old those are, who failed lately, and so whom to ask first.
//!
//! Sends nothing; `learn` asks for addresses, and `ask` asks nodes for files.

mod ask;
mod learn;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_api::{ClusterName, files::ClustersAnswer};
use http::uri::Authority;
use tokio::time::Instant;

pub(super) use self::ask::Asked;
use super::client::parse;

/// For how long an address that was learned is used: the token goes there, and an address that its owner gave up is rarely somebody
/// else's within a day.
pub const NODES_GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How old the addresses may get before they are asked for again, after a request that had an answer.
const LEARN_EVERY: Duration = Duration::from_secs(30);
/// Nodes of one cluster that are remembered and asked: more than one, since the first may be away with the supernodes.
const NODES_PER_CLUSTER: usize = 3;
/// Clusters of a fleet.
const CLUSTERS_MAX: usize = 64;
/// For how long a node that failed, or did not answer, is asked after all others: about as long as a restart takes.
const SHUNNED_FOR: Duration = Duration::from_secs(30);
/// Nodes whose failure is remembered: all that are known, and some that were told of.
const SHUNNED_MAX: usize = 256;
/// For how long the API counts as away after one of its addresses failed: longer than a caller waits before it sends a stream again.
const AWAY_FOR: Duration = Duration::from_secs(10);

/// Is told of all addresses that are good, whenever some are learned.
type OnNodes = dyn Fn(&[ClusterNodes]) + Send + Sync;

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

/// Addresses of the nodes of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNodes {
    /// The cluster.
    pub cluster: ClusterName,
    /// Public addresses of its nodes as URLs, the best one first.
    pub nodes: Vec<String>,
    /// How long ago a supernode told them; those of [`NODES_GOOD_FOR`] and more are not used.
    pub age: Duration,
}

/// What is known of the clusters' nodes.
pub(super) struct Nodes {
    state: Mutex<State>,
    learn: Learn,
    /// Whether all addresses of the API are this machine's own.
    own_machine: bool,
}

#[derive(Debug, Default)]
struct State {
    /// At most [`CLUSTERS_MAX`].
    known: BTreeMap<ClusterName, Cluster>,
    asked: Option<Instant>,
    /// When each node failed last, if it has not answered since; at most [`SHUNNED_MAX`].
    failed: HashMap<String, Instant>,
    /// When an address of the API failed last, if none has answered since.
    api_failed: Option<Instant>,
}

/// The nodes of one cluster as `HOST:PORT`, and until when they may be asked.
#[derive(Debug)]
struct Cluster {
    nodes: Vec<String>,
    until: Instant,
}

/// A node to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    /// Its cluster; none if it was named as the home of a key, so that what its cluster said before does not count.
    cluster: Option<ClusterName>,
    node: String,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Nodes").field(&*self.lock()).finish()
    }
}

impl Nodes {
    /// Begins with what was learned before; what is no address, or too old, is left out. `own_machine` tells whether all addresses
    /// of the API are this machine's own.
    pub(super) fn new(known: &[ClusterNodes], learn: Learn, own_machine: bool, now: Instant) -> Self {
        let nodes = Self { state: Mutex::default(), learn, own_machine };
        let mut state = nodes.lock();
        for ClusterNodes { cluster, nodes: urls, age } in known {
            let urls = nodes.usable(urls.iter().map(String::as_str));
            state.remember(cluster, urls, now + NODES_GOOD_FOR.saturating_sub(*age), now);
        }
        drop(state);
        nodes
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

    /// Takes note of what a supernode that took the token told. A cluster that it has no nodes of, or does not name, keeps those that
    /// were known: it may have had no report yet.
    fn learn(&self, answer: ClustersAnswer, now: Instant) {
        let mut state = self.lock();
        let mut learned = false;
        for cluster in answer.clusters {
            let (alive, rest): (Vec<_>, Vec<_>) = cluster.nodes.iter().partition(|node| node.alive);
            let nodes = self.usable(alive.into_iter().chain(rest).map(|node| node.public.as_str()));
            learned |= state.remember(&cluster.name, nodes, now + NODES_GOOD_FOR, now);
        }
        let good = state.good(now);
        drop(state);
        if let (true, Learn::Told(tell)) = (learned, &self.learn) {
            tell(&good);
        }
    }

    /// Gives the nodes to ask: those that were named for this key, then one of each cluster before the second ones, then those that
    /// failed lately, the one whose failure is longest ago first.
    fn to_ask(&self, named: &[String], now: Instant) -> Vec<Candidate> {
        let named = self.usable(named.iter().map(String::as_str));
        self.lock().to_ask(named, now)
    }

    /// Gives `HOST:PORT` of addresses that the token may go to, as many as are remembered of one cluster.
    ///
    /// A server elsewhere that names an address of this machine has none that others can use, and who listens there on this machine
    /// must not get the token; a server of this machine has its fleet here.
    fn usable<'u>(&self, urls: impl Iterator<Item = &'u str>) -> Vec<String> {
        let fits = |address: &Authority| is_own_machine(address.host()) == Some(self.own_machine);
        urls.filter_map(|url| parse(url).ok())
            .filter(fits)
            .map(|address| address.to_string())
            .take(NODES_PER_CLUSTER)
            .collect()
    }

    /// Takes note that a node failed, or did not answer in time: others are asked before it for a while.
    fn failed(&self, node: &str, now: Instant) {
        let mut state = self.lock();
        state.failed.retain(|_, at| now.duration_since(*at) < SHUNNED_FOR);
        if state.failed.len() < SHUNNED_MAX {
            state.failed.insert(node.to_owned(), now);
        }
    }

    /// Takes note that a node answered.
    fn answered(&self, node: &str) {
        self.lock().failed.remove(node);
    }

    /// Takes note that an address of the API failed.
    pub(super) fn api_failed(&self, now: Instant) {
        self.lock().api_failed = Some(now);
    }

    /// Takes note that an address of the API answered.
    pub(super) fn api_answered(&self) {
        self.lock().api_failed = None;
    }

    /// Whether the API failed lately.
    pub(super) fn is_api_away(&self, now: Instant) -> bool {
        self.lock().api_failed.is_some_and(|at| now.duration_since(at) < AWAY_FOR)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts a cluster's addresses in place of those before, if there are any and there is room; gives whether it did.
    fn remember(&mut self, cluster: &ClusterName, nodes: Vec<String>, until: Instant, now: Instant) -> bool {
        self.known.retain(|_, cluster| cluster.until > now);
        let fits = self.known.len() < CLUSTERS_MAX || self.known.contains_key(cluster);
        if nodes.is_empty() || until <= now || !fits {
            return false;
        }
        self.known.insert(cluster.clone(), Cluster { nodes, until });
        true
    }

    /// Gives all addresses that may be used.
    fn good(&self, now: Instant) -> Vec<ClusterNodes> {
        let of = |(name, cluster): (&ClusterName, &Cluster)| {
            let nodes = cluster.nodes.iter().map(|node| format!("http://{node}")).collect();
            let age = NODES_GOOD_FOR.saturating_sub(cluster.until.duration_since(now));
            ClusterNodes { cluster: name.clone(), nodes, age }
        };
        self.known.iter().filter(|(_, cluster)| cluster.until > now).map(of).collect()
    }

    fn to_ask(&self, named: Vec<String>, now: Instant) -> Vec<Candidate> {
        let (mut ranked, mut shunned) = (Vec::new(), Vec::new());
        let mut put = |rank: usize, candidate: Candidate| match self.shunned_since(&candidate.node, now) {
            Some(at) => {
                shunned.push((at, candidate));
                rank
            }
            None => {
                ranked.push((rank, candidate));
                rank + 1
            }
        };
        for node in named {
            put(0, Candidate { cluster: None, node });
        }
        for (name, cluster) in self.known.iter().filter(|(_, cluster)| cluster.until > now) {
            let mut rank = 1;
            for node in &cluster.nodes {
                rank = put(rank, Candidate { cluster: Some(name.clone()), node: node.clone() });
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        shunned.sort_by_key(|(at, _)| *at);
        ranked.into_iter().map(|(_, candidate)| candidate).chain(shunned.into_iter().map(|(_, c)| c)).collect()
    }

    fn shunned_since(&self, node: &str, now: Instant) -> Option<Instant> {
        self.failed.get(node).copied().filter(|at| now.duration_since(*at) < SHUNNED_FOR)
    }
}

/// Whether a host is the machine that asks; nothing for an address that is no host's.
pub(super) fn is_own_machine(host: &str) -> Option<bool> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(true);
    }
    match host.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) if ip.is_unspecified() => None,
        Ok(ip) => Some(ip.is_loopback()),
        // A name: what it stands for is looked up when it is used.
        Err(_) => Some(false),
    }
}
