//! What a supernode knows of its clusters from their reports: soft state, fresh for seconds.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flotilla_api::{
    ClusterName,
    directory::ClusterState,
    files::ClusterStatus,
    peer::{ClusterReport, NodeReport},
    queue::QueueCounts,
};
use flotilla_env::{Clock, Entropy};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use crate::{admission::limits::FRESH_FOR, asked::Target, directory::rows::CLUSTERS_MAX, route};

/// How long a cluster of another directory is remembered; it reports twice a second.
const FOREIGN_FOR: Duration = Duration::from_secs(10);

/// How long a request waits for the first report of a cluster.
const WAIT_FOR_REPORT: Duration = Duration::from_secs(3);

struct Known {
    report: ClusterReport,
    at: Instant,
}

/// The clusters as this supernode sees them. Cheap to clone.
#[derive(Clone)]
pub struct Clusters {
    known: Arc<Mutex<BTreeMap<ClusterName, Known>>>,
    heard: Arc<Notify>,
    /// Requests that were sent to nodes and are not answered, by the nodes' addresses; none of 0.
    sent: Arc<Mutex<HashMap<String, u32>>>,
    /// Clusters whose homes are of another directory, as they reported last; at most [`CLUSTERS_MAX`].
    foreign: Arc<Mutex<BTreeMap<ClusterName, Known>>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

fn is_older(known: &BTreeMap<ClusterName, Known>, report: &ClusterReport) -> bool {
    // A name can be another cluster's by now, whose terms begin anew.
    let same = |before: &&Known| before.report.uuid == report.uuid;
    known.get(&report.cluster).filter(same).is_some_and(|before| before.report.term > report.term)
}

/// A request that was sent to a node.
pub struct Sent {
    counts: Arc<Mutex<HashMap<String, u32>>>,
    peer: String,
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

impl Clusters {
    /// Makes an empty view.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let (known, heard, sent, foreign) = Default::default();
        Self { known, heard, sent, foreign, clock, entropy }
    }

    /// Whether a report is of an older term than the last of its cluster: of a leader that has yet to learn that it is none.
    #[must_use]
    pub fn is_older(&self, report: &ClusterReport) -> bool {
        is_older(&self.lock(), report)
    }

    /// Takes a report; one of an older term than the last is ignored.
    pub fn heard(&self, report: ClusterReport) {
        let mut known = self.lock();
        if is_older(&known, &report) {
            return;
        }
        let uuid = report.uuid;
        known.insert(report.cluster.clone(), Known { at: self.clock.now(), report });
        drop(known);
        self.settled(uuid);
        self.heard.notify_waiters();
    }

    /// Notes the report of a cluster whose homes are of another directory.
    pub fn heard_foreign(&self, report: ClusterReport) {
        let now = self.clock.now();
        let mut foreign = self.lock_foreign();
        foreign.retain(|_, known| now.duration_since(known.at) < FOREIGN_FOR);
        if foreign.len() < CLUSTERS_MAX || foreign.contains_key(&report.cluster) {
            foreign.insert(report.cluster.clone(), Known { at: now, report });
        }
    }

    /// What a cluster of this identity has is known here, or is never asked for: it is no stranger.
    pub fn settled(&self, uuid: Uuid) {
        self.lock_foreign().retain(|_, known| known.report.uuid != uuid);
    }

    /// Whether there is such a cluster: its keys are not known here, so that nothing can be called absent.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        let now = self.clock.now();
        self.lock_foreign().values().any(|known| now.duration_since(known.at) < FOREIGN_FOR)
    }

    /// Gives these clusters.
    #[must_use]
    pub fn strangers(&self) -> Vec<Target> {
        let now = self.clock.now();
        let foreign = self.lock_foreign();
        let fresh = foreign.values().filter(|known| now.duration_since(known.at) < FOREIGN_FOR);
        fresh.map(|known| target(&known.report)).collect()
    }

    /// Gives all clusters that were heard lately, whatever directory their homes are of.
    #[must_use]
    pub fn reporting(&self) -> Vec<Target> {
        let now = self.clock.now();
        let mut all = self.strangers();
        let known = self.lock();
        let fresh = known.values().filter(|known| now.duration_since(known.at) < FRESH_FOR);
        all.extend(fresh.map(|known| target(&known.report)));
        all.sort();
        all.dedup();
        all
    }

