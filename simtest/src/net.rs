//! The network between the machines: messages take their time, get lost, meet cut links and processes that have ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_client::{
    Body, InMemory, Lane, Network, Transport,
    body::{self, BoxError},
    transport::Error,
};
use flotilla_cluster_node::Service;
use flotilla_env::Entropy;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    lock, note,
    plan::{Plan, Plant},
    power::Power,
    trace::Trace,
};

/// How long a connect to a machine that does not answer is tried: as the real transport does.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a broken connection looks alive to the one who waits for an answer on it.
const SILENCE: Duration = Duration::from_secs(8);

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// The shortest and the longest way of a message, in microseconds.
    pub delay_us: (u64, u64),
    /// Of 1,000 messages and answers, so many are lost with their connection.
    pub lost_permille: u32,
    /// Of 1,000 messages and answers, so many are sent again by the network, some hundred milliseconds late.
    pub late_permille: u32,
}

impl Weather {
    /// A good day.
    pub const FAIR: Self = Self { delay_us: (100, 1_000), lost_permille: 0, late_permille: 0 };
}

/// The network. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Net(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    network: Network,
    trace: Trace,
    messages: AtomicU64,
    state: Mutex<State>,
    /// Planted: what broke after it was sent is called unreachable.
    false_failures: bool,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    weather: Weather,
    cuts: BTreeSet<(String, String)>,
    powers: BTreeMap<String, Arc<Power>>,
}

/// What becomes of a message or an answer.
enum Fate {
    Arrives(Duration),
    Lost,
}

impl Net {
    /// Makes a network without machines.
    #[must_use]
    pub fn new(plan: &Plan, entropy: Arc<dyn Entropy>, trace: Trace) -> Self {
        let rng = StdRng::seed_from_u64(plan.seed);
        let false_failures = plan.plant == Some(Plant::FalseFailure);
        let state = State { rng, weather: Weather::FAIR, cuts: BTreeSet::new(), powers: BTreeMap::new() };
        let (messages, state) = (AtomicU64::new(0), Mutex::new(state));
        Self(Arc::new(Inner { network: Network::new(entropy), trace, messages, state, false_failures }))
    }

    /// Gives the time 0.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.0.trace.begun()
    }

    /// Puts a process on the network.
    pub fn serve(&self, host: &str, service: Service, power: Arc<Power>) {
        self.0.network.serve(host, service);
        lock(&self.0.state).powers.insert(host.to_owned(), power);
    }

    /// Takes a process off the network: connects are refused.
    pub fn remove(&self, host: &str) {
        self.0.network.remove(host);
        lock(&self.0.state).powers.remove(host);
    }

    /// Gives a process its transport.
    #[must_use]
    pub fn transport(&self, own: &str, power: Arc<Power>) -> Arc<Wire> {
        let (inner, false_failures) = (self.0.network.transport(own), self.0.false_failures);
        Arc::new(Wire { own: own.to_owned(), power, inner, net: self.clone(), false_failures })
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        lock(&self.0.state).weather = weather;
    }

    /// Cuts one direction of a link: nothing is refused, nothing arrives.
    pub fn cut(&self, from: &str, to: &str) {
        lock(&self.0.state).cuts.insert((from.to_owned(), to.to_owned()));
        self.0.network.cut(from, to);
    }

    /// Mends all links.
    pub fn heal_links(&self) {
        lock(&self.0.state).cuts.clear();
        self.0.network.heal_all();
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        lock(&self.0.state).cuts.contains(&(from.to_owned(), to.to_owned()))
    }

    fn power_of(&self, host: &str) -> Option<Arc<Power>> {
        lock(&self.0.state).powers.get(host).cloned()
    }

    fn fate(&self) -> Fate {
        let state = &mut *lock(&self.0.state);
        let (least, most) = state.weather.delay_us;
        let mut delay = Duration::from_micros(state.rng.random_range(least..=most));
        let drawn = state.rng.random_range(0..1000);
        if drawn < state.weather.lost_permille {
            return Fate::Lost;
        }
        if drawn < state.weather.lost_permille + state.weather.late_permille {
            delay += Duration::from_millis(state.rng.random_range(100..900));
        }
        Fate::Arrives(delay)
    }
}

/// One process's transport.
#[derive(Debug)]
pub struct Wire {
    own: String,
    power: Arc<Power>,
    inner: Arc<InMemory>,
    net: Net,
    false_failures: bool,
}

impl Wire {
    /// What a process that has ended does next.
    async fn alive(&self) {
        if self.power.is_off() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, lane: Lane, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.alive().await;
        let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let (net, trace) = (&self.net, &self.net.0.trace);
        let number = net.0.messages.fetch_add(1, Ordering::SeqCst);
        note!(trace, "#{number} {} > {target} {} {}", self.own, request.method(), request.uri().path());
        let unreachable = |why: &str| Error::Unreachable { target: target.clone(), source: why.into() };
        let interrupted = |why: &str| match self.false_failures {
            true => unreachable(why),
            false => Error::Interrupted { target: target.clone(), source: why.into() },
        };
        match net.fate() {
            Fate::Arrives(delay) => tokio::time::sleep(delay).await,
            Fate::Lost => {
                tokio::time::sleep(SILENCE).await;
                return Err(interrupted("the connection broke"));
            }
        }
        self.alive().await;
        if net.is_cut(&self.own, &target) || net.is_cut(&target, &self.own) {
            tokio::time::sleep(CONNECT_PATIENCE).await;
            note!(trace, "#{number} does not get through");
            return Err(unreachable("nobody answers"));
        }
        let Some(power) = net.power_of(&target).filter(|power| !power.is_off()) else {
            note!(trace, "#{number} is refused");
            return Err(unreachable("connection refused"));
        };
        let both = [self.power.clone(), power.clone()];
        let request = request.map(|inner| body::from(Alive { inner, ends: both.clone() }));
        let answer = tokio::select! {
            biased;
            answer = self.inner.send(lane, request) => answer,
            () = power.off() => Err(interrupted("the process ended")),
        };
        self.alive().await;
        match net.fate() {
            Fate::Arrives(delay) => tokio::time::sleep(delay).await,
            Fate::Lost => {
                note!(trace, "#{number} its answer is lost");
                tokio::time::sleep(SILENCE).await;
                return Err(interrupted("the connection broke"));
            }
        }
        self.alive().await;
        if net.is_cut(&target, &self.own) {
            note!(trace, "#{number} its answer does not get through");
            tokio::time::sleep(SILENCE).await;
            return Err(interrupted("the link is cut"));
        }
        if power.is_off() {
            note!(trace, "#{number} its receiver ended");
            return Err(interrupted("the process ended"));
        }
        let answer = answer?;
        note!(trace, "#{number} answered {}", answer.status().as_u16());
        Ok(answer.map(|inner| body::from(Alive { inner, ends: both })))
    }
}

/// A body that breaks off when one of its ends does.
struct Alive {
    inner: Body,
    ends: [Arc<Power>; 2],
}

impl http_body::Body for Alive {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ends.iter().any(|end| end.is_off()) {
            return Poll::Ready(Some(Err("the process ended".into())));
        }
        Pin::new(&mut self.inner).poll_frame(cx).map_err(body::Error::into_inner)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
