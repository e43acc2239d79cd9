//! `flotilla node list|drain|remove|stop`: the members of clusters, and what an operator does with them.

use std::time::Duration;

use flotilla_api::{
    ClusterName, NodeId,
    admin::{Node, Role, Standing},
};
use tokio::time::Instant;

use crate::{
    cli::{DrainArgs, NodeCommand, NodeListArgs, RemoveArgs, StopArgs},
    connect::Session,
    exit::{Exit, Failure, chain},
    output::{self, OfCluster, Report},
    runtime,
    settings::{self, Sources},
};

/// How long an empty node may be needed as a voter until its drain is given up.
const NEEDED_MAX: Duration = Duration::from_secs(15);
/// How often a drain is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs one of the commands that are for a client.
pub fn run(command: &NodeCommand) -> u8 {
    runtime::run("node", runtime::CLIENT, async {
        let (json, result) = match command {
            NodeCommand::List(args) => (args.client.json, Box::pin(list(args)).await),
            NodeCommand::Drain(args) => (args.client.json, Box::pin(drain(args)).await),
            NodeCommand::Stop(args) => (args.client.json, Box::pin(stop(args)).await),
            NodeCommand::Remove(args) => (args.client.json, Box::pin(remove(args)).await),
            NodeCommand::AcceptDisk { .. } | NodeCommand::Join(_) => (false, Ok(Exit::Usage)),
        };
        result.map_or_else(
            |failure| {
                Report::new(json).failure(&failure);
                failure.exit().code()
            },
            Exit::code,
        )
    })
}

