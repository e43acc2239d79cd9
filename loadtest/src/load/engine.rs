//! Sends a load: a dispatcher that puts arrivals into a queue at their time, and clients that take them from there.

mod seek;

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    knee,
    profile::{Pacing, Profile},
    random::Random,
    request::Line,
    requests::Requests,
    run::Run,
    schedule::{PhaseSpan, Schedule, spans},
    stats::Stats,
    trace::Request,
};

/// Arrivals that may wait for a connection; more than that are dropped, which makes the run invalid.
const WAITING_MAX: usize = 200_000;
/// Arrivals that are put into the queue in one go before others may run.
const DISPATCH_BATCH: u32 = 256;
/// The wait of a closed loop's client after a failure, so that a server that is down is not asked in a tight loop.
const BACKOFF: Duration = Duration::from_millis(100);
/// Arrivals after which it is looked at whether more are wanted.
const LOOK_EVERY: usize = 16;
/// How often a closed loop looks how late it is.
const LATENESS_EVERY: Duration = Duration::from_millis(20);
/// After the last arrival, what still waits for a connection is given up when this or thrice the time of a request is over.
const DRAIN_MIN: Duration = Duration::from_secs(30);
/// The streams of random numbers of clients begin here.
const CLIENTS_STREAM: u64 = 0x1_0000;

/// What is to be sent, and when since the start.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: Duration,
    /// A certain request; else one of the mix.
    request: Option<Request>,
}

/// A load under way.
pub(crate) struct Engine {
    run: Arc<Run>,
    start: Instant,
    stats: Mutex<Stats>,
    /// Writes down every request, if that is wanted.
    requests: Option<Requests>,
    queue: Mutex<VecDeque<Arrival>>,
    arrived: Notify,
    all_arrived: AtomicBool,
    in_flight: AtomicU64,
    dropped: AtomicU64,
    skipped: AtomicU64,
    phases: Mutex<Vec<PhaseSpan>>,
    knee: Mutex<Option<knee::Found>>,
    /// When the last arrival was due, once that is known.
    last_due: Mutex<Option<Duration>>,
}

impl Engine {
    /// Makes a load that begins now.
    pub(crate) fn new(run: Arc<Run>, requests: Option<Requests>) -> Arc<Self> {
        Arc::new(Self {
            start: run.clock.now(),
            run,
            requests,
            stats: Mutex::default(),
            queue: Mutex::default(),
            arrived: Notify::new(),
            all_arrived: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            phases: Mutex::default(),
            knee: Mutex::default(),
            last_due: Mutex::default(),
        })
    }

