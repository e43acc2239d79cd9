//! Which cluster gets a new key, and which of its nodes gets a request. Pure.

use std::sync::Arc;

use flotilla_api::{ClusterName, peer::NodeReport};

/// The least share of its disks that a cluster keeps free; below it, it gets no new keys.
const FREE_SHARE_MIN: f64 = 0.05;
/// Scores closer than this are the same: statistics are half a second old, and the better one by a hair would get everything.
const MUCH_BETTER: f64 = 1.1;
/// Up to so many clusters all are compared. What this supernode has sent there itself is never stale, so they take turns; of more,
/// the better of two random ones is as good and costs less.
const COMPARED_MAX: usize = 4;

/// A cluster as routing sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its nodes, from its last fresh report.
    pub nodes: Arc<[NodeReport]>,
    /// Whether it gets no new keys for ever.
    pub retires: bool,
    /// Requests that this supernode has sent there and not yet seen answered.
    pub dispatched: u64,
    /// Requests that wait for it here.
    pub queued: u64,
}

/// So many requests that are sent to a node and not yet answered weigh like all of its processors.
const SENT_PER_LOAD: f64 = 16.0;

/// Chooses the cluster for a new key; none if no cluster can take one.
///
/// The best one wins, by free capacity, processor, memory and disk load, and queue, on fresh statistics; one of those that are
/// about as good, at random.
pub fn cluster(candidates: &[Candidate], mut random: impl FnMut() -> u64) -> Option<&Candidate> {
    let mut able: Vec<&Candidate> = candidates.iter().filter(|c| takes_new_keys(c)).collect();
    if able.len() > COMPARED_MAX {
        let (first, second) = two_of(able.len(), &mut random)?;
        able = vec![able[first], able[second]];
    }
    flotilla_env::failpoint!("route.most_loaded", |_| able
        .clone()
        .into_iter()
        .min_by(|a, b| score(a).total_cmp(&score(b))));
    let scores: Vec<f64> = able.iter().map(|candidate| score(candidate)).collect();
    let best = scores.iter().copied().fold(0.0, f64::max);
    let good: Vec<usize> = (0..able.len()).filter(|at| scores[*at] * MUCH_BETTER >= best).collect();
    let at = random().checked_rem(good.len() as u64)?;
    Some(able[good[at as usize]])
}

/// Chooses the node of a cluster that serves a request: the better of two random live ones. `sent` tells how many requests of this
/// supernode each has not answered yet: that is never stale, and a node that stands still gets no more after a few.
pub fn gateway<'a>(
    nodes: &'a [NodeReport],
    avoid: &[String],
    sent: impl Fn(&str) -> u32,
    mut random: impl FnMut() -> u64,
) -> Option<&'a NodeReport> {
    let fit = |n: &&NodeReport| n.alive && !avoid.contains(&n.peer);
    let mut able: Vec<&NodeReport> = nodes.iter().filter(fit).collect();
    if able.is_empty() {
        // The last report may be wrong about all of them; an answer from the node itself is better than none.
        able = nodes.iter().filter(|n| !avoid.contains(&n.peer)).collect();
    }
    let (first, second) = two_of(able.len(), &mut random)?;
    let (a, b) = (able[first], able[second]);
    let busy = |node: &NodeReport| load(node) + f64::from(sent(&node.peer)) / SENT_PER_LOAD;
    Some(if busy(b) < busy(a) { b } else { a })
}

/// Bodies in flight from which a node makes new ones wait: half of what a node holds.
const BUSY_BYTES: u64 = 48 << 20;

/// Chooses the nodes of a cluster that clients can be sent to, the best one first: live ones that serve, for a write those that
/// take chunks, before those that are busy. The first is the better of two random ones, so that not all clients go to one.
pub fn ready(nodes: &[NodeReport], write: bool, mut random: impl FnMut() -> u64) -> Vec<&NodeReport> {
    let fit = |n: &&NodeReport| n.alive && n.stats.serves && !n.public.is_empty() && (!write || n.stats.accepts_chunks);
    let (mut at_once, busy): (Vec<_>, Vec<_>) =
        nodes.iter().filter(fit).partition(|n| n.stats.inflight_bytes < BUSY_BYTES);
    if let Some((first, second)) = two_of(at_once.len(), &mut random) {
        let best = if load(at_once[second]) < load(at_once[first]) { second } else { first };
        at_once.swap(0, best);
    }
    at_once.into_iter().chain(busy).collect()
}

