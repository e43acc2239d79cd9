//! Questions to the supernodes: any of them can answer, so one that is dead or hangs must not hold anybody up.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flotilla_client::{Lane, PeerClient, peer::Error};
use flotilla_env::Clock;
use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

/// How long one supernode may take.
const ASK_DEADLINE: Duration = Duration::from_secs(3);
/// After how long without an answer the next one is asked as well: longer than a change of the directory takes.
const HEDGE_AFTER: Duration = Duration::from_millis(300);
/// For how long one that failed is asked after the others.
const SHUNNED_FOR: Duration = Duration::from_secs(2);

/// The supernodes as one node knows them. Cheap to clone.
#[derive(Clone)]
pub struct Supernodes {
    addresses: Arc<[String]>,
    peers: PeerClient,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The one that answered last.
    good: usize,
    /// When each of them failed last, if it has not answered since.
    failed: Vec<Option<Instant>>,
}

impl State {
    fn new(count: usize) -> Self {
        Self { good: 0, failed: vec![None; count] }
    }

    /// Gives all of them in the order to ask them in: the one that answered last and those behind it, then those that failed
    /// lately, the one whose failure is longest ago first.
    fn order(&self, now: Instant) -> Vec<usize> {
        let count = self.failed.len();
        let mut order: Vec<usize> = (0..count).map(|step| (self.good + step) % count).collect();
        let ago = |index: usize| self.failed[index].map(|at| now.duration_since(at)).filter(|ago| *ago < SHUNNED_FOR);
        order.sort_by_key(|index| ago(*index).map(Reverse));
        order
    }
}

impl Supernodes {
    /// Puts the parts together; `addresses` are `HOST:PORT` of peer listeners.
    #[must_use]
    pub fn new(addresses: Vec<String>, peers: PeerClient, clock: Arc<dyn Clock>) -> Self {
        let state = Arc::new(Mutex::new(State::new(addresses.len())));
        Self { addresses: addresses.into(), peers, clock, state }
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
    pub async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(&self, route: &str, request: &Q) -> Result<A, String> {
        let mut order = self.lock().order(self.clock.now()).into_iter();
        let ask = |index: usize| async move {
            let asked = self.peers.post(Lane::Control, &self.addresses[index], route, request, ASK_DEADLINE).await;
            (index, asked)
        };
        let mut asked = FuturesUnordered::new();
        let mut why = "none is configured".to_owned();
        loop {
            if asked.is_empty() {
                match order.next() {
                    Some(index) => asked.push(ask(index)),
                    None => return Err(why),
                }
            }
            tokio::select! {
                Some((index, answer)) = asked.next() => {
                    self.note(index, &answer);
                    match answer {
                        Ok(answer) => return Ok(answer),
                        Err(error) => {
                            why = format!("{}: {error}", self.addresses[index]);
                            // Those that are still waited for may hang.
                            asked.extend(order.next().map(&ask));
                        }
                    }
                }
                () = tokio::time::sleep(HEDGE_AFTER), if order.len() > 0 => asked.extend(order.next().map(&ask)),
            }
        }
    }

    fn note<A>(&self, index: usize, answer: &Result<A, Error>) {
        let mut state = self.lock();
        match answer {
            Ok(_) => {
                state.good = index;
                state.failed[index] = None;
            }
            Err(_) => state.failed[index] = Some(self.clock.now()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
