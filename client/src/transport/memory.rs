//! The transport of tests: calls into services of the same process, through delay, loss and partition; knows no socket.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_env::Entropy;
use http::{HeaderMap, Method, Request, Response, header::CONTENT_LENGTH};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use super::{Error, Lane, Transport};
use crate::body::{self, Body, BoxError};

type Host = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// A network within one process: hosts by name (`HOST:PORT`) and the faults between them.
///
/// Cheap to clone; all clones are one network. Without faults a request is delivered at once and in the caller's task.
#[derive(Debug, Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    resumed: Arc<watch::Sender<()>>,
    entropy: Arc<dyn Entropy>,
}

#[derive(Default)]
struct State {
    hosts: HashMap<String, Host>,
    cuts: HashSet<(String, String)>,
    isolated: HashSet<String>,
    stalled: HashSet<String>,
    delay: (Duration, Duration),
    loss_permille: u32,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<_> = self.hosts.keys().collect();
        f.debug_struct("State").field("hosts", &hosts).field("cuts", &self.cuts).finish_non_exhaustive()
    }
}

impl Network {
    /// Makes a network without hosts and faults; `entropy` decides what is lost and how long a delay is.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { state: Arc::default(), resumed: Arc::default(), entropy }
    }

    /// Puts a service (an axum router, for example) on the network, in place of one of the same name.
    pub fn serve<S, B>(&self, host: impl Into<String>, service: S)
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service.map_response(|response: Response<B>| response.map(body::from));
        self.lock().hosts.insert(host.into(), BoxCloneSyncService::new(service));
    }

    /// Takes a host off the network, as if its process had ended: connects are refused.
    pub fn remove(&self, host: &str) {
        self.lock().hosts.remove(host);
    }

    /// Gives the transport of one process, which is called `caller` when links are cut.
    #[must_use]
    pub fn transport(&self, caller: impl Into<String>) -> Arc<InMemory> {
        Arc::new(InMemory { caller: caller.into(), network: self.clone() })
    }

    /// Delays every request by a random time between the two.
    pub fn set_delay(&self, least: Duration, most: Duration) {
        self.lock().delay = (least, most.max(least));
    }

    /// Loses so many of 1,000 exchanges: one half before the request arrives, the other half after it was executed.
    pub fn set_loss(&self, permille: u32) {
        self.lock().loss_permille = permille;
    }

    /// Cuts one direction of a link: requests of `from` to `to`, and answers of `from` to `to`.
    pub fn cut(&self, from: impl Into<String>, to: impl Into<String>) {
        self.lock().cuts.insert((from.into(), to.into()));
    }

    /// Heals one direction of a link.
    pub fn heal(&self, from: &str, to: &str) {
        self.lock().cuts.remove(&(from.to_owned(), to.to_owned()));
    }

    /// Cuts all links of one host or caller, both ways.
    pub fn isolate(&self, name: impl Into<String>) {
        self.lock().isolated.insert(name.into());
    }

    /// Stops a host or caller as SIGSTOP does: links stay up, and nothing moves on them until [`Network::resume`].
    pub fn stall(&self, name: impl Into<String>) {
        self.lock().stalled.insert(name.into());
    }

    /// Lets a stopped host or caller go on where it was.
    pub fn resume(&self, name: &str) {
        self.lock().stalled.remove(name);
        self.resumed.send_replace(());
    }

    /// Heals all links and isolations; delay and loss stay.
    pub fn heal_all(&self) {
        let mut state = self.lock();
        state.cuts.clear();
        state.isolated.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        let state = self.lock();
        let isolated = state.isolated.contains(from) || state.isolated.contains(to);
        isolated || (!state.cuts.is_empty() && state.cuts.contains(&(from.to_owned(), to.to_owned())))
    }

    fn is_stalled(&self, from: &str, to: &str) -> bool {
        let state = self.lock();
        state.stalled.contains(from) || state.stalled.contains(to)
    }

    /// Waits while one of the two is stopped.
    async fn flowing(self, from: String, to: String) {
        let mut resumed = self.resumed.subscribe();
        while self.is_stalled(&from, &to) {
            if resumed.changed().await.is_err() {
                return; // not while `self` holds the sender
            }
        }
    }

    fn draw_delay(&self) -> Duration {
        let (least, most) = self.lock().delay;
        let span_ns = u64::try_from((most - least).as_nanos()).unwrap_or(u64::MAX);
        if span_ns == 0 { least } else { least + Duration::from_nanos(self.entropy.u64() % span_ns) }
    }

    fn draw_loss(&self) -> Loss {
        let permille = self.lock().loss_permille;
        if permille == 0 {
            return Loss::None;
        }
        let drawn = self.entropy.u64();
        match (drawn % 1000 < u64::from(permille), drawn >> 63) {
            (false, _) => Loss::None,
            (true, 0) => Loss::Request,
            (true, _) => Loss::Answer,
        }
    }
}

