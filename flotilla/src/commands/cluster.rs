//! `flotilla cluster list|retire|forget`: which clusters there are, and how one goes.

use std::time::Duration;

use flotilla_api::directory::{ClusterState, Retirement};

use crate::{
    cli::{ClusterCommand, ClusterListArgs, ForgetArgs, RetireArgs},
    connect::Session,
    exit::{Exit, Failure},
    output,
};

/// How often a cluster that retires is looked at; its homes are counted every 10 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// The supernodes refuse, or can't be asked.
pub async fn run(command: ClusterCommand) -> Result<Exit, Failure> {
    match command {
        ClusterCommand::List(args) => list(&args).await,
        ClusterCommand::Retire(args) => retire(&args).await,
        ClusterCommand::Forget(args) => forget(&args).await,
    }
}

async fn list(args: &ClusterListArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let mut rows = vec![["CLUSTER", "STATE", "HOMES LEFT", "REPORTS"].map(str::to_owned).to_vec()];
    for cluster in session.client.clusters().await?.clusters {
        let retirement = session.client.retirement(&cluster.name).await?;
        match session.report.is_json() {
            true => output::json(&retirement)?,
            false => rows.push(row(&retirement, cluster.reachable)),
        }
    }
    if !session.report.is_json() {
        output::line(output::table(&rows))?;
    }
    Ok(Exit::Ok)
}

fn row(retirement: &Retirement, reachable: bool) -> Vec<String> {
    let state = match retirement.safe_to_forget {
        true => "safe to forget",
        false => retirement.state.as_str(),
    };
    vec![
        retirement.cluster.to_string(),
        state.to_owned(),
        retirement.homes.map_or_else(|| "-".to_owned(), |homes| homes.to_string()),
        if reachable { "yes" } else { "no" }.to_owned(),
    ]
}

/// Lets a cluster get no new files, and waits until it has no home left.
async fn retire(args: &RetireArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let mut now = session.client.retire(&args.name, !args.undo).await?;
    let mut told = None;
    while !args.undo && !args.no_wait && !now.safe_to_forget {
        if now.state == ClusterState::Active {
            return Err(Failure::new(Exit::Precondition, "somebody took it back").about(&args.name));
        }
        if told != now.homes {
            told = now.homes;
            output::note(format_args!("{} homes are left", now.homes.unwrap_or(0)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        now = session.client.retirement(&args.name).await?;
    }
    match session.report.is_json() {
        true => output::json(&now)?,
        false => output::line(format_args!("cluster {}: {}", args.name, verdict(&now)))?,
    }
    Ok(Exit::Ok)
}

fn verdict(now: &Retirement) -> String {
    match (now.state, now.homes) {
        _ if now.safe_to_forget => "safe to forget".to_owned(),
        (ClusterState::Active, _) => "gets new files".to_owned(),
        (state, homes) => format!("{}, {} homes are left", state.as_str(), homes.unwrap_or(0)),
    }
}

async fn forget(args: &ForgetArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let done = session.client.forget_cluster(&args.name, args.fence).await?;
    match session.report.is_json() {
        true => output::json(&done)?,
        false => output::line(format_args!("cluster {}: forgotten, {} homes dropped", done.cluster, done.dropped))?,
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_safe_to_forget_only_if_it_was_counted() {
        let now = |state, homes, safe_to_forget| Retirement {
            cluster: "a".parse().expect("a good name"),
            state,
            homes,
            safe_to_forget,
        };
        for (retirement, shown, told) in [
            (now(ClusterState::Active, None, false), "active", "gets new files"),
            (now(ClusterState::Retiring, Some(7), false), "retiring", "retiring, 7 homes are left"),
            (now(ClusterState::Retiring, Some(0), true), "safe to forget", "safe to forget"),
            (now(ClusterState::Fenced, Some(3), false), "fenced", "fenced, 3 homes are left"),
        ] {
            assert_eq!((row(&retirement, true)[1].as_str(), verdict(&retirement).as_str()), (shown, told));
        }
    }
}
