//! `flotilla dev status`: every process as it is now, a restarted one under its new number.

use futures::future::join_all;
use serde::Serialize;

use super::{
    deployment::{Deployment, DevFile, Process},
    probe::Probe,
    process::Identity,
};
use crate::{
    cli::DevStatusArgs,
    exit::{Exit, Failure},
    output,
};

/// The document with what was found; the fields of `dev.json` first.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    document: &'a DevFile,
    /// In place of the document's own.
    processes: &'a [Status],
}

/// One process as it is now.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(flatten)]
    process: Process,
    /// Whether it runs.
    alive: bool,
    /// Whether it can do its work.
    ready: bool,
    /// Why not.
    reasons: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no deployment.
pub async fn run(args: DevStatusArgs) -> Result<Exit, Failure> {
    let mut deployment = Deployment::read(&super::folder(&args.dir)?)?;
    let probe = Probe::new()?;
    let processes = std::mem::take(&mut deployment.document.processes);
    let all = join_all(processes.into_iter().map(|process| ask(&probe, process))).await;
    if args.json {
        let mut answer = serde_json::to_value(Answer { document: &deployment, processes: &all })
            .map_err(|e| Failure::local("status", &e))?;
        answer["dir"] = deployment.dir.display().to_string().into();
        output::json(&answer)?;
    } else {
        output::line(text(&all))?;
    }
    Ok(Exit::Ok)
}

async fn ask(probe: &Probe, mut process: Process) -> Status {
    let (health, readiness) = tokio::join!(probe.health(&process), probe.readiness(&process.ops));
    if let Some(found) = health.and_then(|health| Identity::of(health.pid)) {
        (process.pid, process.start_ticks) = (found.pid, found.start_ticks);
    }
    let alive = Identity::recorded(&process).is_alive();
    let reasons = if alive { readiness.reasons } else { vec!["down".to_owned()] };
    Status { process, alive, ready: alive && readiness.ready, reasons }
}

fn text(all: &[Status]) -> String {
    let heading = ["NAME", "CLUSTER", "ID", "PID", "STATE", "PUBLIC", "OPERATIONS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for status in all {
        let process = &status.process;
        let state = match (status.alive, status.ready) {
            (false, _) => "down".to_owned(),
            (true, true) => "ready".to_owned(),
            (true, false) => format!("not ready: {}", status.reasons.join(", ")),
        };
        rows.push(vec![
            process.name.clone(),
            process.cluster.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            process.node_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            process.pid.to_string(),
            state,
            process.public.clone(),
            process.ops.clone(),
        ]);
    }
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dev::deployment::{Role, SCHEMA, State};

    #[test]
    fn the_answer_has_the_fields_of_the_document_and_more() {
        let process = Process {
            name: "a-n1".to_owned(),
            role: Role::Node,
            cluster: None,
            node_id: Some(1),
            pid: 7,
            start_ticks: 9,
            argv: Vec::new(),
            env: Default::default(),
            cwd: "".into(),
            public: String::new(),
            peer: String::new(),
            ops: String::new(),
            data_dir: "".into(),
            log_file: "".into(),
        };
        let document = DevFile {
            schema: SCHEMA,
            state: State::Ready,
            api: Vec::new(),
            token_file: "".into(),
            bucket: "demo".to_owned(),
            processes: Vec::new(),
        };
        let all = [Status { process, alive: true, ready: false, reasons: vec!["no_quorum".to_owned()] }];
        let answer = serde_json::to_value(Answer { document: &document, processes: &all }).expect("plain data");
        assert_eq!((answer["schema"].as_u64(), answer["state"].as_str()), (Some(1), Some("ready")));
        let first = &answer["processes"][0];
        assert_eq!(
            (first["name"].as_str(), first["pid"].as_u64(), first["ready"].as_bool()),
            (Some("a-n1"), Some(7), Some(false))
        );
        assert!(text(&all).contains("not ready: no_quorum"));
    }
}
