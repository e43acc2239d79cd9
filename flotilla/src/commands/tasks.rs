//! `flotilla tasks`: what repair has planned, cluster by cluster.

use flotilla_api::{
    ClusterName,
    admin::{Task, TaskKind, TaskState},
};

use crate::{
    cli::TasksArgs,
    connect::Session,
    exit::{Exit, Failure},
    output::{self, OfCluster},
};

/// Runs the command.
///
/// # Errors
/// A cluster can't be asked.
pub async fn run(args: TasksArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let mut rows =
        vec![["CLUSTER", "TASK", "KIND", "STATE", "TO", "CHUNKS", "LEFT", "BYTES LEFT"].map(str::to_owned).to_vec()];
    for cluster in session.clusters(args.cluster).await? {
        for task in session.client.tasks(&cluster).await?.items {
            match session.report.is_json() {
                true => output::json(&OfCluster { cluster: &cluster, of: &task })?,
                false => rows.push(row(&cluster, &task)),
            }
        }
    }
    match (session.report.is_json(), rows.len()) {
        (true, _) => {}
        (false, 1) => output::line("no tasks")?,
        (false, _) => output::line(output::table(&rows))?,
    }
    Ok(Exit::Ok)
}

fn row(cluster: &ClusterName, task: &Task) -> Vec<String> {
    let kind = match task.kind {
        TaskKind::Copy => "copy",
    };
    let state = match task.state {
        TaskState::Waiting => "waiting",
        TaskState::Leased => "leased",
    };
    vec![
        cluster.to_string(),
        task.id.clone(),
        kind.to_owned(),
        state.to_owned(),
        task.to.to_string(),
        task.chunks.to_string(),
        task.left.to_string(),
        output::size(task.left_bytes),
    ]
}
