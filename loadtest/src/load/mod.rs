//! Load by profile: spikes, bursts, ramps and soaks of a mix of operations, with the truth about what users felt and what was lost.
//!
//! [`profile`] says what is sent and [`schedule`] when; [`engine`] sends it; [`run`] knows the files and judges every answer;
//! [`verify`] reads everything back; [`report`] is what is left. Latency counts from the moment at which a request was to be
//! sent, so a server that stands still can't hide behind a client that waits for it.

mod builtin;
mod catalog;
mod compare;
mod dialect;
mod engine;
mod faults;
mod files;
mod inject;
mod live;
mod machine;
mod operation;
mod profile;
mod random;
mod report;
mod request;
mod run;
mod schedule;
mod sizes;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod verify;
mod watch;

use std::{
    future::Future,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use flotilla_env::clock;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{interval_at, timeout},
};

use self::{
    dialect::Store,
    engine::Engine,
    faults::Fault,
    inject::{Event, Injector},
    live::Live,
    machine::Machine,
    operation::Operation,
    profile::{Pacing, Profile},
    report::{Addresses, Mistake, Report, Row, RunnerCost, ServerCost},
    run::Run,
    schedule::{PhaseSpan, spans},
    verify::Checked,
    watch::{Sample, Watch},
};
use crate::{
    Error, Target,
    command::{CompareArgs, EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG, RunArgs},
    dev::Dev,
    procfs, revision,
};

/// Connections that make the files that are there before the first phase.
const PREFILL_CONNECTIONS: usize = 16;
/// How often such an upload may fail before the run is given up.
const PREFILL_FAILURES_MAX: u64 = 300;
/// The wait after one, which is longer than an election with a few of them.
const PREFILL_BACKOFF: Duration = Duration::from_millis(250);
/// How long an interrupted run tries to remove its files, and another one.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);
const CLEANUP_MAX: Duration = Duration::from_secs(3600);
/// Samples of the servers that are kept.
const SAMPLES_MAX: usize = 7_200;

/// The names of the profiles that come with the program.
pub(crate) fn profiles() -> impl Iterator<Item = &'static str> {
    builtin::ALL.iter().map(|(name, _)| *name)
}

/// A run that was asked for, checked as far as that is possible without a server.
struct Plan {
    name: String,
    profile: Profile,
    seed: u64,
    keep: bool,
    faults: Vec<Fault>,
    dev: Arc<Dev>,
    run: Arc<Run>,
}

/// Runs a profile.
///
/// # Cancel safety
/// Dropped, it leaves its files under `loadtest/` in the bucket, and processes that it stopped go on; `interrupt` ends it with
/// a report of what was measured till then.
pub(crate) async fn run(
    args: RunArgs,
    target: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let plan = Plan::new(&args, &target)?;
    let mut interrupt = std::pin::pin!(interrupt);
    let Some(report) = once(&plan, &mut interrupt).await? else { return Ok(EXIT_INTERRUPTED) };
    write!(out, "{}", text::render(&report)).map_err(Error::Print)?;
    if let Some(path) = &args.json {
        std::fs::write(path, files::json(&report)).map_err(Error::file(path))?;
    }
    if let Some(dir) = &args.reports {
        let page = files::write_all(&report, dir)?;
        writeln!(out, "report: {}", page.display()).map_err(Error::Print)?;
    }
    Ok(report.exit_code())
}

