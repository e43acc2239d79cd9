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
        schedule::spans,
        series::Series,
        view::View,
    },
};

/// How long a runner may take to start, through ssh or a container's.
const HELLO_TIMEOUT: Duration = Duration::from_secs(60);
/// Questions for the time; the quickest answer counts.
const PINGS: u32 = 8;
const PING_TIMEOUT: Duration = Duration::from_secs(10);
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

/// A runner that has its share.
struct Runner {
    row: WorkerRow,
    input: Input<Reply>,
    output: Output,
    _child: Option<Child>,
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
) -> Result<Option<(Found, Observed)>, Error> {
    let clock = &*plan.run.clock;
    let shares = ends.len() as u64;
    view.say(&format!("{shares} runners make their files"));
    let shared = ends.into_iter().zip(0..).map(|(ends, index)| meet(ends, Task { index, ..task.clone() }, clock));
    let runners = tokio::select! {
        runners = try_join_all(shared) => runners?,
        // Those whose connection ends remove what they made.
        () = &mut *interrupt => return Ok(None),
    };
    let (mut outputs, mut readers, mut rows) = (Vec::new(), JoinSet::new(), Vec::new());
    let (sender, mut messages) = mpsc::channel(MESSAGES_MAX);
    let start_ms = clock.wall_ms() as f64 + BEFORE_START.as_secs_f64() * 1e3;
    let start = clock.now() + BEFORE_START;
    let mut children = Vec::new();
    for (index, mut runner) in runners.into_iter().enumerate() {
        let at_ms = (start_ms + runner.row.clock_ahead_ms).round().max(0.0) as u64;
        // One that does not hear it any more is noticed by the end of its messages.
        drop(runner.output.send(&Order::Go(at_ms)).await);
        outputs.push(runner.output);
        rows.push(runner.row);
        children.push(runner._child);
        readers.spawn(read(index, runner.input, sender.clone()));
    }
    drop(sender);
    let mut gathering = Gathering::new(rows);
    sleep_until(start).await;
    let observation = Observation::begin(plan, start);
    let over = tokio::select! {
        () = gathering.measured(&mut messages, view, plan) => false,
        () = &mut *interrupt => true,
    };
    let observed = observation.end();
    let stopped = over || {
        view.say("the runners read everything back");
        tokio::select! {
            () = gathering.ended(&mut messages, view, plan) => false,
            () = &mut *interrupt => true,
        }
    };
    if stopped {
        join_all(outputs.iter_mut().map(|output| output.send(&Order::Stop))).await;
        drop(timeout(STOP_TIMEOUT, gathering.ended(&mut messages, view, plan)).await);
    }
    let mut found = gathering.found(view, plan);
    found.interrupted |= stopped;
    Ok(Some((found, observed)))
}

/// Greets a runner, compares clocks, hands out its share and waits until its files are made.
async fn meet(ends: Ends, task: Task, clock: &dyn Clock) -> Result<Runner, Error> {
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
        _ => {
            return Err(failed("it ended without a word; does its command run `flotilla loadtest worker`?".to_owned()));
        }
    };
    let (mut clock_ahead_ms, mut round_trip_ms) = (0.0, f64::INFINITY);
    for number in 0..PINGS {
        let (asked, asked_ms) = (clock.now(), clock.wall_ms());
        output.send(&Order::Ping(number)).await.map_err(broken)?;
        let pong = timeout(PING_TIMEOUT, input.next()).await.map_err(|_| failed("it does not answer".to_owned()))?;
        let Some(Reply::Pong(_, theirs_ms)) = pong.map_err(broken)? else {
            return Err(failed("it does not answer".to_owned()));
        };
        let took_ms = clock.now().saturating_duration_since(asked).as_secs_f64() * 1e3;
        if took_ms < round_trip_ms {
            // The wall clock has whole milliseconds, which a start at the same time does not need to be better than.
            (clock_ahead_ms, round_trip_ms) = (theirs_ms as f64 - asked_ms as f64 - took_ms / 2.0, took_ms);
        }
    }
    output.send(&Order::Task(Box::new(task))).await.map_err(broken)?;
    match input.next().await.map_err(broken)? {
        Some(Reply::Ready) => {}
        Some(Reply::Failed(why)) => return Err(failed(why)),
        _ => return Err(failed("it ended before its files were made".to_owned())),
    }
    let row = WorkerRow { name, command, version, cpus, clock_ahead_ms, round_trip_ms, ..WorkerRow::default() };
    Ok(Runner { row, input, output, _child: child })
}