/// What is lost of an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    Request,
    Answer,
}

/// One process's transport on a [`Network`].
#[derive(Debug, Clone)]
pub struct InMemory {
    caller: String,
    network: Network,
}

impl InMemory {
    fn guard(&self, from: &str, to: &str, body: Body) -> Body {
        let (network, from, to) = (self.network.clone(), from.into(), to.into());
        Guarded { inner: body, network, from, to, stalled: None }.boxed_unsync()
    }
}

#[async_trait]
impl Transport for InMemory {
    async fn send(&self, _lane: Lane, request: Request<Body>) -> Result<Response<Body>, Error> {
        let Some(target) = request.uri().authority().map(ToString::to_string) else {
            return Err(Error::Invalid("request names no host".into()));
        };
        let delay = self.network.draw_delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let flowing = || self.network.clone().flowing(self.caller.clone(), target.clone());
        flowing().await;
        let interrupted = |why: &str| Error::Interrupted { target: target.clone(), source: why.into() };
        let host = self.network.lock().hosts.get(&target).cloned();
        let host = match host {
            Some(host) if !self.network.is_cut(&self.caller, &target) => host,
            Some(_) => return Err(Error::Unreachable { target, source: "link is cut".into() }),
            None => return Err(Error::Unreachable { target, source: "no such host".into() }),
        };
        let loss = self.network.draw_loss();
        if loss == Loss::Request {
            return Err(interrupted("request was lost"));
        }
        let head = request.method() == Method::HEAD;
        let mut request = request.map(|body| self.guard(&self.caller, &target, body));
        announce_length(&request.body().size_hint(), request.headers_mut());
        let response = host.oneshot(request).await.unwrap_or_else(|never| match never {});
        flowing().await;
        if loss == Loss::Answer {
            return Err(interrupted("answer was lost"));
        }
        if self.network.is_cut(&target, &self.caller) {
            return Err(interrupted("link is cut"));
        }
        let mut response = response.map(|body| self.guard(&target, &self.caller, body));
        if head {
            return Ok(response.map(|_| body::empty()));
        }
        announce_length(&response.body().size_hint(), response.headers_mut());
        Ok(response)
    }
}

/// Does what HTTP/1.1 does for a body of known length.
fn announce_length(hint: &SizeHint, headers: &mut HeaderMap) {
    if let Some(length) = hint.exact().filter(|length| *length > 0) {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// A body that breaks off where its link is cut, and rests while one of its ends is stopped.
struct Guarded {
    inner: Body,
    network: Network,
    from: String,
    to: String,
    stalled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.network.is_cut(&self.from, &self.to) {
            return Poll::Ready(Some(Err(body::Error::new("link is cut"))));
        }
        while self.stalled.is_some() || self.network.is_stalled(&self.from, &self.to) {
            let flowing = self.network.clone().flowing(self.from.clone(), self.to.clone());
            ready!(self.stalled.get_or_insert_with(|| Box::pin(flowing)).as_mut().poll(cx));
            self.stalled = None;
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
