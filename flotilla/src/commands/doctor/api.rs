//! The API as a client meets it: whether it answers, whether the token is taken, clocks, versions, clusters.

use std::time::{Duration, UNIX_EPOCH};

use flotilla_api::{
    Problem,
    files::{ClusterStatus, ClustersAnswer},
    route,
};
use flotilla_env::clock;

use super::finding::Finding;
use crate::{connect::Connection, exit::chain, output};

/// How long an answer is waited for: a server that is asked through a busy link, not one that hangs.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read; a cluster's status is some KiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Clocks that differ by more are not kept by anyone; peers refuse each other from 15 minutes on.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// A node with less free space is soon full.
const FREE_PERCENT_MIN: u64 = 10;

/// What one address said.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    date: Option<String>,
    body: Vec<u8>,
}

/// Asks every address, and looks closer at the first answer.
pub async fn examine(connection: &Connection) -> Vec<Finding> {
    let mut all = Vec::new();
    // Proxies of the environment are not asked by the other commands either.
    let client = match reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build() {
        Ok(client) => client,
        Err(e) => return vec![Finding::fail("api", chain(&e), "look at the limits of this process (ulimit -a)")],
    };
    let mut first = None;
    for address in &connection.api {
        match ask(&client, address, &connection.token).await {
            Ok(answer) => {
                all.push(Finding::ok("api", format!("{address} answers")));
                first = first.or(Some(answer));
            }
            Err(why) => {
                let fix = "start the server, or name another address with --api; `flotilla dev status` shows a \
                           deployment on this machine";
                all.push(Finding::fail("api", format!("{address} does not answer: {why}"), fix));
            }
        }
    }
    if let Some(answer) = first {
        all.extend(clock_of(&answer, clock::system().wall_ms()));
        all.extend(judged(&answer));
    }
    all
}

async fn ask(client: &reqwest::Client, address: &str, token: &str) -> Result<Answer, String> {
    let url = format!("{}{}", address.trim_end_matches('/'), route::CLUSTERS);
    let why = |e: reqwest::Error| chain(&e.without_url());
    let mut response = client.get(url).bearer_auth(token).send().await.map_err(why)?;
    let date = response.headers().get("date").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut answer = Answer { status: response.status().as_u16(), date, body: Vec::new() };
    while let Some(piece) = response.chunk().await.map_err(why)? {
        if answer.body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err("the answer has no end".to_owned());
        }
        answer.body.extend_from_slice(&piece);
    }
    Ok(answer)
}

fn clock_of(answer: &Answer, wall_ms: u64) -> Option<Finding> {
    let server = httpdate::parse_http_date(answer.date.as_deref()?).ok()?;
    let here = UNIX_EPOCH + Duration::from_millis(wall_ms);
    let skew = here.duration_since(server).unwrap_or_else(|ahead| ahead.duration());
    // An HTTP date has whole seconds.
    let text = format!("this machine and the server differ by about {} s", skew.as_secs());
    Some(if skew > SKEW_MAX {
        Finding::warn("clock", text, "let both follow NTP; servers that differ by 15 minutes refuse each other")
    } else {
        Finding::ok("clock", text)
    })
}

fn judged(answer: &Answer) -> Vec<Finding> {
    if answer.status == 200 {
        return match serde_json::from_slice::<ClustersAnswer>(&answer.body) {
            Ok(clusters) => of_clusters(&clusters),
            Err(e) => vec![foreign(format!("the list of clusters is not understood: {e}"))],
        };
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
        return vec![foreign(format!("status {} without a problem document", answer.status))];
    };
    let text = format!("{}: {}", problem.code, problem.detail);
    vec![match answer.status {
        401 | 403 => Finding::fail("token", text, "give the right token with --token-file or FLOTILLA_TOKEN"),
        _ => {
            let fix = problem.hint.clone().unwrap_or_else(|| "look at the servers' logs and /readyz".to_owned());
            Finding::fail("clusters", text, fix)
        }
    }]
}

fn foreign(what: String) -> Finding {
    Finding::fail("api", what, "look whether --api names a Flotilla server, of a version like this one")
}

fn of_clusters(answer: &ClustersAnswer) -> Vec<Finding> {
    let mut all = vec![Finding::ok("token", "taken"), of_version(answer.server.as_deref())];
    if answer.clusters.is_empty() {
        let fix = "start the nodes of a cluster, with this supernode in their setting 'supernodes'";
        all.push(Finding::fail("cluster", "no cluster has reported", fix));
    }
    all.extend(answer.clusters.iter().map(of_cluster));
    all
}

fn of_version(server: Option<&str>) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let text = format!("client {own}, server {}", server.unwrap_or("not told"));
    match server.map(|server| server.split(' ').next() == Some(own)) {
        Some(true) => Finding::ok("version", text),
        Some(false) | None => Finding::warn("version", text, "use a client of the server's version"),
    }
}

