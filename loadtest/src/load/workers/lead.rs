//! The leader of several runners: it compares clocks, hands out shares, lets all begin at once, and adds up what they found.

use std::{future::Future, io, time::Duration};

use flotilla_env::Clock;
use futures::future::{join_all, try_join_all};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    process::Child,
    sync::mpsc,
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::{
    message::{Input, Order, Output, PROTOCOL, Reply, Task},
    seconds::Seconds,
};
use crate::{
    Error,
    load::{
        found::Found,
        observe::{Observation, Observed},
        plan::Plan,
        report::WorkerRow,
        schedule::{PhaseSpan, phase_at, spans},
        series::Series,
        view::View,
    },
};

/// How long a runner may take to start, through ssh or a container's.
const HELLO_TIMEOUT: Duration = Duration::from_secs(60);
/// Questions for the time; the quickest answer counts.
const PINGS: u32 = 8;
/// A runner of which nothing is heard for so long is given up; it says every few seconds that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A runner that began so many seconds later did not send what was planned.
const LATE_MAX_S: f64 = 0.5;
/// From the order to begin to the beginning: longer than any order is under way.
const BEFORE_START: Duration = Duration::from_secs(1);
/// How long runners may take to report after they were stopped: they remove their files first.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// Messages of all runners on the way.
const MESSAGES_MAX: usize = 256;

/// A runner that was started.
pub(crate) struct Ends {
    pub(super) name: String,
    pub(super) command: String,
    pub(super) input: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) output: Box<dyn AsyncWrite + Send + Unpin>,
    /// Killed when it is dropped.
    pub(super) child: Option<Child>,
}

/// A runner that was greeted.
struct Runner {
    row: WorkerRow,
    input: Input<Reply>,
    output: Output,
    /// Killed when it is dropped.
    child: Option<Child>,
}

/// What came of a load that was led.
#[derive(Debug)]
pub(crate) struct Led {
    /// When it began, in milliseconds since 1970.
    pub(crate) started_ms: u64,
    pub(crate) found: Found,
    pub(crate) observed: Observed,
}

