//! `flotilla dev up`: checks, starts, waits until all is ready, and stays until it is told to end.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    process::Child,
    time::Duration,
};

use flotilla_api::BucketName;
use flotilla_client::{Client, Kind, Options};
use flotilla_env::{clock, entropy};
use futures::future::join_all;

use super::{
    deployment::{Deployment, DevFile, Process, Role, SCHEMA, State},
    down, guide,
    live::Live,
    overrides::Overrides,
    plan::{Member, Plan},
    probe::Probe,
    process, spawn,
};
use crate::{
    cli::UpArgs,
    exit::{Exit, Failure},
    output,
    runtime::Stop,
};

/// How long all processes have to become ready; a cold start on a slow machine takes some seconds.
const READY_WAIT: Duration = Duration::from_secs(120);
/// How often they are asked.
const READY_POLL: Duration = Duration::from_millis(100);
/// How long the clusters have to report their nodes' ids after that; dev.json is complete without them.
const IDS_WAIT: Duration = Duration::from_secs(5);
/// How often is looked for processes that ended and for `dev down`.
const WATCH: Duration = Duration::from_millis(500);
/// The bucket that every dev deployment has.
const BUCKET: &str = "demo";
/// Held while a `dev up` is at work in the folder.
const LOCK: &str = "dev.lock";

/// Runs the command.
///
/// # Errors
/// The deployment runs already, its ports are taken, or a process does not become ready; nothing is left running.
pub async fn run(args: UpArgs) -> Result<Exit, Failure> {
    let dir = super::folder(&args.dir)?;
    std::fs::create_dir_all(dir.join(spawn::LOGS)).map_err(|e| Failure::local(dir.display(), &e))?;
    let _lock = lock(&dir)?;
    refuse_running(&dir)?;
    let plan = Plan::settle(&dir, &args)?;
    let members = plan.members();
    let overrides = Overrides::parse(&args.set, &members)?;
    spawn::check_ports(&members)?;
    spawn::fleet_secret(&dir, &*entropy::system())?;

    let mut stop = Stop::listen().map_err(|e| Failure::local("signals can't be listened for", &e))?;
    let mut fleet = Fleet::describe(&dir, &members, &overrides)?;
    let begun = tokio::select! {
        begun = fleet.begin() => begun,
        signal = stop.wait() => {
            output::note(format_args!("{signal}: ending all processes"));
            fleet.end().await?;
            return Ok(Exit::Interrupted);
        }
    };
    let client = match begun {
        Ok(client) => client,
        Err(failure) => {
            // Why it did not begin matters more than what is left of it.
            if let Err(left) = fleet.end().await {
                output::note(left);
            }
            return Err(failure);
        }
    };
    // The deployment runs whether or not somebody reads this.
    let _ = output::line(guide::text(&fleet.deployment, fleet.exe())).and_then(|()| output::line("READY"));
    if args.detach {
        return Ok(Exit::Ok);
    }
    let live = args.live.then(|| Live::new(client, fleet.probe.clone()));
    fleet.stay(stop, live).await
}

/// Takes the folder; another `dev up` is refused as long as the file is held.
fn lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| Failure::local(path.display(), &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(running(dir)),
        Err(TryLockError::Error(e)) => Err(Failure::local(path.display(), &e)),
    }
}

fn refuse_running(dir: &Path) -> Result<(), Failure> {
    let Some(deployment) = Deployment::read_if_there(dir)? else { return Ok(()) };
    let alive = deployment.processes.iter().any(|process| !process::serving(process).is_empty());
    if alive { Err(running(dir)) } else { Ok(()) }
}

fn running(dir: &Path) -> Failure {
    Failure::new(Exit::Precondition, format!("the deployment in {} runs already", dir.display()))
        .hint(format!("see `flotilla dev status --dir {0}`, end it with `flotilla dev down --dir {0}`", dir.display()))
}

/// The processes that this command started.
struct Fleet {
    deployment: Deployment,
    /// In the order of the processes; none for one that was not started or has ended.
    children: Vec<Option<Child>>,
    /// Where the log of each one begins, since logs go on from earlier starts.
    logs: Vec<u64>,
    probe: Probe,
}

impl Fleet {
    fn describe(dir: &Path, members: &[Member], overrides: &Overrides) -> Result<Self, Failure> {
        let exe = std::env::current_exe().map_err(|e| Failure::local("this program can't be found", &e))?;
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let env = spawn::environment(std::env::vars_os().filter_map(utf8));
        let describe = |member| spawn::describe(&exe, dir, member, members, overrides, &env);
        let processes: Vec<Process> = members.iter().map(describe).collect::<Result<_, _>>()?;
        let document = DevFile {
            schema: SCHEMA,
            state: State::Starting,
            api: processes.iter().filter(|one| one.role == Role::Supernode).map(|one| one.public.clone()).collect(),
            token_file: dir.join(spawn::ROOT_KEY),
            bucket: BUCKET.to_owned(),
            processes,
        };
        let children = document.processes.iter().map(|_| None).collect();
        let logs = document.processes.iter().map(|process| spawn::log_length(&process.log_file)).collect();
        Ok(Self { deployment: Deployment { dir: dir.to_owned(), document }, children, logs, probe: Probe::new()? })
    }

    fn exe(&self) -> &str {
        let first = self.deployment.processes.first().and_then(|process| process.argv.first());
        first.map(String::as_str).unwrap_or_default()
    }

