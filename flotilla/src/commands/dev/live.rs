//! One line per cluster and one for the supernodes while `dev up --live` runs: redrawn on a terminal, else printed when
//! something changes.

use std::{io::IsTerminal as _, time::Duration};

use flotilla_api::files::ClusterStatus;
use flotilla_client::Client;
use futures::future::join_all;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    deployment::{Deployment, Process},
    probe::Probe,
};
use crate::output;

/// How long the supernode is waited for; the lines are drawn without it after that.
const CLUSTERS_WAIT: Duration = Duration::from_secs(1);
/// What every process counts.
const REQUESTS: &str = "flotilla_requests_total";

/// The lines and where they go.
#[derive(Debug)]
pub struct Live {
    client: Client,
    probe: Probe,
    /// One bar per line on a terminal.
    screen: Option<(MultiProgress, Vec<ProgressBar>)>,
    /// What was printed last, where it is no terminal.
    printed: Vec<String>,
}

/// What is shown of a group of processes.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    /// What changes rarely.
    state: String,
    requests: f64,
}

impl Live {
    /// Makes the lines; nothing is shown yet.
    pub fn new(client: Client, probe: Probe) -> Self {
        let target = std::io::stdout().is_terminal().then(ProgressDrawTarget::stdout);
        let screen = target.map(|target| (MultiProgress::with_draw_target(target), Vec::new()));
        Self { client, probe, screen, printed: Vec::new() }
    }

    /// Asks all processes and shows what they say.
    ///
    /// # Cancel safety
    /// Nothing is shown, or all.
    pub async fn show(&mut self, deployment: &Deployment) {
        let clusters = tokio::time::timeout(CLUSTERS_WAIT, self.client.clusters());
        let asked = join_all(deployment.processes.iter().map(|process| self.ask(process)));
        let (clusters, answers) = tokio::join!(clusters, asked);
        let clusters = clusters.ok().and_then(Result::ok).map(|answer| answer.clusters).unwrap_or_default();
        self.draw(lines(deployment, &clusters, &answers));
    }

    async fn ask(&self, process: &Process) -> (bool, f64) {
        let requests = self.probe.metric(&process.ops, REQUESTS);
        let (readiness, requests) = tokio::join!(self.probe.readiness(&process.ops), requests);
        (readiness.ready, requests.unwrap_or(0.0))
    }

    fn draw(&mut self, lines: Vec<Line>) {
        let Some((all, bars)) = &mut self.screen else {
            let states: Vec<_> = lines.into_iter().map(|line| line.state).collect();
            for state in states.iter().filter(|state| !self.printed.contains(state)) {
                output::note(state);
            }
            self.printed = states;
            return;
        };
        while bars.len() < lines.len() {
            let style = ProgressStyle::with_template("{msg}").expect("the template above is good");
            bars.push(all.add(ProgressBar::new_spinner().with_style(style)));
        }
        for (bar, line) in bars.iter().zip(lines) {
            bar.set_message(format!("{}  {:.0} requests", line.state, line.requests));
            bar.tick();
        }
    }

    /// Prints something above the lines.
    pub fn aside(&self, text: &str) {
        match &self.screen {
            Some((all, _)) => all.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    /// Removes the lines.
    pub fn clear(&self) {
        if let Some((all, bars)) = &self.screen {
            bars.iter().for_each(ProgressBar::finish_and_clear);
            // A terminal that is gone needs no clearing.
            let _ = all.clear();
        }
    }
}

/// Puts together what is shown; `answers` are in the order of the processes.
fn lines(deployment: &Deployment, clusters: &[ClusterStatus], answers: &[(bool, f64)]) -> Vec<Line> {
    let all: Vec<_> = deployment.processes.iter().zip(answers).collect();
    let mut groups: Vec<_> = deployment.processes.iter().map(|process| process.cluster.clone()).collect();
    groups.dedup();
    let line = |group| {
        let members: Vec<_> = all.iter().filter(|(process, _)| process.cluster == group).collect();
        let ready = members.iter().filter(|(_, (ready, _))| *ready).count();
        let requests = members.iter().map(|(_, (_, requests))| requests).sum();
        let up = format!("{ready} of {} ready", members.len());
        let state = match &group {
            None => format!("supernodes  {up}"),
            Some(name) => {
                let leader = clusters.iter().find(|cluster| cluster.name == *name).and_then(|cluster| cluster.leader);
                let named = |id: u64| {
                    let process = members.iter().find(|(process, _)| process.node_id == Some(id));
                    process.map_or_else(|| format!("node {id}"), |(process, _)| process.name.clone())
                };
                format!(
                    "cluster {name}   {up}, leader {}",
                    leader.map_or_else(|| "unknown".to_owned(), |id| named(id.0))
                )
            }
        };
        Line { state, requests }
    };
    groups.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flotilla_api::NodeId;

    use super::*;
    use crate::commands::dev::{
        deployment::{DevFile, SCHEMA, State},
        overrides::Overrides,
        plan::Plan,
        spawn,
    };

    #[test]
    fn every_group_has_its_line() {
        let (members, dir) = (Plan::default().members(), std::path::Path::new("/d"));
        let describe = |member| spawn::describe(dir, dir, member, &members, &Overrides::default(), &BTreeMap::new());
        let mut processes: Vec<Process> =
            members.iter().map(describe).collect::<Result<_, _>>().expect("the paths are UTF-8");
        processes[2].node_id = Some(2);
        let (token_file, bucket) = (dir.to_owned(), "demo".to_owned());
        let document = DevFile { schema: SCHEMA, state: State::Ready, api: Vec::new(), token_file, bucket, processes };
        let deployment = Deployment { dir: dir.to_owned(), document };
        let clusters = [ClusterStatus {
            name: "a".parse().expect("a good name"),
            state: Default::default(),
            reachable: true,
            report_age_ms: None,
            leader: Some(NodeId(2)),
            nodes: Vec::new(),
            queue: None,
        }];
        let mut answers = vec![(true, 2.0); 7];
        answers[3].0 = false;
        let lines = lines(&deployment, &clusters, &answers);
        let states: Vec<_> = lines.iter().map(|line| line.state.as_str()).collect();
        let expected = [
            "supernodes  1 of 1 ready",
            "cluster a   2 of 3 ready, leader a-n2",
            "cluster b   3 of 3 ready, leader unknown",
        ];
        assert_eq!(states, expected);
        assert!((lines[1].requests - 6.0).abs() < f64::EPSILON);
    }
}
