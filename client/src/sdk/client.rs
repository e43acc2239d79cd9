//! The client handle: addresses, credential and seams; knows no operation.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use flotilla_api::RequestId;
use flotilla_env::{Clock, Entropy};
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery},
};

use super::{
    error::Error,
    nodes::{ClusterNodes, Learn, Nodes, is_own_machine},
    retry::{RETRIES, RETRIES_MAX},
};
use crate::transport::{Http, Transport};

/// What a [`Client`] needs to know.
#[derive(Clone)]
pub struct Options {
    /// Addresses of the API, each `http://HOST:PORT`; the first one that answers is used until it does not.
    pub api: Vec<String>,
    /// The bearer token; empty sends none.
    pub token: String,
    /// How often a request is tried again, at most 100; 0 only goes on to another address.
    pub retries: u32,
    /// Addresses of the clusters' nodes as they were learned before, with this token and these addresses of the API: files are asked
    /// for there while none of `api` answers. Addresses of this machine itself are used if all of `api` are such, and else left out.
    pub nodes: Vec<ClusterNodes>,
    /// How they are learned anew.
    pub learn: Learn,
}

impl Default for Options {
    fn default() -> Self {
        Self { api: Vec::new(), token: String::new(), retries: RETRIES, nodes: Vec::new(), learn: Learn::Beside }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("api", &self.api).field("retries", &self.retries).finish_non_exhaustive()
    }
}

/// A client of a Flotilla deployment.
///
/// Cheap to clone; clones share connections and the address in use.
#[derive(Debug, Clone)]
pub struct Client(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) addresses: Addresses,
    pub(super) nodes: Nodes,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) retries_max: u32,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) transport: Arc<dyn Transport>,
}

impl Client {
    /// Makes a client over TCP.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there is no address, one is not `http://HOST:PORT`, or the token has characters no header takes.
    pub fn new(options: Options, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, Error> {
        Self::with_transport(options, clock, entropy, Arc::new(Http::new()))
    }

    /// Makes a client over any transport.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_transport(
        options: Options,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, Error> {
        let addresses = Addresses::parse(&options.api)?;
        let nodes = Nodes::new(&options.nodes, options.learn, addresses.are_own_machines(), clock.now());
        let token = options.token.trim();
        let authorization = match token.is_empty() {
            true => None,
            false => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                    .map_err(|_| Error::Invalid("the token has characters that no header takes".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let retries_max = options.retries.min(RETRIES_MAX);
        Ok(Self(Arc::new(Inner { addresses, nodes, authorization, retries_max, clock, entropy, transport })))
    }

    pub(super) fn new_key(&self) -> RequestId {
        RequestId::from_bits(self.0.entropy.u128())
    }
}

/// The addresses of the API and which one is in use.
#[derive(Debug)]
pub(super) struct Addresses {
    list: Vec<Authority>,
    current: AtomicUsize,
}

impl Addresses {
    fn parse(api: &[String]) -> Result<Self, Error> {
        if api.is_empty() {
            return Err(Error::Invalid("no address of the API is given".into()));
        }
        let list = api.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { list, current: AtomicUsize::new(0) })
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether all of them are this machine.
    fn are_own_machines(&self) -> bool {
        self.list.iter().all(|address| is_own_machine(address.host()) == Some(true))
    }

    /// Gives the address in use and its place.
    pub(super) fn current(&self) -> (usize, &Authority) {
        let place = self.current.load(Ordering::Relaxed);
        (place, &self.list[place])
    }

    /// Goes on to the next address, unless another request already has.
    pub(super) fn leave(&self, place: usize) {
        let next = (place + 1) % self.list.len();
        let _ = self.current.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

pub(super) fn parse(text: &str) -> Result<Authority, Error> {
    let wrong = || Error::Invalid(format!("'{text}' is not an address like http://HOST:PORT"));
    let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
    let bare = uri.path_and_query().is_none_or(|p: &PathAndQuery| p.as_str() == "/");
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if bare && !authority.as_str().contains('@') => Ok(authority.clone()),
        _ => Err(wrong()),
    }
}
