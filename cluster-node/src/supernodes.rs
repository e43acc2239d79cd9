//! Questions to the supernodes: any of them can answer, so one that is dead or hangs must not hold anybody up.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flotilla_api::{Code, Problem};
use flotilla_client::{Lane, PeerClient, peer::Error};
use flotilla_env::Clock;
use flotilla_http_server::DocumentCache;
use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

/// How long one supernode may take.
const ASK_DEADLINE: Duration = Duration::from_secs(3);
/// After how long without an answer the next one is asked as well: longer than a change of the directory takes.
const HEDGE_AFTER: Duration = Duration::from_millis(300);
/// For how long one that failed is asked after the others.
const SHUNNED_FOR: Duration = Duration::from_secs(2);

/// Why no supernode gave an answer.
#[derive(Debug)]
pub enum Unanswered {
    /// None could; what the last one said.
    Silent(String),
    /// They did, and this cluster gets no new keys.
    Refused(Box<Problem>),
}

/// The supernodes as one node knows them: those of its settings, and those that the documents name. Cheap to clone.
#[derive(Clone)]
pub struct Supernodes {
    told: Arc<[String]>,
    documents: DocumentCache,
    peers: PeerClient,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The one that answered last.
    good: Option<String>,
    /// When each of them failed last, if it has not answered since.
    failed: BTreeMap<String, Instant>,
}

impl State {
    /// Gives all of them in the order to ask them in: the one that answered last and those behind it, then those that failed
    /// lately, the one whose failure is longest ago first. Forgets failures that are over.
    fn order(&mut self, mut all: Vec<String>, now: Instant) -> Vec<String> {
        self.failed.retain(|_, at| now.duration_since(*at) < SHUNNED_FOR);
        let good = all.iter().position(|address| Some(address) == self.good.as_ref()).unwrap_or(0);
        all.rotate_left(good);
        all.sort_by_key(|address| self.failed.get(address).map(|at| Reverse(now.duration_since(*at))));
        all
    }
}

impl Supernodes {
    /// Puts the parts together; `told` are `HOST:PORT` of peer listeners.
    #[must_use]
    pub fn new(told: Vec<String>, documents: DocumentCache, peers: PeerClient, clock: Arc<dyn Clock>) -> Self {
        Self { told: told.into(), documents, peers, clock, state: Arc::default() }
    }

    /// Gives the peer addresses of all: those of the settings first.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut all = self.told.to_vec();
        for supernode in self.documents.supernodes() {
            if !all.contains(&supernode.peer) {
                all.push(supernode.peer);
            }
        }
        all
    }

    /// The way to other processes.
    #[must_use]
    pub fn peers(&self) -> &PeerClient {
        &self.peers
    }

    /// Asks one after the other: the next one when one fails, and as well when one does not answer soon; gives the first answer. Only
    /// for what can be asked several times.
    ///
    /// # Errors
    /// What the last one said, if none answers.
    ///
    /// # Cancel safety
    /// A dropped future may leave questions on their way.
    pub async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        route: &str,
        request: &Q,
    ) -> Result<A, Unanswered> {
        let mut order = self.lock().order(self.addresses(), self.clock.now()).into_iter();
        let ask = |address: String| async move {
            let asked = self.peers.post(Lane::Control, &address, route, request, ASK_DEADLINE).await;
            (address, asked)
        };
        let mut asked = FuturesUnordered::new();
        let mut why = Unanswered::Silent("none is configured".to_owned());
        loop {
            if asked.is_empty() {
                match order.next() {
                    Some(address) => asked.push(ask(address)),
                    None => return Err(why),
                }
            }
            tokio::select! {
                Some((address, answer)) = asked.next() => {
                    self.note(&address, &answer);
                    match answer {
                        Ok(answer) => return Ok(answer),
                        Err(error) => {
                            why = match error {
                                Error::Problem(problem) if problem.code == Code::ClusterUnavailable => {
                                    Unanswered::Refused(problem)
                                }
                                error => Unanswered::Silent(format!("{address}: {error}")),
                            };
                            // Those that are still waited for may hang.
                            asked.extend(order.next().map(&ask));
                        }
                    }
                }
                () = tokio::time::sleep(HEDGE_AFTER), if order.len() > 0 => asked.extend(order.next().map(&ask)),
            }
        }
    }

    fn note<A>(&self, address: &str, answer: &Result<A, Error>) {
        let mut state = self.lock();
        match answer {
            Ok(_) => {
                state.good = Some(address.to_owned());
                state.failed.remove(address);
            }
            Err(_) => _ = state.failed.insert(address.to_owned(), self.clock.now()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