/// Runs a profile by turns on two stores, or takes two reports, and says which is better and how sure that is.
///
/// # Cancel safety
/// As [`run`]; interrupted, the rounds that are whole are compared.
pub(crate) async fn compare(
    args: CompareArgs,
    deployment: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let is_report = |text: &str| text.ends_with(".json");
    let (mut rounds, mut interrupted, mut findings) = (Vec::new(), false, 0);
    if is_report(&args.a) && is_report(&args.b) {
        let (a, b) = (files::read(args.a.as_ref())?, files::read(args.b.as_ref())?);
        let reasons = compare::differs(&a, &b);
        if !reasons.is_empty() && !args.force {
            let reasons = reasons.join("; ");
            return Err(Error::Usage(format!(
                "the reports differ in more than their store: {reasons}; --force compares them"
            )));
        }
        findings = a.lost + a.corrupt + b.lost + b.corrupt;
        rounds.push((a, b));
    } else {
        let mut interrupt = std::pin::pin!(interrupt);
        // The first of a round changes from one to the next, so that neither always finds what the other left.
        for round in 0..args.rounds {
            let (first, second) = if round % 2 == 0 { (&args.a, &args.b) } else { (&args.b, &args.a) };
            let mut pair = Vec::new();
            for side in [first, second] {
                let pids = if std::ptr::eq(side, &args.a) { &args.pids_a } else { &args.pids_b };
                let plan = Plan::of_side(&args, side, pids, &deployment)?;
                eprintln!("round {} of {}: {side}", round + 1, args.rounds);
                match once(&plan, &mut interrupt).await? {
                    Some(report) => {
                        findings += report.lost + report.corrupt;
                        if report.interrupted {
                            interrupted = true;
                            break;
                        }
                        pair.push(report);
                    }
                    None => {
                        interrupted = true;
                        break;
                    }
                }
            }
            let (Some(second), Some(first), false) = (pair.pop(), pair.pop(), interrupted) else { break };
            rounds.push(if round % 2 == 0 { (first, second) } else { (second, first) });
        }
    }
    let compared = compare::compare(&rounds, args.seed);
    write!(out, "{}", compare::render(&args.a, &args.b, rounds.len(), &compared)).map_err(Error::Print)?;
    let both = || rounds.iter().flat_map(|(a, b)| [a, b]);
    let unknown = |report: &Report| report.unreadable > 0 || report.total.ok == 0 || !report.valid;
    writeln!(out, "\nlost or corrupt in all rounds: {findings}").map_err(Error::Print)?;
    for reason in both().flat_map(|report| &report.invalid_because).collect::<std::collections::BTreeSet<_>>() {
        writeln!(out, "INVALID: {reason}").map_err(Error::Print)?;
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&(&compared, &rounds)).expect("reports are plain data with text keys");
        std::fs::write(path, json).map_err(Error::file(path))?;
    }
    let worse = compared.iter().any(|compared| compared.verdict == compare::Verdict::Worse);
    Ok(match (interrupted, findings) {
        (true, _) => EXIT_INTERRUPTED,
        (false, 1..) => EXIT_WRONG,
        (false, 0) if both().any(unknown) || (worse && args.fail_if_worse) => EXIT_ERROR,
        (false, 0) => EXIT_OK,
    })
}

/// Carries a plan out; none if it was interrupted before the first phase.
async fn once(plan: &Plan, interrupt: &mut (impl Future<Output = ()> + Unpin)) -> Result<Option<Report>, Error> {
    let mut live = Live::new(plan.profile.lasts().as_secs_f64());
    tokio::select! {
        made = prefill(plan, &live) => made?,
        () = &mut *interrupt => {
            drop(timeout(CLEANUP_TIMEOUT, verify::remove(&plan.run)).await);
            return Ok(None);
        }
    }
    let mut report = Report::begin(plan, revision::of(&plan.dev).await);
    let measured = measure(plan, &mut live, &mut *interrupt).await;
    let mut interrupted = measured.interrupted;
    let mut checked = Checked::default();
    if !interrupted {
        live.say("reading everything back");
        tokio::select! {
            all = verify::read_back(&plan.run) => checked = all,
            () = &mut *interrupt => interrupted = true,
        }
    }
    report.end(plan, measured, checked);
    report.interrupted = interrupted;
    if !plan.keep {
        live.say("removing the files of the run");
        let removing = timeout(if interrupted { CLEANUP_TIMEOUT } else { CLEANUP_MAX }, verify::remove(&plan.run));
        let left = tokio::select! {
            left = removing => left.ok(),
            () = &mut *interrupt, if !interrupted => None,
        };
        report.left_files = left.unwrap_or(plan.run.catalog().begun());
    }
    Ok(Some(report))
}

