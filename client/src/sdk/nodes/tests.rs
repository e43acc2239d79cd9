//! What is kept of addresses and failures, and the order that comes of it.

use flotilla_api::{
    NodeId,
    files::ClusterStatus,
    peer::{NodeReport, NodeStats},
};

use super::*;

fn cluster(name: &str, nodes: &[&str], age: Duration) -> ClusterNodes {
    let nodes = nodes.iter().map(|node| format!("http://{node}")).collect();
    ClusterNodes { cluster: name.parse().expect("a good name"), nodes, age }
}

fn fresh(name: &str, nodes: &[&str]) -> ClusterNodes {
    cluster(name, nodes, Duration::ZERO)
}

fn nodes(known: &[ClusterNodes]) -> Nodes {
    Nodes::new(known, Learn::Never, false, Instant::now())
}

fn order(nodes: &Nodes) -> Vec<String> {
    nodes.to_ask(&[], Instant::now()).into_iter().map(|candidate| candidate.node).collect()
}

fn answer(clusters: &[(&str, &[&str])]) -> ClustersAnswer {
    let report = |public: &&str| NodeReport {
        id: NodeId(1),
        peer: String::new(),
        public: format!("http://{public}"),
        zone: None,
        alive: !public.starts_with("dead"),
        stats: NodeStats::default(),
    };
    let status = |(name, nodes): &(&str, &[&str])| ClusterStatus {
        name: name.parse().expect("a good name"),
        state: Default::default(),
        reachable: true,
        report_age_ms: Some(1),
        leader: None,
        queue: None,
        nodes: nodes.iter().map(report).collect(),
    };
    ClustersAnswer { clusters: clusters.iter().map(status).collect(), server: None, supernodes: Vec::new() }
}

#[test]
fn every_cluster_is_asked_before_a_second_node() {
    let known = [
        fresh("a", &["a1:1", "a2:1", "a3:1", "a4:1"]),
        fresh("b", &["b1:1"]),
        fresh("c", &["no url", "user@c1:1", "c2:1"]),
    ];
    assert_eq!(order(&nodes(&known)), ["a1:1", "b1:1", "c2:1", "a2:1", "a3:1"]);
}

#[tokio::test(start_paused = true)]
async fn who_failed_lately_is_asked_last_for_a_while() {
    let nodes = nodes(&[fresh("a", &["a1:1", "a2:1"]), fresh("b", &["b1:1", "b2:1"])]);
    nodes.failed("a1:1", Instant::now());
    tokio::time::advance(SHUNNED_FOR / 2).await;
    nodes.failed("b2:1", Instant::now());
    assert_eq!(order(&nodes), ["a2:1", "b1:1", "a1:1", "b2:1"], "a2 is the first of its cluster now");
    let named = nodes.to_ask(&["http://b2:1".to_owned(), "http://n:1".to_owned()], Instant::now());
    let named: Vec<_> = named.into_iter().map(|candidate| candidate.node).collect();
    assert_eq!(
        named,
        ["n:1", "a2:1", "b1:1", "a1:1", "b2:1", "b2:1"],
        "what was named comes first, if it did not fail"
    );
    nodes.answered("b2:1");
    tokio::time::advance(SHUNNED_FOR / 2).await;
    assert_eq!(order(&nodes), ["a1:1", "b1:1", "a2:1", "b2:1"]);
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_remembered_are_bounded() {
    let nodes = nodes(&[]);
    for number in 0..2 * SHUNNED_MAX {
        nodes.failed(&format!("n{number}:1"), Instant::now());
    }
    assert_eq!(nodes.lock().failed.len(), SHUNNED_MAX);
    tokio::time::advance(SHUNNED_FOR).await;
    nodes.failed("n:1", Instant::now());
    assert_eq!(nodes.lock().failed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_asked_for_once_in_a_while() {
    let nodes = Nodes::new(&[], Learn::Beside, false, Instant::now());
    assert!(nodes.is_due(Instant::now()));
    assert!(!nodes.is_due(Instant::now()));
    tokio::time::advance(LEARN_EVERY).await;
    assert!(nodes.is_due(Instant::now()));
    nodes.learn(answer(&[]), Instant::now());
    assert!(order(&nodes).is_empty());
    assert!(!Nodes::new(&[], Learn::Never, false, Instant::now()).is_due(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_lacks_a_cluster_or_its_nodes_takes_nothing_away() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let learn = Learn::Told(Arc::new(move |all: &[ClusterNodes]| {
        tell.lock().expect("no panic").push(all.to_vec());
    }));
    let known = [fresh("a", &["a1:1"]), fresh("b", &["b1:1"]), fresh("c", &["c1:1"])];
    let nodes = Nodes::new(&known, learn, false, Instant::now());
    tokio::time::advance(Duration::from_secs(60)).await;
    nodes.learn(answer(&[("a", &["dead:1", "a9:1"]), ("b", &[])]), Instant::now());
    let old = Duration::from_secs(60);
    let all = vec![fresh("a", &["a9:1", "dead:1"]), cluster("b", &["b1:1"], old), cluster("c", &["c1:1"], old)];
    assert_eq!(*told.lock().expect("no panic"), [all]);
    nodes.learn(answer(&[("b", &[])]), Instant::now());
    assert_eq!(told.lock().expect("no panic").len(), 1, "nothing was learned");
    tokio::time::advance(NODES_GOOD_FOR - old).await;
    assert_eq!(order(&nodes), ["a9:1", "dead:1"], "what was not told again for a day is not used");
}

#[test]
fn addresses_that_are_too_old_are_left_out() {
    let known = [cluster("a", &["a1:1"], NODES_GOOD_FOR), cluster("b", &["b1:1"], NODES_GOOD_FOR - LEARN_EVERY)];
    assert_eq!(order(&nodes(&known)), ["b1:1"]);
}

#[test]
fn addresses_of_this_machine_are_for_servers_of_this_machine() {
    let known = [fresh("a", &["127.0.0.1:1", "10.0.0.1:1", "0.0.0.0:1"]), fresh("b", &["localhost:1", "[::1]:1"])];
    assert_eq!(order(&nodes(&known)), ["10.0.0.1:1"]);
    let own = Nodes::new(&known, Learn::Never, true, Instant::now());
    assert_eq!(order(&own), ["127.0.0.1:1", "localhost:1", "[::1]:1"]);
    assert_eq!(is_own_machine("[::ffff:127.0.0.1]"), Some(true));
}

#[test]
fn clusters_that_are_remembered_are_bounded() {
    let known: Vec<_> = (0..2 * CLUSTERS_MAX).map(|n| fresh(&format!("c{n}"), &["n:1"])).collect();
    assert_eq!(nodes(&known).lock().known.len(), CLUSTERS_MAX);
}

#[tokio::test(start_paused = true)]
async fn the_api_is_away_for_a_while_after_a_failure() {
    let nodes = nodes(&[]);
    assert!(!nodes.is_api_away(Instant::now()));
    nodes.api_failed(Instant::now());
    assert!(nodes.is_api_away(Instant::now()));
    nodes.api_answered();
    assert!(!nodes.is_api_away(Instant::now()));
    nodes.api_failed(Instant::now());
    tokio::time::advance(AWAY_FOR).await;
    assert!(!nodes.is_api_away(Instant::now()));
}