    /// Starts all processes and waits until they are ready and the bucket is there; gives a client.
    ///
    /// # Cancel safety
    /// Processes that were started go on; [`Fleet::end`] ends them.
    async fn begin(&mut self) -> Result<Client, Failure> {
        // Written before the first start, so that `dev down` knows the folders even if this process is killed here.
        self.deployment.write()?;
        for (process, child) in self.deployment.document.processes.iter_mut().zip(&mut self.children) {
            *child = Some(spawn::start(process)?);
        }
        self.deployment.write()?;
        let mut waiting = Vec::new();
        let ready = tokio::time::timeout(READY_WAIT, self.ready(&mut waiting)).await;
        let client = ready.unwrap_or_else(|_| {
            let detail = format!("not ready after {} s: {}", READY_WAIT.as_secs(), waiting.join("; "));
            Err(Failure::new(Exit::Unavailable, detail).hint("their logs lie in the folder log of the deployment"))
        })?;
        // Ids are for scripts; that they come late is no reason to fail.
        let _ = tokio::time::timeout(IDS_WAIT, self.learn_ids(&client)).await;
        if self.told_to_end() {
            return Err(Failure::new(Exit::Interrupted, "the deployment was ended while it was starting"));
        }
        self.deployment.enter(State::Ready)?;
        Ok(client)
    }

    async fn ready(&mut self, waiting: &mut Vec<String>) -> Result<Client, Failure> {
        loop {
            if let Some(died) = self.ended().into_iter().next() {
                return Err(died);
            }
            if self.told_to_end() {
                return Err(Failure::new(Exit::Interrupted, "the deployment was ended while it was starting"));
            }
            let processes = &self.deployment.processes;
            let answers = join_all(processes.iter().map(|process| self.probe.readiness(&process.ops))).await;
            let late = processes.iter().zip(&answers).filter(|(_, answer)| !answer.ready);
            *waiting =
                late.map(|(process, answer)| format!("{} ({})", process.name, answer.reasons.join(", "))).collect();
            if waiting.is_empty() {
                break;
            }
            tokio::time::sleep(READY_POLL).await;
        }
        *waiting = vec![format!("bucket {BUCKET}")];
        let token = std::fs::read_to_string(&self.deployment.token_file)
            .map_err(|e| Failure::local(self.deployment.token_file.display(), &e))?;
        let options = Options { api: self.deployment.api.clone(), token, ..Options::default() };
        let client = Client::new(options, clock::system(), entropy::system())?;
        let bucket: BucketName = BUCKET.parse().expect("the name above is a good one");
        loop {
            match client.create_bucket(&bucket).await {
                Ok(()) => return Ok(client),
                Err(e) if matches!(e.kind(), Kind::Unavailable | Kind::Indeterminate) => {
                    tokio::time::sleep(READY_POLL).await;
                }
                Err(e) => return Err(Failure::from(e).about(format_args!("bucket {BUCKET}"))),
            }
        }
    }

    /// Asks for the ids of all nodes until they are known.
    async fn learn_ids(&mut self, client: &Client) {
        loop {
            let clusters = client.clusters().await.map(|answer| answer.clusters).unwrap_or_default();
            for process in self.deployment.document.processes.iter_mut().filter(|one| one.role == Role::Node) {
                let cluster = clusters.iter().find(|cluster| Some(&cluster.name) == process.cluster.as_ref());
                let node = cluster.and_then(|cluster| cluster.nodes.iter().find(|node| node.peer == process.peer));
                process.node_id = node.map(|node| node.id.0).or(process.node_id);
            }
            if self.deployment.processes.iter().all(|one| one.role != Role::Node || one.node_id.is_some()) {
                return;
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Gives the processes that ended since it was asked last, each with the end of its log.
    fn ended(&mut self) -> Vec<Failure> {
        let mut ended = Vec::new();
        let processes = self.deployment.document.processes.iter().zip(&self.logs);
        for ((process, begin), child) in processes.zip(&mut self.children) {
            let status = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let Some(status) = status else { continue };
            *child = None;
            let log = spawn::tail(&process.log_file, *begin);
            let detail = format!("{} ended with {status}; the last lines of its log:\n{log}", process.name);
            ended.push(Failure::new(Exit::Other, detail));
        }
        ended
    }

    /// Says whether a `dev down` is at work.
    fn told_to_end(&self) -> bool {
        let now = Deployment::read(&self.deployment.dir).map(|now| now.document.state);
        matches!(now, Ok(State::Stopping | State::Stopped))
    }

    /// Stays until a signal or `dev down` comes; a process that ends is told and not restarted.
    async fn stay(mut self, mut stop: Stop, mut live: Option<Live>) -> Result<Exit, Failure> {
        let mut ticks = tokio::time::interval(WATCH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let signal = loop {
            tokio::select! {
                signal = stop.wait() => break Some(signal),
                _ = ticks.tick() => {}
            }
            for failure in self.ended() {
                let text = failure.to_string();
                // The log has the rest; here it would bury the line that matters.
                let first = text.lines().next().unwrap_or_default().split(';').next().unwrap_or_default();
                live.as_ref().map_or_else(|| output::note(first), |live| live.aside(first));
            }
            if self.told_to_end() {
                break None;
            }
            if let Some(live) = &mut live {
                live.show(&self.deployment).await;
            }
        };
        if let Some(live) = &live {
            live.clear();
        }
        match signal {
            Some(signal) => {
                output::note(format_args!("{signal}: ending all processes"));
                self.end().await?;
            }
            None => output::note("the deployment was ended by `flotilla dev down`"),
        }
        Ok(Exit::Ok)
    }

    /// Ends all processes and waits for those that are ours.
    async fn end(&mut self) -> Result<(), Failure> {
        down::end(&mut self.deployment).await?;
        self.ended();
        Ok(())
    }
}