/// A cluster's score; higher is better.
#[must_use]
pub fn score(candidate: &Candidate) -> f64 {
    let alive: Vec<&NodeReport> = candidate.nodes.iter().filter(|n| n.alive).collect();
    let count = alive.len().max(1) as f64;
    let busy = alive.iter().map(|n| load(n)).sum::<f64>() / count;
    // What was reported is half a second old, and has what went there in other ways too.
    let reported: u64 = alive.iter().map(|n| u64::from(n.stats.requests)).sum();
    let waiting = (candidate.dispatched.max(reported) + candidate.queued) as f64 / count;
    free_share(&alive) * (1.0 - 0.5 * busy.min(1.0)) / (1.0 + waiting / 16.0)
}

fn takes_new_keys(candidate: &Candidate) -> bool {
    let alive: Vec<&NodeReport> = candidate.nodes.iter().filter(|n| n.alive).collect();
    !candidate.retires && alive.iter().any(|n| n.stats.accepts_chunks) && free_share(&alive) > FREE_SHARE_MIN
}

fn free_share(nodes: &[&NodeReport]) -> f64 {
    let free: u64 = nodes.iter().map(|n| n.stats.disk_free_bytes).sum();
    let total: u64 = nodes.iter().map(|n| n.stats.disk_total_bytes).sum();
    if total == 0 { 0.0 } else { free as f64 / total as f64 }
}

/// How loaded a node is, from 0 on; processors, memory, disk latency and requests count.
fn load(node: &NodeReport) -> f64 {
    let stats = &node.stats;
    let memory = match stats.memory_total_bytes {
        0 => 0.0,
        total => 1.0 - stats.memory_free_bytes as f64 / total as f64,
    };
    let sync = f64::from(stats.sync_us) / 20_000.0;
    0.5 * f64::from(stats.cpu_busy) + 0.1 * memory + 0.2 * sync.min(1.0) + f64::from(stats.requests) / 64.0
}