    /// Gives the moment of its beginning.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// Gives the time since its beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.run.clock.now().saturating_duration_since(self.start)
    }

    /// Gives what was counted so far.
    pub(crate) fn stats(&self) -> MutexGuard<'_, Stats> {
        lock(&self.stats)
    }

    /// Gives how many requests are under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Gives how many requests wait for a connection.
    pub(crate) fn waiting(&self) -> u64 {
        lock(&self.queue).len() as u64
    }

    /// Gives how many arrivals found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Gives how many requests of a trace were not sent, since their file was not there or another request was using it.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Gives the phases so far.
    pub(crate) fn phases(&self) -> Vec<PhaseSpan> {
        lock(&self.phases).clone()
    }

    /// Gives what a search for the highest rate found so far.
    pub(crate) fn knee(&self) -> Option<knee::Found> {
        lock(&self.knee).clone()
    }

    /// Gives the time from which on nothing was due any more; none if that has not come.
    pub(crate) fn last_due(&self) -> Option<Duration> {
        *lock(&self.last_due)
    }

    /// Ends the file of requests, if there is one.
    ///
    /// # Errors
    /// Those of writing it, also the earlier ones.
    pub(crate) fn finish_requests(&self) -> std::io::Result<()> {
        self.requests.as_ref().map_or(Ok(()), Requests::finish)
    }

    /// Sends all of it and waits for the last answer.
    ///
    /// # Cancel safety
    /// Dropped, requests under way are cut off; they may or may not have an effect.
    pub(crate) async fn send(self: Arc<Self>, profile: &Profile, seed: u64) {
        let mut clients = JoinSet::new();
        for index in 0..profile.connections {
            let (line, random) = (self.run.line(index), Random::of(seed, CLIENTS_STREAM + index as u64));
            match profile.pacing {
                Pacing::Open => clients.spawn(self.clone().serve(line, random)),
                Pacing::Closed => clients.spawn(self.clone().circle(line, random, profile.lasts())),
            };
        }
        if profile.pacing == Pacing::Open {
            self.clone().arrive(profile, seed).await;
            let drain = DRAIN_MIN.max(profile.timeout * 3);
            if timeout(drain, self.answered(&mut clients, false)).await.is_err() {
                self.give_up(drain);
            }
        } else {
            *lock(&self.phases) = spans(&profile.phases);
            *lock(&self.last_due) = Some(profile.lasts());
        }
        self.answered(&mut clients, profile.pacing == Pacing::Closed).await;
    }

    /// Lets everything arrive.
    async fn arrive(self: Arc<Self>, profile: &Profile, seed: u64) {
        if let Some(knee) = profile.knee {
            self.seek(knee, profile, seed).await;
        } else if let Some(file) = &profile.trace {
            let (name, to_s) = ("trace".to_owned(), file.trace.lasts().as_secs_f64());
            lock(&self.phases).push(PhaseSpan { name, from_s: 0.0, to_s, rate_from: 0.0, rate_to: 0.0 });
            let requests = file.trace.requests.iter();
            self.dispatch(requests.map(|request| Arrival { at: request.at, request: Some(*request) }), || false).await;
        } else {
            *lock(&self.phases) = spans(&profile.phases);
            let schedule = Schedule::new(&profile.phases, profile.arrivals, seed).offset(profile.offset);
            self.dispatch(schedule.map(|at| Arrival { at, request: None }), || false).await;
        }
        let planned = if profile.phases.is_empty() { self.elapsed() } else { profile.lasts() };
        *lock(&self.last_due) = Some(planned);
        self.all_arrived.store(true, Ordering::SeqCst);
        self.arrived.notify_waiters();
    }

    /// Waits until all clients have ended.
    async fn answered(&self, clients: &mut JoinSet<()>, tell_lateness: bool) {
        loop {
            tokio::select! {
                ended = clients.join_next() => match ended {
                    Some(ended) => ended.expect("a client neither panics nor is aborted while it is waited for"),
                    None => return,
                },
                () = self.tell_lateness(), if tell_lateness => {}
            }
        }
    }

    /// Counts what still waits as failed: whoever waits for so long has gone.
    fn give_up(&self, after: Duration) {
        let waiting = std::mem::take(&mut *lock(&self.queue));
        let now = self.elapsed();
        let why = format!("no connection was free for it {after:?} after the last request was due");
        let mut stats = self.stats();
        waiting.iter().for_each(|arrival| stats.abandoned(now.saturating_sub(arrival.at), &why));
    }

    /// Sleeps for a moment and notes how much longer it took: what a closed loop, which has no due times, can know of itself.
    async fn tell_lateness(&self) {
        let due = self.run.clock.now() + LATENESS_EVERY;
        sleep_until(due).await;
        self.stats().late(self.run.clock.now().saturating_duration_since(due));
    }

    /// Puts arrivals into the queue at their times, until `enough` says that no more are wanted.
    async fn dispatch(&self, arrivals: impl Iterator<Item = Arrival>, enough: impl Fn() -> bool) {
        let mut in_a_row = 0;
        for (number, arrival) in arrivals.enumerate() {
            let due = self.start + arrival.at;
            if due > self.run.clock.now() {
                sleep_until(due).await;
                in_a_row = 0;
            } else if in_a_row >= DISPATCH_BATCH {
                tokio::task::yield_now().await;
                in_a_row = 0;
            }
            if number.is_multiple_of(LOOK_EVERY) && enough() {
                return;
            }
            in_a_row += 1;
            self.stats().late(self.elapsed().saturating_sub(arrival.at));
            let mut queue = lock(&self.queue);
            if queue.len() < WAITING_MAX {
                queue.push_back(arrival);
                drop(queue);
                self.arrived.notify_one();
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A client of an open loop: takes what has arrived, until nothing more will.
    async fn serve(self: Arc<Self>, mut line: Line, mut random: Random) {
        loop {
            let arrival = loop {
                let mut arrived = pin!(self.arrived.notified());
                // From here on an arrival wakes this client, or another one that waits.
                arrived.as_mut().enable();
                if let Some(arrival) = lock(&self.queue).pop_front() {
                    break arrival;
                }
                if self.all_arrived.load(Ordering::SeqCst) {
                    return;
                }
                arrived.await;
            };
            self.request(&mut line, &mut random, Some(arrival)).await;
        }
    }

    /// A client of a closed loop: one request after the other.
    async fn circle(self: Arc<Self>, mut line: Line, mut random: Random, lasts: Duration) {
        while self.elapsed() < lasts {
            if !self.request(&mut line, &mut random, None).await {
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }

    /// Sends one request and counts it. Tells whether it was good.
    async fn request(&self, line: &mut Line, random: &mut Random, arrival: Option<Arrival>) -> bool {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.stats().sent();
        let sent = self.elapsed();
        let asked = match arrival.and_then(|arrival| arrival.request) {
            Some(request) => self.run.replay(request, line, random).await,
            None => Some(self.run.ask(line, random).await),
        };
        let ended = self.elapsed();
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let Some(asked) = asked else {
            self.stats().not_sent();
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let done = asked.done(self.start, arrival.map_or(sent, |arrival| arrival.at), sent, ended);
        self.stats().done(&done);
        if let Some(requests) = &self.requests {
            requests.write(&done);
        }
        done.failure.is_none()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
