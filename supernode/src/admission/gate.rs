//! Admission as requests use it: they wait for a permit, hold it while they are under way, and give it back by dropping it.
//!
//! What is decided is the engine's affair; here are the tasks that wait for it, and what is counted.

mod permit;
#[cfg(test)]
mod tests;

pub use permit::Permit;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_api::{
    ClusterName, Code, Problem, RequestId,
    explain::{Explanation, Refusal},
    peer::{Answered, ClusterReport, Felt},
    queue::{EntryStatus, Lane, QueueCounts, SideStatus},
};
use flotilla_env::{Clock, Entropy};
use flotilla_http_server::{ApiError, DocumentCache};
use http::StatusCode;
use metrics::{counter, gauge, histogram};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    class::Ask,
    engine::{Action, Engine, Event, PermitId, Settings, TICK_EVERY, WaiterId},
};

/// The gate of one supernode. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    documents: DocumentCache,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    begun: Instant,
    /// Until when somebody is refused at once, per lane, in microseconds after `begun`: as long as nobody is, nothing
    /// is locked to find that out.
    shut_until_us: [AtomicU64; 2],
}

struct State {
    engine: Engine,
    next: u64,
    waiters: HashMap<WaiterId, Sender>,
    felt: BTreeMap<ClusterName, Counted>,
}

/// What was answered by a cluster since its last report.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    reads: Answered,
    writes: Answered,
    others: u32,
    failed: u32,
    bytes: u64,
}

enum Told {
    Granted { cluster: Option<ClusterName>, stolen: bool },
    Refused { why: Refusal, after: Duration },
}

/// What was answered, for how long answers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A read, to the head of its answer.
    Read,
    /// A small write whose body was kept.
    Write,
    /// Anything whose time says nothing of how busy the cluster is.
    Other,
}

impl Gate {
    /// Makes a gate that knows no cluster. `documents` tell which keys are good still.
    #[must_use]
    pub fn new(settings: Settings, documents: DocumentCache, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let begun = clock.now();
        let engine = Engine::new(settings, begun);
        let state = Mutex::new(State { engine, next: 0, waiters: HashMap::new(), felt: BTreeMap::new() });
        Self(Arc::new(Inner { state, documents, clock, entropy, begun, shut_until_us: Default::default() }))
    }

    /// Lets time pass for those who wait, until `stop`; refuses all of them then.
    pub async fn run(&self, stop: CancellationToken) {
        let mut every = tokio::time::interval(TICK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            self.apply(Event::Tick);
            self.show();
        }
        self.apply(Event::Closing);
    }

    /// Refuses a request before anything is looked up for it, if every cluster would refuse it now; see the engine's
    /// rule. `ask` is made only if anybody is refused so; its place does not matter.
    ///
    /// # Errors
    /// 429 `queue_full` with a Retry-After. Nothing was done.
    pub fn early(&self, lane: Lane, ask: impl FnOnce() -> Ask) -> Result<(), ApiError> {
        let until_us = self.0.shut_until_us[lane as usize].load(Ordering::Relaxed);
        if until_us == 0 {
            return Ok(());
        }
        let now = self.0.clock.now();
        if self.micros(now) >= until_us {
            return Ok(());
        }
        let refused = self.lock().engine.early(&ask(), now, &mut || self.0.entropy.u64());
        match refused {
            None => Ok(()),
            Some((why, after)) => {
                count_refused(why);
                Err(refusal(why, after))
            }
        }
    }

    /// Waits until a request may be sent to a cluster.
    ///
    /// # Errors
    /// 429 `queue_full`, 503 `queue_timeout`, `cluster_unavailable` or `not_ready`, each with a Retry-After; 401 `unauthenticated`
    /// if its key was revoked while it waited. Nothing was done.
    ///
    /// # Cancel safety
    /// A dropped future leaves the queue, or gives the permit back.
    pub async fn admit(&self, ask: Ask) -> Result<Permit, ApiError> {
        self.ask(ask).await?.map_err(|(why, after)| refusal(why, after))
    }