/// Two random numbers below `count`, different if possible.
fn two_of(count: usize, random: &mut impl FnMut() -> u64) -> Option<(usize, usize)> {
    let pick = |random: &mut dyn FnMut() -> u64, below: usize| (random() % below as u64) as usize;
    match count {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = pick(random, count);
            let second = pick(random, count - 1);
            Some((first, if second >= first { second + 1 } else { second }))
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::{NodeId, peer::NodeStats};

    use super::*;

    fn node(id: u64, cpu_busy: f32) -> NodeReport {
        let stats = NodeStats {
            cpu_busy,
            disk_free_bytes: 50,
            disk_total_bytes: 100,
            accepts_chunks: true,
            ..NodeStats::default()
        };
        NodeReport { id: NodeId(id), peer: format!("h:{id}"), public: String::new(), zone: None, alive: true, stats }
    }

    fn candidate(name: &str, cpu_busy: f32) -> Candidate {
        let nodes = [node(1, cpu_busy), node(2, cpu_busy)].into();
        Candidate { cluster: name.parse().expect("a good name"), nodes, retires: false, dispatched: 0, queued: 0 }
    }

    fn change(candidate: &mut Candidate, how: impl Fn(&mut NodeReport)) {
        let mut nodes = candidate.nodes.to_vec();
        nodes.iter_mut().for_each(how);
        candidate.nodes = nodes.into();
    }

    fn sequence() -> impl FnMut() -> u64 {
        let mut n = 0u64;
        move || {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            n >> 33
        }
    }

    fn share_of(candidates: &[Candidate], name: &str) -> usize {
        let mut random = sequence();
        let hit = |_: &u32| cluster(candidates, &mut random).is_some_and(|c| c.cluster.as_str() == name);
        (0..1000u32).filter(hit).count()
    }

    #[test]
    fn new_keys_go_to_the_less_loaded_cluster_never_to_the_most_loaded() {
        let clusters = [candidate("idle", 0.1), candidate("mid", 0.5), candidate("busy", 0.95)];
        assert_eq!(share_of(&clusters, "idle"), 1000);
    }

    #[test]
    fn of_many_clusters_the_worst_gets_nothing_and_the_best_not_all() {
        let mut clusters: Vec<_> = (0..9).map(|n| candidate(&format!("c{n}"), 0.5)).collect();
        clusters[0] = candidate("c0", 0.0);
        clusters.push(candidate("busy", 0.5));
        clusters[9].dispatched = 40;
        assert_eq!(share_of(&clusters, "busy"), 0);
        let best = share_of(&clusters, "c0");
        assert!((150..300).contains(&best), "{best}");
    }

    #[test]
    fn a_herd_that_comes_between_two_reports_is_spread_by_what_was_sent() {
        let mut clusters = [candidate("a", 0.1), candidate("b", 0.1), candidate("c", 0.1)];
        let mut random = sequence();
        for _ in 0..100 {
            let chosen = cluster(&clusters, &mut random).expect("all are able").cluster.clone();
            let at = clusters.iter().position(|c| c.cluster == chosen).expect("one of them");
            clusters[at].dispatched += 1;
        }
        let sent: Vec<u64> = clusters.iter().map(|c| c.dispatched).collect();
        assert!(sent.iter().all(|sent| (25..=42).contains(sent)), "{sent:?}");
    }

    #[test]
    fn free_capacity_and_queue_count() {
        let mut clusters = [candidate("a", 0.2), candidate("b", 0.2)];
        change(&mut clusters[0], |node| node.stats.disk_free_bytes = 20);
        assert_eq!(share_of(&clusters, "a"), 0);
        clusters[1].queued = 500;
        assert_eq!(share_of(&clusters, "b"), 0);
        clusters[1].queued = 0;
        change(&mut clusters[1], |node| node.stats.requests = 100);
        assert_eq!(share_of(&clusters, "b"), 0, "also what others have sent there");
    }

    #[test]
    fn full_or_dead_clusters_get_no_new_keys() {
        let mut clusters = [candidate("a", 0.2), candidate("b", 0.9)];
        change(&mut clusters[0], |node| node.stats.accepts_chunks = false);
        assert_eq!(share_of(&clusters, "a"), 0);
        change(&mut clusters[1], |node| node.alive = false);
        assert!(cluster(&clusters, sequence()).is_none());
    }

    #[test]
    fn a_cluster_that_retires_gets_no_new_keys_however_idle_it_is() {
        let mut clusters = [candidate("idle", 0.0), candidate("busy", 0.9)];
        clusters[0].retires = true;
        assert_eq!(share_of(&clusters, "busy"), 1000);
        clusters[1].retires = true;
        assert!(cluster(&clusters, sequence()).is_none());
    }

    #[test]
    fn clients_are_sent_to_nodes_that_serve_at_once() {
        let mut nodes: Vec<_> = (1..=5).map(|id| node(id, 0.1)).collect();
        for node in &mut nodes {
            node.public = format!("http://h:{}", node.id);
            node.stats.serves = true;
        }
        nodes[0].alive = false;
        nodes[1].stats.serves = false;
        nodes[2].stats.accepts_chunks = false;
        nodes[3].stats.inflight_bytes = BUSY_BYTES;
        let mut random = sequence();
        let mut ids =
            |nodes: &[NodeReport], write| ready(nodes, write, &mut random).iter().map(|n| n.id.0).collect::<Vec<_>>();
        for _ in 0..100 {
            assert_eq!(ids(&nodes, true), [5, 4]);
            let read = ids(&nodes, false);
            assert!(read == [3, 5, 4] || read == [5, 3, 4], "{read:?}");
        }
        nodes[4].stats.cpu_busy = 0.9;
        assert_eq!(ids(&nodes, false), [3, 5, 4], "the less loaded one of two");
        nodes.iter_mut().for_each(|node| node.public.clear());
        assert!(ids(&nodes, false).is_empty());
    }

    #[test]
    fn gateways_are_live_nodes_that_have_not_just_failed() {
        let mut nodes = vec![node(1, 0.1), node(2, 0.1), node(3, 0.1)];
        nodes[0].alive = false;
        let mut random = sequence();
        for _ in 0..100 {
            let chosen = gateway(&nodes, &["h:2".to_owned()], |_| 0, &mut random).expect("one is left");
            assert_eq!(chosen.id, NodeId(3));
        }
        nodes.iter_mut().for_each(|n| n.alive = false);
        assert!(
            gateway(&nodes, &[], |_| 0, random).is_some(),
            "a report that knows no live node does not make the cluster unreachable"
        );
    }

    #[test]
    fn a_node_that_does_not_answer_gets_no_more_after_a_few() {
        let nodes = vec![node(1, 0.1), node(2, 0.3), node(3, 0.3)];
        let mut random = sequence();
        let mut stuck = 0;
        for _ in 0..1000 {
            // The others answer at once; the first one looks best in its last report.
            let sent = |peer: &str| if peer == "h:1" { stuck } else { 0 };
            stuck += u32::from(gateway(&nodes, &[], sent, &mut random).expect("one of three").id == NodeId(1));
        }
        assert!((1..=4).contains(&stuck), "{stuck}");
    }
}
