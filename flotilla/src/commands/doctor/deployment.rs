//! A dev deployment on this machine: whether what was started is there and ready.

use std::path::PathBuf;

use futures::future::join_all;

use super::{
    super::dev::{
        deployment::{Deployment, Process, State},
        probe::Probe,
    },
    finding::Finding,
};

/// Looks at the deployment in a folder; also gives the data folders of its processes.
pub async fn examine(dir: Option<PathBuf>) -> (Vec<Finding>, Vec<PathBuf>) {
    let Some(dir) = dir else { return (Vec::new(), Vec::new()) };
    let deployment = match Deployment::read(&dir) {
        Ok(deployment) => deployment,
        Err(failure) => return (vec![Finding::of_failure("dev", &failure)], Vec::new()),
    };
    let folders = deployment.processes.iter().map(|process| process.data_dir.clone()).collect();
    let up = format!("`flotilla dev up --dir {}` starts it", dir.display());
    let stopped = |what: &str| {
        let text = format!("the deployment in {} {what}", dir.display());
        (vec![Finding::warn("dev", text, up.clone())], Vec::new())
    };
    match deployment.state {
        State::Stopped => return stopped("is stopped"),
        State::Stopping => return stopped("is being stopped"),
        State::Starting | State::Ready => {}
    }
    let probe = match Probe::new() {
        Ok(probe) => probe,
        Err(failure) => return (vec![Finding::of_failure("dev", &failure)], folders),
    };
    let all = join_all(deployment.processes.iter().map(|process| look(&probe, process))).await;
    let mut bad: Vec<_> = all.into_iter().flatten().collect();
    if bad.is_empty() {
        let text = format!("all {} processes in {} are ready", deployment.processes.len(), dir.display());
        bad.push(Finding::ok("dev", text));
    }
    (bad, folders)
}

/// Gives what is wrong with a process.
async fn look(probe: &Probe, process: &Process) -> Option<Finding> {
    let (name, log) = (&process.name, process.log_file.display());
    if probe.health(process).await.is_none() {
        let fix = format!("read the end of {log}; `flotilla dev down`, then `flotilla dev up` starts all again");
        return Some(Finding::fail("dev", format!("{name} does not run, or answers nothing"), fix));
    }
    let readiness = probe.readiness(&process.ops).await;
    let text = format!("{name} is not ready: {}", readiness.reasons.join(", "));
    (!readiness.ready).then(|| Finding::fail("dev", text, format!("wait a moment, then read the end of {log}")))
}
