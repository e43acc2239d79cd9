//! `flotilla status`: the clusters and their nodes, as a supernode knows them.

use flotilla_api::{files::ClusterStatus, queue::QueueCounts};

use crate::{
    cli::StatusArgs,
    connect::Session,
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// No supernode answers.
pub async fn run(args: StatusArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let clusters = session.client.clusters().await?.clusters;
    if session.report.is_json() {
        clusters.iter().try_for_each(output::json)?;
    } else {
        output::line(text(&clusters))?;
    }
    Ok(Exit::Ok)
}

fn text(clusters: &[ClusterStatus]) -> String {
    if clusters.is_empty() {
        return "no cluster has reported yet".to_owned();
    }
    let heading = ["CLUSTER", "NODE", "STATE", "DISK FREE", "CPU", "REQUESTS", "PUBLIC"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for cluster in clusters {
        if cluster.nodes.is_empty() {
            rows.push(vec![cluster.name.to_string(), "-".to_owned(), "not reported".to_owned()]);
        }
        for node in &cluster.nodes {
            let state = match (cluster.reachable, node.alive) {
                (false, _) => "unreachable",
                (true, false) => "silent",
                (true, true) if cluster.leader == Some(node.id) => "leader",
                (true, true) => "up",
            };
            rows.push(vec![
                cluster.name.to_string(),
                node.id.to_string(),
                state.to_owned(),
                output::size(node.stats.disk_free_bytes),
                format!("{:.0} %", node.stats.cpu_busy * 100.0),
                node.stats.requests.to_string(),
                node.public.clone(),
            ]);
        }
    }
    let nodes = output::table(&rows);
    match queues(clusters) {
        Some(queues) => format!("{nodes}\n\n{queues}"),
        None => nodes,
    }
}

/// What is under way and waits at the supernode that answers; none if it is a server that does not say so.
fn queues(clusters: &[ClusterStatus]) -> Option<String> {
    let heading = ["CLUSTER", "CREDITS", "IN FLIGHT", "STREAMS", "WAITING", "TAKEN", "GIVEN"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for cluster in clusters {
        let Some(QueueCounts { credits, in_flight, streams, waiting, taken, given }) = cluster.queue else { continue };
        let counts = [credits, in_flight, streams, waiting].map(|count| count.to_string());
        let moved = [taken, given].map(|count| count.to_string());
        rows.push([cluster.name.to_string()].into_iter().chain(counts).chain(moved).collect());
    }
    (rows.len() > 1).then(|| output::table(&rows))
}

#[cfg(test)]
mod tests {
    use flotilla_api::{NodeId, peer::NodeReport};

    use super::*;

    #[test]
    fn the_leader_and_silent_nodes_are_told_apart() {
        let node = |id, alive| NodeReport {
            id: NodeId(id),
            peer: String::new(),
            public: format!("http://n{id}"),
            zone: None,
            alive,
            stats: Default::default(),
        };
        let mut cluster = ClusterStatus {
            name: "a".parse().expect("a good name"),
            state: Default::default(),
            reachable: true,
            report_age_ms: Some(3),
            leader: Some(NodeId(1)),
            nodes: vec![node(1, true), node(2, true), node(3, false)],
            queue: None,
        };
        let states = |cluster: &ClusterStatus| {
            let text = text(std::slice::from_ref(cluster));
            text.lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(states(&cluster), ["leader", "up", "silent"]);
        cluster.reachable = false;
        assert_eq!(states(&cluster), ["unreachable"; 3]);
        assert!(!text(std::slice::from_ref(&cluster)).contains("CREDITS"), "an older server does not tell");
        cluster.queue = Some(QueueCounts { credits: 8, in_flight: 7, streams: 1, waiting: 12, taken: 3, given: 4 });
        let text = text(std::slice::from_ref(&cluster));
        let row: Vec<&str> = text.lines().last().expect("there are lines").split_whitespace().collect();
        assert_eq!(row, ["a", "8", "7", "1", "12", "3", "4"]);
    }
}