    /// As [`Gate::admit`]; nothing for a request that would have to wait and does not want to.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    ///
    /// # Cancel safety
    /// As [`Gate::admit`].
    pub async fn admit_unless_waiting(&self, ask: Ask) -> Result<Option<Permit>, ApiError> {
        match self.ask(ask).await? {
            Ok(permit) => Ok(Some(permit)),
            Err((Refusal::WouldWait, _)) => Ok(None),
            Err((why, after)) => Err(refusal(why, after)),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Result<Permit, (Refusal, Duration)>, ApiError> {
        // Waiters are numbered from 1 on, so permit 0 is one that the engine never gave: it counts and takes back nothing.
        flotilla_env::failpoint!("admission.open", |_| Ok(Ok(Permit::new(
            self.clone(),
            PermitId(0),
            self.anyone(&ask),
            ask.clone()
        ))));
        flotilla_env::failpoint!("supernode.queued");
        let (came, key) = (ask.first.unwrap_or_else(|| self.0.clock.now()), ask.key);
        let (waiter, told) = self.arrive(ask.clone());
        let mut left = LeaveOnDrop { gate: self, waiter: Some(waiter) };
        // The sender is dropped without a word only if the engine forgets a waiter.
        let told = told.await.map_err(|_| ApiError::new(Code::Internal, "the request was lost in the queue"))?;
        left.waiter = None;
        match told {
            Told::Granted { cluster, stolen } => {
                let ask = Ask { first: Some(came), ..ask };
                let mut permit = Permit::new(self.clone(), PermitId(waiter.0), cluster, ask);
                // Here, where all that wait come by: a key that was revoked meanwhile opens nothing, and its place is another's.
                permit.note(self.0.documents.recheck(key))?;
                flotilla_env::failpoint!("supernode.granted");
                if stolen {
                    flotilla_env::failpoint!("supernode.stolen");
                }
                Ok(Ok(permit))
            }
            Told::Refused { why, after } => Ok(Err((why, after))),
        }
    }

    /// A cluster for a request that nobody counts.
    #[cfg(feature = "failpoints")]
    fn anyone(&self, ask: &Ask) -> Option<ClusterName> {
        use super::class::Place;

        match &ask.place {
            Place::Home(cluster) => Some(cluster.clone()),
            Place::Everywhere => None,
            Place::Any => {
                let heard = self.status().into_iter().filter(|side| side.fresh).filter_map(|side| side.cluster);
                heard.max_by_key(|_| self.0.entropy.u64())
            }
        }
    }

    fn arrive(&self, ask: Ask) -> (WaiterId, oneshot::Receiver<Told>) {
        let (sender, told) = oneshot::channel();
        let waiter = {
            let mut state = self.lock();
            state.next += 1;
            let waiter = WaiterId(state.next);
            state.waiters.insert(waiter, sender);
            waiter
        };
        self.apply(Event::Arrived(waiter, ask));
        (waiter, told)
    }

    /// Takes a cluster's report and gives what was felt of it since the one before.
    pub fn reported(&self, report: &ClusterReport) -> Felt {
        let now = self.0.clock.now();
        let felt = {
            let mut state = self.lock();
            let Counted { reads, writes, others, failed, bytes } =
                state.felt.remove(&report.cluster).unwrap_or_default();
            Felt { reads, writes, others, failed, bytes, ..state.engine.felt(&report.cluster, now) }
        };
        self.apply(Event::Heard(report.cluster.clone(), report.offer, report.nodes.as_slice().into()));
        felt
    }

    /// Notes whether a cluster gets new keys, whatever its reports say.
    pub fn retires(&self, cluster: &ClusterName, on: bool) {
        self.apply(Event::Retires(cluster.clone(), on));
    }

    /// Counts an answer of a cluster, and how long it took.
    pub fn answered(&self, cluster: &ClusterName, kind: Kind, took: Duration) {
        let mut state = self.lock();
        let counted = state.felt.entry(cluster.clone()).or_default();
        let answered = match kind {
            Kind::Read => &mut counted.reads,
            Kind::Write => &mut counted.writes,
            Kind::Other => {
                counted.others = counted.others.saturating_add(1);
                return;
            }
        };
        answered.count = answered.count.saturating_add(1);
        answered.us = answered.us.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts an error that a request ended with: the cluster's, if it has more than it can do or is lost; else it says
    /// nothing.
    pub fn failed(&self, cluster: &ClusterName, status: StatusCode) {
        if ![429, 503, 504].contains(&status.as_u16()) {
            return self.answered(cluster, Kind::Other, Duration::ZERO);
        }
        let mut state = self.lock();
        let counted = state.felt.entry(cluster.clone()).or_default();
        counted.failed = counted.failed.saturating_add(1);
    }

    /// Counts bytes of a body that moved.
    pub fn moved_bytes(&self, cluster: &ClusterName, bytes: u64) {
        let mut state = self.lock();
        let counted = state.felt.entry(cluster.clone()).or_default();
        counted.bytes = counted.bytes.saturating_add(bytes);
    }

    /// Tells of all queues.
    #[must_use]
    pub fn status(&self) -> Vec<SideStatus> {
        self.lock().engine.status(self.0.clock.now())
    }

    /// Tells of those that wait, of one principal or of all.
    #[must_use]
    pub fn entries(&self, principal: Option<&str>) -> Vec<EntryStatus> {
        self.lock().engine.entries(principal, self.0.clock.now())
    }

    /// Tells of one that waits.
    #[must_use]
    pub fn entry(&self, request: &RequestId) -> Option<EntryStatus> {
        self.lock().engine.entry(request, self.0.clock.now())
    }

    /// Tells how much is under way and waits for a cluster; none if nothing is known of it.
    #[must_use]
    pub fn counts(&self, cluster: &ClusterName) -> Option<QueueCounts> {
        self.lock().engine.counts(cluster, self.0.clock.now())
    }

    /// Tells what became of a request, if it is remembered.
    #[must_use]
    pub fn explain(&self, request: &RequestId) -> Option<Explanation> {
        self.lock().engine.explain(request, self.0.clock.now())
    }

    fn apply(&self, event: Event) {
        let told = {
            let state = &mut *self.lock();
            let now = self.0.clock.now();
            let actions = state.engine.apply(event, now, &mut || self.0.entropy.u64());
            if actions.iter().any(|action| matches!(action, Action::Refuse { .. })) {
                self.note_shut(&state.engine);
            }
            let to = |action| take_sender(&action, &mut state.waiters).map(|sender| (sender, action));
            actions.into_iter().filter_map(to).collect::<Vec<_>>()
        };
        // Told and counted after the lock is let go of: who is woken may come back at once.
        for (sender, action) in told {
            count(&action);
            // Who is gone says so itself.
            let _ = sender.send(told_of(action));
        }
    }

    fn note_shut(&self, engine: &Engine) {
        for lane in Lane::ALL {
            let until_us = engine.shut_until(lane).map_or(0, |until| self.micros(until));
            self.0.shut_until_us[lane as usize].store(until_us, Ordering::Relaxed);
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.0.begun).as_micros()).unwrap_or(u64::MAX)
    }

    fn show(&self) {
        for side in self.status() {
            let Some(cluster) = side.cluster.as_ref().map(ToString::to_string) else { continue };
            for (kind, count) in [("offered", side.credits), ("in_flight", side.in_flight), ("streams", side.streams)] {
                gauge!("flotilla_credits", "cluster" => cluster.clone(), "kind" => kind).set(f64::from(count));
            }
            let waiting = side.waiting();
            let bytes: u64 = side.lanes.iter().map(|lane| lane.bytes).sum();
            gauge!("flotilla_queue_depth", "cluster" => cluster.clone()).set(f64::from(waiting));
            #[allow(clippy::cast_precision_loss)] // gauges are floats
            gauge!("flotilla_queue_bytes", "cluster" => cluster).set(bytes as f64);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Sender = oneshot::Sender<Told>;

fn take_sender(action: &Action, waiters: &mut HashMap<WaiterId, Sender>) -> Option<Sender> {
    match action {
        Action::Grant { waited, .. } if !waited.is_zero() && forgets() => None,
        Action::Grant { to, .. } | Action::Refuse { to, .. } => waiters.remove(to),
    }
}

fn told_of(action: Action) -> Told {
    match action {
        Action::Grant { cluster, stolen_from, .. } => Told::Granted { cluster, stolen: stolen_from.is_some() },
        Action::Refuse { why, after, .. } => Told::Refused { why, after },
    }
}

fn count(action: &Action) {
    match action {
        Action::Grant { cluster: Some(cluster), why, stolen_from, waited, .. } => {
            let name = cluster.to_string();
            counter!("flotilla_routed_total", "cluster" => name.clone(), "why" => why.as_str()).increment(1);
            histogram!("flotilla_queue_wait_seconds", "cluster" => name.clone()).record(waited.as_secs_f64());
            if let Some(from) = stolen_from {
                counter!("flotilla_stolen_total", "from" => from.to_string(), "to" => name).increment(1);
            }
        }
        Action::Grant { cluster: None, .. } => {}
        // It takes a ticket instead.
        Action::Refuse { why: Refusal::WouldWait, .. } => {}
        Action::Refuse { why, .. } => count_refused(*why),
    }
}

/// Whether a request that waited is left without its answer; only where a test asks for that.
fn forgets() -> bool {
    flotilla_env::failpoint!("admission.forget", |_| true);
    false
}

fn count_refused(why: Refusal) {
    counter!("flotilla_refused_total", "code" => why.code().as_str(), "why" => why.as_str()).increment(1);
}

fn refusal(why: Refusal, after: Duration) -> ApiError {
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    Problem::new(why.code(), format!("{}; nothing was done", why.sentence())).retry_after_ms(after_ms).into()
}

struct LeaveOnDrop<'a> {
    gate: &'a Gate,
    waiter: Option<WaiterId>,
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.gate.lock().waiters.remove(&waiter);
            self.gate.apply(Event::Left(waiter));
        }
    }
}