impl Plan {
    fn new(args: &RunArgs, target: &Target) -> Result<Self, Error> {
        let mut profile = profile_of(&args.profile, args.scale)?;
        if let Some(connections) = args.connections {
            profile.0.connections = connections as usize;
        }
        if args.closed {
            profile.0.pacing = Pacing::Closed;
        }
        let faults = args.at.chunks(2).map(|pair| match pair {
            [at, what] => faults::parse(at, what).map_err(Error::Usage),
            _ => Err(Error::Usage("--at takes a time and a fault".to_owned())),
        });
        let mut faults = faults.collect::<Result<Vec<Fault>, Error>>()?;
        faults.sort_by_key(|fault| fault.at);
        let foreign = args.target.is_some() || !args.pids.is_empty();
        if !faults.is_empty() && foreign {
            let why = "--at makes faults in a dev deployment only; leave --target and --pids away";
            return Err(Error::Usage(why.to_owned()));
        }
        let (store, dev) = store_of(args.target.as_deref(), &args.pids, &args.bucket, target)?;
        inject::check(&faults, &dev).map_err(Error::Usage)?;
        Self::with(profile, store, dev, faults, args.seed, args.keep)
    }

    fn of_side(args: &CompareArgs, side: &str, pids: &[u32], deployment: &Target) -> Result<Self, Error> {
        let other = (side != "flotilla").then_some(side);
        let (store, dev) = store_of(other, pids, &args.bucket, deployment)?;
        Self::with(profile_of(&args.profile, args.scale)?, store, dev, Vec::new(), args.seed, false)
    }

    fn with(
        (profile, name): (Profile, String),
        store: Store,
        dev: Arc<Dev>,
        faults: Vec<Fault>,
        seed: u64,
        keep: bool,
    ) -> Result<Self, Error> {
        if store.list_path("", 1).is_none() && profile.mix.get(&Operation::List).is_some_and(|weight| *weight > 0.0) {
            let kind = store.kind();
            return Err(Error::Usage(format!("profile '{name}' asks for lists, which a target {kind}=… has not")));
        }
        let run = Run::new(&profile, store, seed, clock::system());
        Ok(Self { name, profile, seed, keep, faults, dev, run })
    }
}

/// Gives a store and the processes that serve it, where they are known.
fn store_of(other: Option<&str>, pids: &[u32], bucket: &str, deployment: &Target) -> Result<(Store, Arc<Dev>), Error> {
    let store = match other {
        Some(text) => Store::other(text, |name| std::env::var(name).ok()),
        None => Store::flotilla(deployment, bucket),
    };
    let dev = match (&deployment.dev_json, other) {
        _ if !pids.is_empty() => {
            Dev::of_pids(pids).map_err(|pid| Error::Usage(format!("there is no process {pid}")))?
        }
        (Some(path), None) => Dev::read(path)?,
        _ => Dev::default(),
    };
    Ok((store.map_err(Error::Usage)?, Arc::new(dev)))
}

/// Reads a profile and gives it with its name, all rates multiplied.
fn profile_of(profile: &str, scale: f64) -> Result<(Profile, String), Error> {
    let (name, text) = text_of(profile)?;
    let wrong = |error: String| Error::Usage(format!("profile '{profile}': {error}"));
    let mut profile = Profile::parse(&text).map_err(wrong)?;
    if !(scale > 0.0 && scale <= 1000.0) {
        return Err(Error::Usage(format!("--scale is above 0 and at most 1000, not {scale}")));
    }
    profile.scale(scale);
    Ok((profile, name))
}