async fn read(index: usize, mut input: Input<Reply>, messages: mpsc::Sender<(usize, Option<Reply>)>) {
    loop {
        let reply = input.next().await.unwrap_or_else(|error| Some(Reply::Failed(error.to_string())));
        let last = matches!(reply, None | Some(Reply::Done(..) | Reply::Failed(_)));
        if messages.send((index, reply)).await.is_err() || last {
            return;
        }
    }
}

/// What runners have told so far.
struct Gathering {
    rows: Vec<WorkerRow>,
    seconds: Seconds,
    measured: Vec<bool>,
    /// How each ended: what it found, or why not.
    ended: Vec<Option<Ended>>,
    series: Series,
}

impl Gathering {
    fn new(rows: Vec<WorkerRow>) -> Self {
        let (measured, ended) = (vec![false; rows.len()], rows.iter().map(|_| None).collect());
        Self { rows, seconds: Seconds::default(), measured, ended, series: Series::default() }
    }

    /// Takes messages until all have sent their load.
    async fn measured(&mut self, messages: &mut Messages, view: &mut View, plan: &Plan) {
        while self.measured.contains(&false) {
            let Some((index, reply)) = messages.recv().await else { return };
            self.take(index, reply, view, plan);
        }
    }

    /// Takes messages until all have reported.
    async fn ended(&mut self, messages: &mut Messages, view: &mut View, plan: &Plan) {
        while self.ended.iter().any(Option::is_none) {
            let Some((index, reply)) = messages.recv().await else { return };
            self.take(index, reply, view, plan);
        }
    }

    fn take(&mut self, index: usize, reply: Option<Reply>, view: &mut View, plan: &Plan) {
        let ended = match reply {
            Some(Reply::Second(second)) => {
                self.seconds.add(&second.0, &second.1);
                let sending = self.measured.iter().filter(|measured| !**measured).count();
                self.show(sending, view, plan);
                return;
            }
            Some(Reply::Measured) => {
                self.measured[index] = true;
                return;
            }
            Some(Reply::Done(found, late_s)) => Ok((found, late_s)),
            Some(Reply::Failed(why)) => Err(why),
            Some(_) => Err("it said something that is not understood here".to_owned()),
            None => Err("its connection ended".to_owned()),
        };
        self.measured[index] = true;
        self.ended[index].get_or_insert(ended);
    }

    /// Shows the seconds of which so many runners, or nobody any more, have told.
    fn show(&mut self, runners: usize, view: &mut View, plan: &Plan) {
        while let Some((step, latency)) = self.seconds.next(runners) {
            let phases = spans(&plan.profile.phases);
            let phase = phases.iter().find(|phase| step.at_s < phase.to_s).map_or("last answers", |phase| &phase.name);
            view.show(phase, &step, &latency);
            self.series.push(step);
        }
    }

    /// Adds up what was found.
    fn found(mut self, view: &mut View, plan: &Plan) -> Found {
        self.show(0, view, plan);
        let (mut sum, mut missing): (Option<(Found, f64)>, Vec<_>) = (None, Vec::new());
        for (mut row, ended) in self.rows.into_iter().zip(self.ended) {
            match ended.unwrap_or_else(|| Err("it did not report in time".to_owned())) {
                Ok((mut found, late_s)) => {
                    row.requests = found.stats.total.ok + found.stats.total.failed;
                    row.p99_ms = found.stats.total.latency.latencies().map(|latencies| latencies.p99);
                    row.lag_p99_ms = found.stats.lag.at_ms(0.99);
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
        sum.phases = spans(&plan.profile.phases);
        sum
    }
}

/// What a runner found and how many seconds late it began, or why it did not report.
type Ended = Result<(Box<Found>, f64), String>;
type Messages = mpsc::Receiver<(usize, Option<Reply>)>;
