//! Sends a load: a dispatcher that puts arrivals into a queue at their time, and clients that take them from there.

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
    time::{Instant, sleep_until},
};

use super::{
    profile::{Pacing, Profile},
    random::Random,
    request::Line,
    run::Run,
    schedule::Schedule,
    stats::Stats,
};

/// Arrivals that may wait for a connection; more than that are dropped, which makes the run invalid.
const WAITING_MAX: usize = 200_000;
/// Arrivals that are put into the queue in one go before others may run.
const DISPATCH_BATCH: u32 = 256;
/// The wait of a closed loop's client after a failure, so that a server that is down is not asked in a tight loop.
const BACKOFF: Duration = Duration::from_millis(100);
/// How often a closed loop looks how late it is.
const LATENESS_EVERY: Duration = Duration::from_millis(20);
/// The streams of random numbers of clients begin here.
const CLIENTS_STREAM: u64 = 0x1_0000;

/// A load under way.
pub(crate) struct Engine {
    run: Arc<Run>,
    start: Instant,
    stats: Mutex<Stats>,
    queue: Mutex<VecDeque<Duration>>,
    arrived: Notify,
    all_arrived: AtomicBool,
    in_flight: AtomicU64,
    dropped: AtomicU64,
}

impl Engine {
    /// Makes a load that begins now.
    pub(crate) fn new(run: Arc<Run>) -> Arc<Self> {
        Arc::new(Self {
            start: run.clock.now(),
            run,
            stats: Mutex::default(),
            queue: Mutex::default(),
            arrived: Notify::new(),
            all_arrived: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
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
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives how many requests are under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Gives how many requests wait for a connection.
    pub(crate) fn waiting(&self) -> u64 {
        self.queue().len() as u64
    }

    /// Gives how many arrivals found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
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
            self.dispatch(Schedule::new(&profile.phases, profile.arrivals, seed)).await;
        }
        loop {
            tokio::select! {
                ended = clients.join_next() => match ended {
                    Some(ended) => ended.expect("a client neither panics nor is aborted while it is waited for"),
                    None => return,
                },
                () = self.tell_lateness(), if profile.pacing == Pacing::Closed => {}
            }
        }
    }

    /// Sleeps for a moment and notes how much longer it took: what a closed loop, which has no due times, can know of itself.
    async fn tell_lateness(&self) {
        let due = self.run.clock.now() + LATENESS_EVERY;
        sleep_until(due).await;
        self.stats().late(self.run.clock.now().saturating_duration_since(due));
    }

    async fn dispatch(&self, schedule: Schedule) {
        let mut in_a_row = 0;
        for at in schedule {
            let due = self.start + at;
            if due > self.run.clock.now() {
                sleep_until(due).await;
                in_a_row = 0;
            } else if in_a_row >= DISPATCH_BATCH {
                tokio::task::yield_now().await;
                in_a_row = 0;
            }
            in_a_row += 1;
            self.stats().late(self.elapsed().saturating_sub(at));
            let mut queue = self.queue();
            if queue.len() < WAITING_MAX {
                queue.push_back(at);
                drop(queue);
                self.arrived.notify_one();
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.all_arrived.store(true, Ordering::SeqCst);
        self.arrived.notify_waiters();
    }

    /// A client of an open loop: takes what has arrived, until nothing more will.
    async fn serve(self: Arc<Self>, mut line: Line, mut random: Random) {
        loop {
            let intended = loop {
                let mut arrived = pin!(self.arrived.notified());
                // From here on an arrival wakes this client, or another one that waits.
                arrived.as_mut().enable();
                if let Some(intended) = self.queue().pop_front() {
                    break intended;
                }
                if self.all_arrived.load(Ordering::SeqCst) {
                    return;
                }
                arrived.await;
            };
            self.request(&mut line, &mut random, Some(intended)).await;
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
    async fn request(&self, line: &mut Line, random: &mut Random, intended: Option<Duration>) -> bool {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.stats().sent();
        let sent = self.elapsed();
        let asked = self.run.ask(line, random).await;
        let ended = self.elapsed();
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let done = asked.done(self.start, intended.unwrap_or(sent), sent, ended);
        self.stats().done(&done);
        done.failure.is_none()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Duration>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