/// Finds a profile by its name or its path; gives its name and its text.
fn text_of(profile: &str) -> Result<(String, String), Error> {
    if let Some(text) = builtin::find(profile) {
        return Ok((profile.to_owned(), text.to_owned()));
    }
    let path = Path::new(profile);
    if path.extension().is_none_or(|extension| extension != "toml") {
        let known = profiles().collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!(
            "profile '{profile}' does not exist; there are: seed-tables, {known}; a file of your own ends in .toml"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
    let name = path.file_stem().map_or_else(|| profile.to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok((name, text))
}

/// Makes the files that are there before the first phase.
async fn prefill(plan: &Plan, live: &Live) -> Result<(), Error> {
    let count = plan.profile.prefill;
    if count == 0 {
        return Ok(());
    }
    live.say(&format!("making {count} files"));
    let failures = Arc::new(Mutex::new((0_u64, String::new())));
    let mut clients = JoinSet::new();
    for index in 0..PREFILL_CONNECTIONS {
        let (run, failures, mut line) = (plan.run.clone(), failures.clone(), plan.run.line(index));
        let share = count / PREFILL_CONNECTIONS as u64 + u64::from((index as u64) < count % PREFILL_CONNECTIONS as u64);
        clients.spawn(async move {
            let mut made = 0;
            while made < share {
                let asked = run.put(&mut line).await;
                let Some(why) = asked.why() else {
                    made += 1;
                    continue;
                };
                let tried = {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.0 += 1;
                    failures.1 = why;
                    failures.0
                };
                if tried > PREFILL_FAILURES_MAX {
                    return;
                }
                tokio::time::sleep(PREFILL_BACKOFF).await;
                line = run.line(index + usize::try_from(tried).unwrap_or_default());
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client neither panics nor is aborted while it is waited for");
    }
    let (failed, why) = failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if failed > PREFILL_FAILURES_MAX { Err(Error::Prefill(why)) } else { Ok(()) }
}

/// What the phases brought.
struct Measured {
    engine: Arc<Engine>,
    interrupted: bool,
    seconds: f64,
    own_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
    samples: Vec<Sample>,
    events: Vec<Event>,
}

async fn measure(plan: &Plan, live: &mut Live, interrupt: &mut (impl Future<Output = ()> + Unpin)) -> Measured {
    let own_cpu = || procfs::stat("self").ok().map(|stat| stat.cpu);
    let (own_before, servers_before) = (own_cpu(), plan.dev.cpu());
    let clock = plan.run.clock.clone();
    let engine = Engine::new(plan.run.clone());
    let watch = Watch::start(plan.dev.clone(), clock.clone(), engine.start(), SAMPLES_MAX);
    let events = Arc::new(Mutex::new(Vec::new()));
    let injector = Injector::new(plan.dev.clone(), clock);
    let injecting = injector.run(plan.faults.clone(), engine.start(), events.clone());
    let injecting = AbortOnDrop(tokio::spawn(injecting).abort_handle());
    let sending = engine.clone().send(&plan.profile, plan.seed);
    let interrupted = tokio::select! {
        () = sending => false,
        () = interrupt => true,
        () = show(&engine, spans(&plan.profile.phases), live) => unreachable!("it goes on for ever"),
    };
    let seconds = engine.elapsed().as_secs_f64();
    drop(injecting);
    if interrupted {
        plan.run.catalog().cut_off();
    }
    {
        let (mut stats, at) = (engine.stats(), engine.elapsed());
        stats.tick(at, engine.in_flight(), engine.waiting());
        // After the last arrival nothing is due, so that nothing can be missing.
        stats.end(at.min(plan.profile.lasts()));
    }
    let spent = |before: Option<Duration>, after: Option<Duration>| Some(after?.saturating_sub(before?));
    Measured {
        interrupted,
        seconds,
        own_cpu: spent(own_before, own_cpu()),
        server_cpu: spent(servers_before, plan.dev.cpu()),
        samples: watch.stop(),
        events: std::mem::take(&mut events.lock().unwrap_or_else(PoisonError::into_inner)),
        engine,
    }
}

/// Ends a task when it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends a step of the series each second and shows it.
async fn show(engine: &Engine, phases: Vec<PhaseSpan>, live: &mut Live) {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(engine.start() + second, second);
    loop {
        ticks.tick().await;
        let at = engine.elapsed();
        let step = engine.stats().tick(at, engine.in_flight(), engine.waiting());
        let phase = phases.iter().find(|phase| step.at_s < phase.to_s).map_or("last answers", |phase| &phase.name);
        live.show(phase, &step);
    }
}

impl Report {
    fn begin(plan: &Plan, rev: String) -> Self {
        let store = &plan.run.store;
        Self {
            schema: report::SCHEMA,
            kind: report::KIND.to_owned(),
            profile: plan.name.clone(),
            description: plan.profile.description.clone(),
            rev,
            started: humantime::format_rfc3339_seconds(
                SystemTime::UNIX_EPOCH + Duration::from_millis(plan.run.clock.wall_ms()),
            )
            .to_string(),
            seed: plan.seed,
            open_loop: plan.profile.pacing == Pacing::Open,
            machine: Machine::this(),
            load_1min: procfs::load_1min(),
            target: Addresses { kind: store.kind().to_owned(), addresses: store.addresses.clone() },
            valid: false,
            invalid_because: Vec::new(),
            interrupted: false,
            lost: 0,
            corrupt: 0,
            unknown: 0,
            checked_files: 0,
            checked_bytes: 0,
            unreadable: 0,
            left_files: 0,
            seconds: 0.0,
            phases: spans(&plan.profile.phases),
            total: stats::Counts::default().figures(1.0),
            operations: Vec::new(),
            errors: Vec::new(),
            longest_gap: None,
            faults: Vec::new(),
            series: Vec::new(),
            servers: Vec::new(),
            runner: RunnerCost::default(),
            server_totals: ServerCost::default(),
            thresholds: Vec::new(),
        }
    }

    fn end(&mut self, plan: &Plan, measured: Measured, checked: Checked) {
        let Measured { engine, interrupted, seconds, own_cpu, server_cpu, samples, events } = measured;
        let mut stats = engine.stats();
        for (failure, why) in &checked.failures {
            stats.failed(*failure, why);
        }
        self.interrupted = interrupted;
        (self.lost, self.corrupt) = (plan.run.lost(), plan.run.corrupt());
        (self.unknown, self.unreadable) = (checked.unknown, checked.unreadable);
        (self.checked_files, self.checked_bytes) = (checked.files, checked.bytes);
        self.seconds = seconds;
        self.total = stats.total.figures(seconds);
        let row = |(&(operation, class), counts): (&(Operation, Option<usize>), &stats::Counts)| Row {
            operation: operation.name().to_owned(),
            size: class.map(|class| plan.run.sizes.name(class)),
            figures: counts.figures(seconds),
        };
        self.operations = stats.kinds.iter().map(row).collect();
        let mistake = |(kind, (count, example)): (&stats::Failure, &(u64, String))| Mistake {
            kind: *kind,
            count: *count,
            example: example.clone(),
        };
        self.errors = stats.failures.iter().map(mistake).collect();
        self.longest_gap = Some(stats.gap).filter(|gap| gap.seconds > 0.0);
        self.series = std::mem::take(&mut stats.steps);
        self.faults = report::recoveries(events, &stats.gaps, &self.series);
        let (operations, gb) = (self.total.started.max(1) as f64, self.total.bytes as f64 / 1e9);
        let per_gb = |seconds: f64| (gb > 0.0).then(|| seconds / gb);
        let own = own_cpu.unwrap_or_default().as_secs_f64();
        self.runner = RunnerCost {
            cpu_seconds: own,
            cpu_us_per_operation: Some(own * 1e6 / operations),
            cpu_seconds_per_gb: per_gb(own),
            lag_p99_ms: stats.lag_ms(0.99),
            dropped: engine.dropped(),
            connections: plan.profile.connections,
        };
        let servers = server_cpu.map(|cpu| cpu.as_secs_f64());
        self.server_totals = ServerCost {
            cpu_seconds: servers,
            cpu_us_per_operation: servers.map(|seconds| seconds * 1e6 / operations),
            cpu_seconds_per_gb: servers.and_then(per_gb),
            largest_rss_bytes: samples.iter().filter_map(|sample| sample.largest_rss_bytes).max(),
            rss_bytes: samples.iter().filter_map(|sample| sample.rss_bytes).max(),
        };
        self.servers = samples;
        self.invalid_because = self.runner.invalid_because();
        self.valid = self.invalid_because.is_empty();
        self.thresholds = report::limits(&plan.profile.thresholds, &self.total, self.longest_gap);
    }

    fn exit_code(&self) -> u8 {
        let failed = self.thresholds.iter().any(|limit| !limit.ok);
        match (self.interrupted, self.lost + self.corrupt) {
            (true, _) => EXIT_INTERRUPTED,
            (false, 1..) => EXIT_WRONG,
            (false, 0) if failed || !self.valid || self.unreadable > 0 || self.total.ok == 0 => EXIT_ERROR,
            (false, 0) => EXIT_OK,
        }
    }
}