    /// Chooses a node of a cluster of this identity, registered or not.
    #[must_use]
    pub fn node_of(&self, target: &Target, avoid: &[String]) -> Option<String> {
        let choose = |known: &BTreeMap<ClusterName, Known>| {
            let known = known.get(&target.name).filter(|known| known.report.uuid == target.uuid)?;
            self.node_among(&known.report.nodes, avoid)
        };
        let known = choose(&self.lock());
        known.or_else(|| choose(&self.lock_foreign()))
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

    /// Whether a cluster reports: waits for a report if there is no fresh one, for a supernode that just started has heard nobody.
    pub async fn lives(&self, cluster: &ClusterName) -> bool {
        let reports = |clusters: &Self| {
            let now = clusters.clock.now();
            let fresh = |known: &Known| now.duration_since(known.at) < FRESH_FOR;
            clusters.lock().get(cluster).is_some_and(fresh).then_some(())
        };
        self.wait_for(reports).await.is_some()
    }

    /// The applied index that a cluster's leader last reported; ids made for that cluster carry it.
    #[must_use]
    pub fn applied(&self, cluster: &ClusterName) -> Option<u64> {
        self.lock().get(cluster).map(|known| known.report.applied)
    }

    /// Whether any cluster has reported since this supernode started.
    #[must_use]
    pub fn knows_any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Whether a cluster has reported since this supernode started.
    #[must_use]
    pub fn is_known(&self, cluster: &ClusterName) -> bool {
        self.lock().contains_key(cluster)
    }

    /// Chooses a node of a cluster to serve a request; none before the cluster's first report.
    #[must_use]
    pub fn gateway(&self, cluster: &ClusterName, avoid: &[String]) -> Option<String> {
        let known = self.lock();
        self.node_among(&known.get(cluster)?.report.nodes, avoid)
    }

    fn node_among(&self, nodes: &[NodeReport], avoid: &[String]) -> Option<String> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = |peer: &str| sent.get(peer).copied().unwrap_or(0);
        route::gateway(nodes, avoid, sent, || self.entropy.u64()).map(|node| node.peer.clone())
    }

    /// Counts a request as sent to a node and not answered, until the answer is dropped.
    #[must_use]
    pub fn send(&self, peer: &str) -> Sent {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        *sent.entry(peer.to_owned()).or_default() += 1;
        Sent { counts: Arc::clone(&self.sent), peer: peer.to_owned() }
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

    /// Gives what is known of the registered clusters, for people; `queue` tells what waits for one here.
    #[must_use]
    pub fn status(
        &self,
        registered: &[(ClusterName, ClusterState)],
        queue: impl Fn(&ClusterName) -> Option<QueueCounts>,
    ) -> Vec<ClusterStatus> {
        let now = self.clock.now();
        let known = self.lock();
        let status = |(name, state): &(ClusterName, ClusterState)| match known.get(name) {
            None => ClusterStatus {
                name: name.clone(),
                state: *state,
                reachable: false,
                report_age_ms: None,
                leader: None,
                nodes: Vec::new(),
                queue: queue(name),
            },
            Some(cluster) => {
                let age = now.duration_since(cluster.at);
                ClusterStatus {
                    name: name.clone(),
                    state: *state,
                    reachable: age < FRESH_FOR,
                    report_age_ms: Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                    leader: Some(cluster.report.leader),
                    nodes: cluster.report.nodes.clone(),
                    queue: queue(name),
                }
            }
        };
        registered.iter().map(status).collect()
    }

    /// Counts clusters by what is heard of them, under the names that metrics have for that: of those that `expected` names, and of
    /// those whose homes are of another directory.
    #[must_use]
    pub fn tally(&self, expected: &[ClusterName]) -> [(&'static str, usize); 3] {
        let foreign = self.strangers().len();
        let now = self.clock.now();
        let known = self.lock();
        let heard = expected.iter().filter_map(|name| known.get(name)).map(|known| known.at);
        let reachable = heard.filter(|at| now.duration_since(*at) < FRESH_FOR).count();
        [("reachable", reachable), ("silent", expected.len() - reachable), ("foreign", foreign)]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ClusterName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_foreign(&self) -> std::sync::MutexGuard<'_, BTreeMap<ClusterName, Known>> {
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(report: &ClusterReport) -> Target {
    Target { name: report.cluster.clone(), uuid: report.uuid }
}

#[cfg(test)]
mod tests;
