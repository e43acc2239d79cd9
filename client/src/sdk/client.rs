//! The client handle: addresses, credential and seams; knows no operation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// How they are learned anew, and the addresses of supernodes that are not in `api`.
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

    /// Has these addresses asked as well from now on, after those that were given. What is no address is left out, and what is one of
    /// this machine, unless those that were given are.
    pub fn also_ask(&self, api: &[String]) {
        self.0.addresses.learn(api);
    }

    pub(super) fn new_key(&self) -> RequestId {
        RequestId::from_bits(self.0.entropy.u128())
    }
}

/// The most addresses of supernodes that are learned; a group has three, and a few spares.
const LEARNED_MAX: usize = 16;

/// The addresses of the API and which one is in use.
#[derive(Debug)]
pub(super) struct Addresses(Mutex<List>);

#[derive(Debug)]
struct List {
    /// Those that were given, then those that were learned.
    all: Vec<Authority>,
    given: usize,
    current: usize,
}

impl Addresses {
    fn parse(api: &[String]) -> Result<Self, Error> {
        if api.is_empty() {
            return Err(Error::Invalid("no address of the API is given".into()));
        }
        let all: Vec<Authority> = api.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
        Ok(Self(Mutex::new(List { given: all.len(), all, current: 0 })))
    }

    pub(super) fn count(&self) -> usize {
        self.lock().all.len()
    }

    /// Whether all that were given are this machine.
    fn are_own_machines(&self) -> bool {
        let list = self.lock();
        list.all[..list.given].iter().all(|address| is_own_machine(address.host()) == Some(true))
    }

    /// Gives the address in use.
    pub(super) fn current(&self) -> Authority {
        let list = self.lock();
        list.all[list.current].clone()
    }

    /// Goes on to the next address, unless another request already has.
    pub(super) fn leave(&self, address: &Authority) {
        let mut list = self.lock();
        if list.all[list.current] == *address {
            list.current = (list.current + 1) % list.all.len();
        }
    }

    /// Takes over what is known of the supernodes' addresses, in place of what was known before; those that were given stay. What is
    /// no address is left out.
    ///
    /// As with nodes, a server elsewhere that names an address of this machine has none that others can use, and who listens there
    /// must not get the token.
    pub(super) fn learn(&self, urls: &[String]) {
        let own_machine = self.are_own_machines();
        let fits = |address: &Authority| is_own_machine(address.host()) == Some(own_machine);
        let mut list = self.lock();
        let (current, given) = (list.all[list.current].clone(), list.given);
        list.all.truncate(given);
        for address in urls.iter().filter_map(|url| parse(url).ok()).filter(fits).take(LEARNED_MAX) {
            if !list.all.contains(&address) {
                list.all.push(address);
            }
        }
        list.current = list.all.iter().position(|address| *address == current).unwrap_or(0);
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(|host| format!("http://{host}:1")).collect()
    }

    #[test]
    fn learned_addresses_come_after_the_given_ones_and_go_again() {
        let addresses = Addresses::parse(&urls(&["a", "b"])).expect("good addresses");
        addresses.learn(&urls(&["b", "c", "not an address", "127.0.0.1"]));
        assert_eq!(addresses.count(), 3);
        for expect in ["a:1", "b:1", "c:1"] {
            let current = addresses.current();
            assert_eq!(current.as_str(), expect);
            addresses.leave(&current);
            addresses.leave(&current);
        }
        addresses.leave(&addresses.current());
        addresses.leave(&addresses.current());
        assert_eq!(addresses.current().as_str(), "c:1");
        addresses.learn(&urls(&["d", "c"]));
        assert_eq!(addresses.current().as_str(), "c:1", "it stays in use while it is known");
        addresses.learn(&urls(&["d"]));
        assert_eq!((addresses.current().as_str(), addresses.count()), ("a:1", 3));
    }
}