async fn list(args: &NodeListArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let heading = ["CLUSTER", "ID", "NAME", "ROLE", "STATE", "COPIES", "DISK FREE", "PEER"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for cluster in session.clusters(args.cluster.clone()).await? {
        for node in session.client.nodes(&cluster).await?.items {
            match session.report.is_json() {
                true => output::json(&OfCluster { cluster: &cluster, of: &node })?,
                false => rows.push(row(&cluster, &node)),
            }
        }
    }
    if !session.report.is_json() {
        output::line(output::table(&rows))?;
    }
    Ok(Exit::Ok)
}

fn row(cluster: &ClusterName, node: &Node) -> Vec<String> {
    let role = match node.role {
        Role::Leader => "leader",
        Role::Voter => "voter",
        Role::Learner => "learner",
    };
    let state = match (node.standing, node.drain) {
        _ if node.leaves => "leaves".to_owned(),
        (Standing::Silent, None) => "silent".to_owned(),
        (Standing::Silent, Some(drain)) => format!("silent, drains: {} chunks left", drain.named),
        (Standing::Up, None) => "up".to_owned(),
        (Standing::Up, Some(drain)) if drain.safe_to_stop => "safe to stop".to_owned(),
        (Standing::Up, Some(drain)) if drain.empty => "empty, needed as a voter".to_owned(),
        (Standing::Up, Some(drain)) => format!("drains: {} chunks left", drain.named),
    };
    vec![
        cluster.to_string(),
        node.id.to_string(),
        node.name.clone(),
        role.to_owned(),
        state,
        node.copies.to_string(),
        output::size(node.disk_free_bytes),
        node.peer.clone(),
    ]
}

/// Tells a node to drain, and waits until it is safe to stop.
async fn drain(args: &DrainArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let cluster = one(&session, args.cluster.clone()).await?;
    session.client.drain(&cluster, args.node, !args.undo).await?;
    if args.undo || args.no_wait {
        let node = find(&session, &cluster, args.node).await?;
        return tell(&session, &cluster, &node, if args.undo { "takes data again" } else { "drains" });
    }
    let (mut told, mut needed_since) = (None, None);
    loop {
        let node = find(&session, &cluster, args.node).await?;
        match node.drain {
            None => return Err(Failure::new(Exit::Precondition, "somebody took the drain back").about(args.node)),
            Some(drain) if drain.safe_to_stop => return tell(&session, &cluster, &node, "safe to stop"),
            // A voter that was silent for a moment is no reason to give up.
            Some(drain) if drain.empty && needed_since.get_or_insert_with(Instant::now).elapsed() < NEEDED_MAX => {}
            Some(drain) if drain.empty => {
                let why = "the node is empty, and needed as a voter while others drain or are silent";
                return Err(Failure::new(Exit::Precondition, why).about(args.node));
            }
            Some(drain) if told != Some((drain.named, node.copies)) => {
                told = Some((drain.named, node.copies));
                let (named, copies) = (drain.named, node.copies);
                output::note(format_args!("{named} chunks name the node, {copies} copies lie on its disk"));
            }
            Some(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn stop(args: &StopArgs) -> Result<Exit, Failure> {
    let Some(id) = args.node else { return stop_here(args).await };
    let session = Session::open(&args.client)?;
    let cluster = one(&session, args.cluster.clone()).await?;
    let node = find(&session, &cluster, id).await?;
    session.client.stop(&cluster, id).await?;
    tell(&session, &cluster, &node, "stops")
}

/// Has the node stop that was started with this environment, and with the settings file that is named.
async fn stop_here(args: &StopArgs) -> Result<Exit, Failure> {
    let file = args.client.connection.config.as_deref();
    let sources = super::server::sources(file, &[], Vec::new()).map_err(|e| not_described(&e))?;
    let settings = here(&sources)?;
    flotilla_cluster_node::stop_here(&settings).await.map_err(|e| {
        let exit = if e.is_of_settings() { Exit::Config } else { Exit::Unavailable };
        Failure::new(exit, chain(&e)).about(&settings.name)
    })?;
    match args.client.json {
        true => output::json(&serde_json::json!({"stops": settings.name}))?,
        false => output::line(format_args!("{} of cluster {}: stops", settings.name, settings.cluster))?,
    }
    Ok(Exit::Ok)
}

/// Gives the settings of the node that runs here.
fn here(sources: &Sources) -> Result<flotilla_cluster_node::Settings, Failure> {
    settings::load(sources).map_err(|e| not_described(&e))
}

fn not_described(error: &settings::Error) -> Failure {
    let settings::Error::Missing { key } = error else { return Failure::new(Exit::Config, chain(error)) };
    // A server is told to give --set, which this command has not.
    let variable = settings::variable(key);
    let detail = format!(
        "setting '{key}' of the node that runs here is missing: name its settings file with --config, or give {variable}"
    );
    Failure::new(Exit::Config, detail)
}

/// Has a node leave, and waits until it has.
async fn remove(args: &RemoveArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let cluster = one(&session, args.cluster.clone()).await?;
    let nodes = session.client.nodes(&cluster).await?.items;
    let Some(node) = nodes.into_iter().find(|node| node.id == args.node) else {
        // Whether it has left or never was one, the cluster knows.
        let gone = session.client.remove_node(&cluster, args.node, args.lost).await?;
        match session.report.is_json() {
            true => output::json(&OfCluster { cluster: &cluster, of: &gone })?,
            false => output::line(format_args!("node {} of cluster {cluster}: has left already", gone.node))?,
        }
        return Ok(Exit::Ok);
    };
    session.client.remove_node(&cluster, args.node, args.lost).await?;
    while !args.no_wait && session.client.nodes(&cluster).await?.items.iter().any(|node| node.id == args.node) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tell(&session, &cluster, &node, if args.no_wait { "leaves" } else { "removed" })
}

fn tell(session: &Session, cluster: &ClusterName, node: &Node, what: &str) -> Result<Exit, Failure> {
    match session.report.is_json() {
        true => output::json(&OfCluster { cluster, of: node })?,
        false => output::line(format_args!("node {} ({}) of cluster {cluster}: {what}", node.id, node.name))?,
    }
    Ok(Exit::Ok)
}

/// Finds a member.
async fn find(session: &Session, cluster: &ClusterName, id: NodeId) -> Result<Node, Failure> {
    let nodes = session.client.nodes(cluster).await?.items;
    nodes.into_iter().find(|node| node.id == id).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("cluster {cluster} has no node {id}; 'flotilla node list' shows them"))
    })
}

/// Gives the cluster that was named, or the only one.
async fn one(session: &Session, named: Option<ClusterName>) -> Result<ClusterName, Failure> {
    let all = session.clusters(named.into_iter().collect()).await?;
    match &all[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(Exit::NotFound, "no cluster has reported yet")),
        [..] => {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            Err(Failure::new(Exit::Usage, format!("say which cluster: --cluster with one of {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::admin::Drain;

    use super::*;

    #[test]
    fn a_node_is_safe_to_stop_only_if_it_was_counted() {
        let mut node = Node {
            id: NodeId(3),
            name: "a-n3".to_owned(),
            peer: "h:1".to_owned(),
            zone: None,
            role: Role::Voter,
            standing: Standing::Up,
            silent_ms: 0,
            copies: 0,
            disk_free_bytes: 0,
            drain: None,
            leaves: false,
        };
        let cluster = "a".parse().expect("a good name");
        let cases = [
            (None, "up"),
            (Some(Drain { named: 7, empty: false, safe_to_stop: false }), "drains: 7 chunks left"),
            (Some(Drain { named: 0, empty: false, safe_to_stop: false }), "drains: 0 chunks left"),
            (Some(Drain { named: 0, empty: true, safe_to_stop: false }), "empty, needed as a voter"),
            (Some(Drain { named: 0, empty: true, safe_to_stop: true }), "safe to stop"),
        ];
        for (drain, state) in cases {
            node.drain = drain;
            assert_eq!(row(&cluster, &node)[4], state);
        }
        node.leaves = true;
        assert_eq!(row(&cluster, &node)[4], "leaves");
        node.leaves = false;
        node.standing = Standing::Silent;
        assert!(row(&cluster, &node)[4].starts_with("silent"), "what is silent can't be asked");
    }

    #[test]
    fn a_node_that_runs_here_is_found_by_its_settings_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("node.toml");
        let text = "name = \"a-1\"\ncluster = \"a\"\ndata_dir = \"/data\"\npublic = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n\
            ops = \"127.0.0.1:3\"\nfleet_secret_file = \"/secret\"\n";
        std::fs::write(&path, text).expect("the folder is writable");
        let found = here(&Sources { file: Some(path), ..Sources::default() }).expect("all that is needed is there");
        assert_eq!((found.name.as_str(), found.peer.port()), ("a-1", 2));

        let failure = here(&Sources::default()).expect_err("nothing is known of it");
        assert_eq!(failure.exit(), Exit::Config);
        let told = failure.to_json().to_string();
        assert!(told.contains("--config") && told.contains("FLOTILLA_") && !told.contains("--set"), "{told}");
    }
}