/// Lets runners carry out a plan in shares; gives what they found together, and what was seen of the servers. None if it was
/// interrupted before the load began.
///
/// # Errors
/// [`Error::Worker`]: one of them did not get as far as the load. One that ends later makes the run invalid.
///
/// # Cancel safety
/// Dropped, the runners are killed, and files stay.
pub(crate) async fn lead(
    plan: &Plan,
    task: &Task,
    ends: Vec<Ends>,
    view: &mut View,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Led>, Error> {
    let clock = &*plan.run.clock;
    let mut runners = tokio::select! {
        runners = try_join_all(ends.into_iter().map(|ends| greet(ends, clock))) => runners?,
        // Nothing is made yet.
        () = &mut *interrupt => return Ok(None),
    };
    view.say(&format!("{} runners make their files", runners.len()));
    let shares = runners.iter_mut().zip(0..).map(|(runner, index)| runner.prepare(Task { index, ..task.clone() }));
    let ready = tokio::select! {
        ready = try_join_all(shares) => ready.map(|_| true),
        () = &mut *interrupt => Ok(false),
    };
    if !matches!(ready, Ok(true)) {
        join_all(runners.iter_mut().map(Runner::dismiss)).await;
        return ready.map(|_| None);
    }
    let (mut outputs, mut readers, mut rows, mut children) = (Vec::new(), JoinSet::new(), Vec::new(), Vec::new());
    let (sender, mut messages) = mpsc::channel(MESSAGES_MAX);
    let started_ms = clock.wall_ms() + BEFORE_START.as_millis() as u64;
    let start = clock.now() + BEFORE_START;
    for (index, Runner { row, input, mut output, child }) in runners.into_iter().enumerate() {
        let at_ms = (started_ms as f64 + row.clock_ahead_ms).round().max(0.0) as u64;
        // One that does not hear it any more is noticed by the end of its messages.
        drop(output.send(&Order::Go(at_ms)).await);
        outputs.push(output);
        rows.push(row);
        children.push(child);
        readers.spawn(read(index, input, sender.clone()));
    }
    drop(sender);
    let mut gathering = Gathering::new(rows, spans(&plan.profile.phases));
    sleep_until(start).await;
    view.begin(started_ms);
    let observation = Observation::begin(plan, start);
    let over = tokio::select! {
        () = gathering.measured(&mut messages, view) => false,
        () = &mut *interrupt => true,
    };
    let observed = observation.end();
    let stopped = over || {
        view.say("the runners read everything back");
        tokio::select! {
            () = gathering.ended(&mut messages, view) => false,
            () = &mut *interrupt => true,
        }
    };
    if stopped {
        join_all(outputs.iter_mut().map(|output| output.send(&Order::Stop))).await;
        drop(timeout(STOP_TIMEOUT, gathering.ended(&mut messages, view)).await);
    }
    Ok(Some(Led { started_ms, found: gathering.found(view, stopped), observed }))
}

/// Greets a runner and compares clocks.
async fn greet(ends: Ends, clock: &dyn Clock) -> Result<Runner, Error> {
    let Ends { name, command, input, output, child } = ends;
    let failed = |why: String| Error::Worker { name: name.clone(), why };
    let broken = |error: io::Error| failed(error.to_string());
    let (mut input, mut output) = (Input::new(input), Output::new(output));
    let hello = timeout(HELLO_TIMEOUT, input.next()).await;
    let hello = hello.map_err(|_| failed(format!("it said nothing for {HELLO_TIMEOUT:?}")))?.map_err(broken)?;
    let (version, cpus) = match hello {
        Some(Reply::Hello { protocol: PROTOCOL, version, cpus }) => (version, cpus),
        Some(Reply::Hello { protocol, .. }) => {
            return Err(failed(format!("it speaks version {protocol} and not {PROTOCOL}: give it the same release")));
        }
        Some(_) => return Err(failed("its first word is no greeting; give it the same release".to_owned())),
        None => {
            return Err(failed("it ended without a word; does its command run `flotilla loadtest worker`?".to_owned()));
        }
    };
    let (mut clock_ahead_ms, mut round_trip_ms) = (0.0, f64::INFINITY);
    for number in 0..PINGS {
        let (asked, asked_ms) = (clock.now(), clock.wall_ms());
        output.send(&Order::Ping(number)).await.map_err(broken)?;
        let Reply::Pong(_, theirs_ms) = next(&mut input).await.map_err(failed)? else {
            return Err(failed("it does not say what time it is".to_owned()));
        };
        let took_ms = clock.now().saturating_duration_since(asked).as_secs_f64() * 1e3;
        if took_ms < round_trip_ms {
            // The wall clock has whole milliseconds, which a start at the same time does not need to be better than.
            (clock_ahead_ms, round_trip_ms) = (theirs_ms as f64 - asked_ms as f64 - took_ms / 2.0, took_ms);
        }
    }
    let row = WorkerRow { name, command, version, cpus, clock_ahead_ms, round_trip_ms, ..WorkerRow::default() };
    Ok(Runner { row, input, output, child })
}

/// Gives the next message that says something; an error if there is none for long.
async fn next(input: &mut Input<Reply>) -> Result<Reply, String> {
    loop {
        match timeout(SILENCE_MAX, input.next()).await {
            Ok(Ok(Some(Reply::Alive))) => {}
            Ok(Ok(Some(reply))) => return Ok(reply),
            Ok(Ok(None)) => return Err("its connection ended".to_owned()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("it was silent for {SILENCE_MAX:?}")),
        }
    }
}

impl Runner {
    /// Hands out its share and waits until its files are made.
    async fn prepare(&mut self, task: Task) -> Result<(), Error> {
        let failed = |why: String| Error::Worker { name: self.row.name.clone(), why };
        self.output.send(&Order::Task(Box::new(task))).await.map_err(|error| failed(error.to_string()))?;
        match next(&mut self.input).await.map_err(failed)? {
            Reply::Ready => Ok(()),
            Reply::Failed(why) => Err(failed(why)),
            _ => Err(failed("it said something that is not understood here".to_owned())),
        }
    }

    /// Lets it remove its files and end.
    async fn dismiss(&mut self) {
        // One that does not hear it has ended, or is killed.
        drop(self.output.send(&Order::Stop).await);
        drop(timeout(STOP_TIMEOUT, async { while next(&mut self.input).await.is_ok() {} }).await);
    }
}

async fn read(index: usize, mut input: Input<Reply>, messages: mpsc::Sender<(usize, Result<Reply, String>)>) {
    loop {
        let reply = next(&mut input).await;
        let last = matches!(reply, Err(_) | Ok(Reply::Done(..) | Reply::Failed(_)));
        if messages.send((index, reply)).await.is_err() || last {
            return;
        }
    }
}

/// What runners have told so far.
struct Gathering {
    rows: Vec<WorkerRow>,
    phases: Vec<PhaseSpan>,
    seconds: Seconds,
    series: Series,
    measured: Vec<bool>,
    ended: Vec<Option<Ended>>,
}

impl Gathering {
    fn new(rows: Vec<WorkerRow>, phases: Vec<PhaseSpan>) -> Self {
        let (measured, ended) = (vec![false; rows.len()], rows.iter().map(|_| None).collect());
        Self { rows, phases, seconds: Seconds::default(), series: Series::default(), measured, ended }
    }

    /// Takes messages until all have sent their load.
    async fn measured(&mut self, messages: &mut Messages, view: &mut View) {
        while self.measured.contains(&false) {
            let Some((index, reply)) = messages.recv().await else { return };
            self.take(index, reply, view);
        }
    }

    /// Takes messages until all have reported.
    async fn ended(&mut self, messages: &mut Messages, view: &mut View) {
        while self.ended.iter().any(Option::is_none) {
            let Some((index, reply)) = messages.recv().await else { return };
            self.take(index, reply, view);
        }
    }

    fn take(&mut self, index: usize, reply: Result<Reply, String>, view: &mut View) {
        let ended = match reply {
            Ok(Reply::Second(second)) => {
                self.seconds.add(index, &second.0, &second.1);
                let sending = self.measured.iter().enumerate().filter(|(_, measured)| !**measured);
                self.show(sending.fold(0, |bits, (index, _)| bits | 1 << index), view);
                return;
            }
            Ok(Reply::Measured) => {
                self.measured[index] = true;
                return;
            }
            Ok(Reply::Done(found, late_s)) => Ok((found, late_s)),
            Ok(Reply::Failed(why)) | Err(why) => Err(why),
            Ok(_) => Err("it said something that is not understood here".to_owned()),
        };
        self.measured[index] = true;
        self.ended[index].get_or_insert(ended);
    }

    /// Shows the seconds of which these runners (a bit for each), or nobody any more, have told.
    fn show(&mut self, runners: u64, view: &mut View) {
        while let Some((step, latency)) = self.seconds.next(runners) {
            view.show(phase_at(&self.phases, step.at_s), &step, &latency);
            self.series.push(step);
        }
    }

    /// Adds up what was found; `stopped` says whether the leader ended the load.
    fn found(mut self, view: &mut View, stopped: bool) -> Found {
        self.show(0, view);
        let (mut sum, mut missing): (Option<(Found, f64)>, Vec<_>) = (None, Vec::new());
        for (mut row, ended) in self.rows.into_iter().zip(self.ended) {
            match ended.unwrap_or_else(|| Err("it did not report in time".to_owned())) {
                Ok((mut found, late_s)) => {
                    row.requests = found.stats.total.ok + found.stats.total.failed;
                    row.p99_ms = found.stats.total.latency.latencies().map(|latencies| latencies.p99);
                    row.lag_p99_ms = found.stats.lag.at_ms(0.99);
                    row.late_ms = late_s * 1e3;
                    if late_s > LATE_MAX_S {
                        found.invalid_because.push(format!("it began {late_s:.1} s after the others"));
                    }
                    if found.interrupted && !stopped {
                        found.invalid_because.push("it was interrupted, and what it sent was not read back".to_owned());
                    }
                    for why in &mut found.invalid_because {
                        *why = format!("{}: {why}", row.name);
                    }
                    found.workers = vec![row];
                    match &mut sum {
                        Some((sum, first_s)) => sum.merge(*found, late_s - *first_s),
                        None => sum = Some((*found, late_s)),
                    }
                }
                Err(why) => missing.push((row, why)),
            }
        }
        let mut sum = sum.map_or_else(Found::default, |(sum, _)| sum);
        for (row, why) in missing {
            sum.invalid_because.push(format!("{} did not report, and what it sent was not read back: {why}", row.name));
            sum.workers.push(row);
        }
        sum.stats.series = self.series;
        sum.phases = self.phases;
        sum.interrupted = stopped;
        sum
    }
}

/// What a runner found and how many seconds late it began, or why it did not report.
type Ended = Result<(Box<Found>, f64), String>;
type Messages = mpsc::Receiver<(usize, Result<Reply, String>)>;
