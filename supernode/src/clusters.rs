//! What a supernode knows of its clusters from their reports: soft state, fresh for seconds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_api::{
    ClusterName,
    files::ClusterStatus,
    peer::{ClusterReport, NodeReport},
};
use flotilla_env::{Clock, Entropy};
use tokio::{sync::Notify, time::Instant};

use crate::route::{self, Candidate};

/// A report older than this says nothing about load; a cluster without a newer one gets no new keys.
const FRESH_FOR: Duration = Duration::from_millis(2500);

/// How long a cluster of another directory is remembered; it reports twice a second.
const FOREIGN_FOR: Duration = Duration::from_secs(10);

/// How long a request waits for the first report of a cluster.
const WAIT_FOR_REPORT: Duration = Duration::from_secs(3);

struct Known {
    report: ClusterReport,
    at: Instant,
    dispatched: Arc<AtomicU64>,
}

impl Known {
    fn count_one(&self) -> Dispatched {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        Dispatched(Arc::clone(&self.dispatched))
    }
}

/// The clusters as this supernode sees them. Cheap to clone.
#[derive(Clone)]
pub struct Clusters {
    known: Arc<Mutex<BTreeMap<ClusterName, Known>>>,
    heard: Arc<Notify>,
    /// When a cluster reported last whose homes are of another directory.
    foreign: Arc<Mutex<Option<Instant>>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A request on its way to a cluster; counted until it is dropped.
pub struct Dispatched(Arc<AtomicU64>);

impl Drop for Dispatched {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clusters {
    /// Makes an empty view.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { known: Arc::default(), heard: Arc::default(), foreign: Arc::default(), clock, entropy }
    }

    /// Takes a report; one of an older term than the last is ignored.
    pub fn heard(&self, report: ClusterReport) {
        let mut known = self.lock();
        let dispatched = match known.get(&report.cluster) {
            Some(before) if before.report.term > report.term => return,
            Some(before) => Arc::clone(&before.dispatched),
            None => Arc::default(),
        };
        known.insert(report.cluster.clone(), Known { at: self.clock.now(), report, dispatched });
        drop(known);
        self.heard.notify_waiters();
    }

    /// Notes the report of a cluster whose homes are of another directory.
    pub fn heard_foreign(&self) {
        *self.foreign.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
    }

    /// Whether there is such a cluster: its keys are not known here, so that nothing can be called absent.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        let heard = *self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|at| self.clock.now().duration_since(at) < FOREIGN_FOR)
    }

    /// Gives what `find` finds, after waiting for reports if it finds nothing: a supernode that just started hears from every
    /// cluster within a second.
    pub async fn wait_for<T>(&self, find: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let give_up = self.clock.now() + WAIT_FOR_REPORT;
        loop {
            let heard = self.heard.notified();
            if let Some(found) = find(self) {
                return Some(found);
            }
            tokio::time::timeout_at(give_up, heard).await.ok()?;
        }
    }

    /// The applied index that a cluster's leader last reported; ids made for that cluster carry it.
    #[must_use]
    pub fn applied(&self, cluster: &ClusterName) -> Option<u64> {
        self.lock().get(cluster).map(|known| known.report.applied)
    }

    /// Chooses the cluster for a new key, and counts a request towards it until the second value is dropped; none if no cluster with
    /// a fresh report can take one.
    #[must_use]
    pub fn for_new_key(&self) -> Option<(ClusterName, Dispatched)> {
        let now = self.clock.now();
        let known = self.lock();
        let candidates: Vec<Candidate> = known
            .values()
            .filter(|known| now.duration_since(known.at) < FRESH_FOR)
            .map(|known| Candidate {
                cluster: known.report.cluster.clone(),
                nodes: known.report.nodes.clone(),
                dispatched: known.dispatched.load(Ordering::Relaxed),
                queued: 0,
            })
            .collect();
        let chosen = route::cluster(&candidates, || self.entropy.u64())?.cluster.clone();
        let counted = known.get(&chosen)?.count_one();
        Some((chosen, counted))
    }

    /// Chooses a node of a cluster to serve a request; none before the cluster's first report.
    #[must_use]
    pub fn gateway(&self, cluster: &ClusterName, avoid: &[String]) -> Option<String> {
        let known = self.lock();
        let nodes: &[NodeReport] = &known.get(cluster)?.report.nodes;
        route::gateway(nodes, avoid, || self.entropy.u64()).map(|node| node.peer.clone())
    }

    /// Gives the public addresses of nodes that clients of a cluster can be sent to, the best one first; none without a fresh
    /// report.
    #[must_use]
    pub fn addresses(&self, cluster: &ClusterName, write: bool) -> Vec<String> {
        let now = self.clock.now();
        let known = self.lock();
        let Some(known) = known.get(cluster).filter(|known| now.duration_since(known.at) < FRESH_FOR) else {
            return Vec::new();
        };
        let ready = route::ready(&known.report.nodes, write, || self.entropy.u64());
        ready.into_iter().map(|node| node.public.clone()).collect()
    }

    /// Counts a request towards a cluster until the answer is dropped.
    #[must_use]
    pub fn dispatch(&self, cluster: &ClusterName) -> Option<Dispatched> {
        Some(self.lock().get(cluster)?.count_one())
    }

    /// Gives what is known of the registered clusters, for people.
    #[must_use]
    pub fn status(&self, registered: &[ClusterName]) -> Vec<ClusterStatus> {
        let now = self.clock.now();
        let known = self.lock();
        let status = |name: &ClusterName| match known.get(name) {
            None => ClusterStatus {
                name: name.clone(),
                reachable: false,
                report_age_ms: None,
                leader: None,
                nodes: Vec::new(),
            },
            Some(cluster) => {
                let age = now.duration_since(cluster.at);
                ClusterStatus {
                    name: name.clone(),
                    reachable: age < FRESH_FOR,
                    report_age_ms: Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                    leader: Some(cluster.report.leader),
                    nodes: cluster.report.nodes.clone(),
                }
            }
        };
        registered.iter().map(status).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ClusterName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