fn of_cluster(cluster: &ClusterStatus) -> Finding {
    let name = &cluster.name;
    if !cluster.reachable {
        let fix = "look at its nodes and their logs; a cluster needs more than half of its voting nodes";
        return Finding::fail("cluster", format!("{name} does not report"), fix);
    }
    let Some(leader) = cluster.leader else {
        let fix = "wait for an election; without one, start nodes until more than half of the voting ones run";
        return Finding::fail("cluster", format!("{name} has no leader"), fix);
    };
    let ids = |wanted: &dyn Fn(&flotilla_api::peer::NodeReport) -> bool| {
        let ids: Vec<_> = cluster.nodes.iter().filter(|node| wanted(node)).map(|node| node.id.to_string()).collect();
        (!ids.is_empty()).then(|| ids.join(", "))
    };
    let count = cluster.nodes.len();
    if let Some(ids) = ids(&|node| !node.alive) {
        let fix = "start them again with their own settings and data folders; `flotilla status` shows all nodes";
        return Finding::warn("cluster", format!("{name}: of {count} nodes these are silent: {ids}"), fix);
    }
    if let Some(ids) = ids(&|node| !node.stats.accepts_chunks) {
        let fix = "look at their /readyz: a disk is full or failed, or the node is being drained";
        return Finding::warn("cluster", format!("{name}: these nodes take no new chunks: {ids}"), fix);
    }
    let low = |free: u64, total: u64| free < total / 100 * FREE_PERCENT_MIN;
    if let Some(ids) = ids(&|node| low(node.stats.disk_free_bytes, node.stats.disk_total_bytes)) {
        let text = format!("{name}: less than {FREE_PERCENT_MIN} % of the disk is free on {ids}");
        return Finding::warn("cluster", text, "give them larger disks, add nodes, or delete files");
    }
    let free = cluster.nodes.iter().map(|node| node.stats.disk_free_bytes).min().unwrap_or(0);
    Finding::ok("cluster", format!("{name}: {count} nodes, leader {leader}, {} free at least", output::size(free)))
}

#[cfg(test)]
mod tests {
    use flotilla_api::{
        Code, NodeId,
        peer::{NodeReport, NodeStats},
    };

    use super::{
        super::finding::State::{self, Fail, Ok as Good, Warn},
        *,
    };

    fn cluster() -> ClusterStatus {
        let stats = NodeStats {
            disk_free_bytes: 50 << 30,
            disk_total_bytes: 100 << 30,
            accepts_chunks: true,
            ..Default::default()
        };
        let node = |id| NodeReport {
            id: NodeId(id),
            peer: String::new(),
            public: String::new(),
            zone: None,
            alive: true,
            stats: stats.clone(),
        };
        ClusterStatus {
            name: "a".parse().expect("a good name"),
            state: Default::default(),
            reachable: true,
            report_age_ms: Some(1),
            leader: Some(NodeId(1)),
            nodes: vec![node(1), node(2), node(3)],
            queue: None,
        }
    }

    fn changed(change: impl Fn(&mut ClusterStatus)) -> State {
        let mut cluster = cluster();
        change(&mut cluster);
        of_cluster(&cluster).state
    }

    #[test]
    fn what_is_wrong_with_a_cluster_is_found() {
        assert_eq!(changed(|_| {}), Good);
        assert_eq!(changed(|cluster| cluster.reachable = false), Fail);
        assert_eq!(changed(|cluster| cluster.leader = None), Fail);
        assert_eq!(changed(|cluster| cluster.nodes[1].alive = false), Warn);
        assert_eq!(changed(|cluster| cluster.nodes[1].stats.accepts_chunks = false), Warn);
        assert_eq!(changed(|cluster| cluster.nodes[2].stats.disk_free_bytes = 1 << 30), Warn);
    }

    fn states(status: u16, body: Vec<u8>) -> Vec<(&'static str, State)> {
        judged(&Answer { status, date: None, body }).iter().map(|finding| (finding.check, finding.state)).collect()
    }

    #[test]
    fn answers_are_told_apart() {
        let own = Some(format!("{} (abc)", env!("CARGO_PKG_VERSION")));
        let body = |clusters, server| {
            serde_json::to_vec(&ClustersAnswer { clusters, server, supernodes: Vec::new() }).expect("plain data")
        };
        let good = [("token", Good), ("version", Good), ("cluster", Good)];
        assert_eq!(states(200, body(vec![cluster()], own.clone())), good);
        assert_eq!(states(200, body(vec![], own))[2], ("cluster", Fail));
        assert_eq!(states(200, body(vec![], Some("9.9.9 (x)".to_owned())))[1], ("version", Warn));
        let problem = |code| serde_json::to_vec(&Problem::new(code, "why")).expect("plain data");
        assert_eq!(states(401, problem(Code::Unauthenticated)), [("token", Fail)]);
        assert_eq!(states(503, problem(Code::NoLeader)), [("clusters", Fail)]);
        assert_eq!(states(200, b"<html>".to_vec()), [("api", Fail)]);
        assert_eq!(states(404, b"<html>".to_vec()), [("api", Fail)]);
    }

    #[test]
    fn clocks_are_compared() {
        let state = |date: &str| {
            let answer = Answer { date: Some(date.to_owned()), ..Answer::default() };
            clock_of(&answer, 1_000_000_000_000).map(|finding| finding.state)
        };
        assert_eq!(state("Sun, 09 Sep 2001 01:46:40 GMT"), Some(Good));
        assert_eq!(state("Sun, 09 Sep 2001 01:48:00 GMT"), Some(Warn));
        assert_eq!(state("Sun, 09 Sep 2001 01:45:00 GMT"), Some(Warn));
        assert_eq!(state("yesterday"), None);
    }
}
