//! A gateway's stock of places for new chunks, asked from the leader a handful at a time.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use flotilla_api::{
    NodeId,
    peer::{PlaceAnswer, PlaceRequest},
};
use flotilla_env::Clock;
use tokio::time::Instant;

use super::replicate::Hop;

/// How many places one request to the leader brings.
const STOCK: u32 = 16;
/// A place older than this was chosen on statistics that no longer hold.
const FRESH_FOR: Duration = Duration::from_millis(1000);
/// How long a node that failed this gateway gets no chunks from it.
const SUSPECT_FOR: Duration = Duration::from_secs(2);
/// How long to wait for enough nodes: longer than a suspicion lasts, and than a new leader needs to hear from all of them.
const WAIT_FOR_NODES: Duration = Duration::from_millis(2500);
/// How long to wait for a leader: as long as a commit would, so that an upload survives what a small write survives.
const WAIT_FOR_LEADER: Duration = Duration::from_secs(10);
/// Between two asks while waiting.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Why there is no place for a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer nodes than copies can take chunks.
    #[error("{eligible} nodes can take chunks, {needed} are needed")]
    TooFew {
        /// How many can.
        eligible: u32,
        /// How many are needed.
        needed: u32,
    },
    /// The disks are full.
    #[error("the disks are full")]
    Full,
    /// The leader did not answer.
    #[error("no leader placed the chunk: {0}")]
    NoLeader(String),
}

/// Whoever asks the leader.
#[async_trait]
pub trait Placer: Send + Sync {
    /// Asks the leader for places.
    async fn place(&self, request: &PlaceRequest) -> Result<PlaceAnswer, String>;
}

/// The stock. Cheap to clone.
#[derive(Clone)]
pub struct Places {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    chunk_bytes: u64,
    replicas: u32,
    placer: Arc<dyn Placer>,
    clock: Arc<dyn Clock>,
    stock: Mutex<VecDeque<(Instant, Vec<Hop>)>>,
    suspects: Mutex<HashMap<NodeId, Instant>>,
    // One refill at a time: the callers that wait for it find its places in the stock.
    refill: tokio::sync::Mutex<()>,
}

impl Places {
    /// Makes an empty stock for chunks of at most `chunk_bytes`, `replicas` copies each.
    #[must_use]
    pub fn new(node: NodeId, chunk_bytes: u64, replicas: u32, placer: Arc<dyn Placer>, clock: Arc<dyn Clock>) -> Self {
        let (stock, suspects, refill) = Default::default();
        Self { inner: Arc::new(Inner { node, chunk_bytes, replicas, placer, clock, stock, suspects, refill }) }
    }

    /// Takes the nodes for one chunk; none of them is in `avoid` or failed this gateway lately.
    ///
    /// # Errors
    /// [`Error`], after waiting for a leader, or a little for nodes to come back: the client may try again.
    pub async fn take(&self, avoid: &[NodeId]) -> Result<Vec<Hop>, Error> {
        let refill = || async {
            let _one = self.inner.refill.lock().await;
            if let Some(hops) = self.take_from_stock(avoid) {
                return Ok(hops);
            }
            let answer = self.ask(STOCK, self.inner.replicas, avoid).await?;
            self.put_in_stock(answer);
            // Others may have emptied it; the next round asks again.
            self.take_from_stock(avoid).ok_or(Error::TooFew { eligible: 0, needed: self.inner.replicas })
        };
        match self.take_from_stock(avoid) {
            Some(hops) => Ok(hops),
            None => self.patiently(refill).await,
        }
    }

    /// Takes `count` nodes for more copies of a chunk; none of them is in `avoid`, which names those that have one.
    ///
    /// # Errors
    /// As [`Places::take`].
    pub async fn take_more(&self, count: u32, avoid: &[NodeId]) -> Result<Vec<Hop>, Error> {
        let ask = || async {
            let mut chunks = self.ask(1, count, avoid).await?;
            chunks.pop().ok_or(Error::TooFew { eligible: 0, needed: count })
        };
        self.patiently(ask).await
    }

    /// Notes that a node failed, so that the next chunks go elsewhere at once, and tells the leader.
    pub fn failed(&self, node: NodeId) {
        let until = self.inner.clock.now() + SUSPECT_FOR;
        lock(&self.inner.stock).retain(|(_, hops)| hops.iter().all(|(id, _)| *id != node));
        if lock(&self.inner.suspects).insert(node, until).is_some_and(|before| before > self.inner.clock.now()) {
            return; // the leader was told
        }
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(why) = this.inner.placer.place(&this.request(0, 1, &[])).await {
                tracing::debug!(%node, %why, "leader was not told of a suspect; the next question for places says it again");
            }
        });
    }

    /// Asks until there is an answer, as long as waiting can help.
    async fn patiently<F>(&self, ask: impl Fn() -> F) -> Result<Vec<Hop>, Error>
    where
        F: Future<Output = Result<Vec<Hop>, Error>>,
    {
        let begun = self.inner.clock.now();
        loop {
            let error = match ask().await {
                Ok(hops) => return Ok(hops),
                Err(error) => error,
            };
            let patience = match error {
                Error::Full => Duration::ZERO,
                Error::TooFew { .. } => WAIT_FOR_NODES,
                Error::NoLeader(_) => WAIT_FOR_LEADER,
            };
            if self.inner.clock.now().duration_since(begun) >= patience {
                return Err(error);
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    fn take_from_stock(&self, avoid: &[NodeId]) -> Option<Vec<Hop>> {
        let now = self.inner.clock.now();
        let mut stock = lock(&self.inner.stock);
        while stock.front().is_some_and(|(at, _)| now.duration_since(*at) > FRESH_FOR) {
            stock.pop_front();
        }
        let at = stock.iter().position(|(_, hops)| hops.iter().all(|(id, _)| !avoid.contains(id)))?;
        stock.remove(at).map(|(_, hops)| hops)
    }

    fn put_in_stock(&self, chunks: Vec<Vec<Hop>>) {
        let now = self.inner.clock.now();
        let mut stock = lock(&self.inner.stock);
        stock.extend(chunks.into_iter().map(|hops| (now, hops)));
        while stock.len() > 4 * STOCK as usize {
            stock.pop_front();
        }
    }

    async fn ask(&self, count: u32, replicas: u32, avoid: &[NodeId]) -> Result<Vec<Vec<Hop>>, Error> {
        let request = self.request(count, replicas, avoid);
        let answer = self.inner.placer.place(&request).await.map_err(Error::NoLeader)?;
        flotilla_env::failpoint!("gateway.placed", |_| Err(Error::NoLeader("a failpoint".into())));
        if answer.chunks.is_empty() {
            return Err(match answer.full {
                true => Error::Full,
                false => Error::TooFew { eligible: answer.eligible, needed: replicas },
            });
        }
        Ok(answer.chunks)
    }

    fn request(&self, count: u32, replicas: u32, avoid: &[NodeId]) -> PlaceRequest {
        let inner = &*self.inner;
        let now = inner.clock.now();
        let mut suspects = lock(&inner.suspects);
        suspects.retain(|_, until| *until > now);
        let suspects: Vec<NodeId> = suspects.keys().copied().collect();
        let mut avoid = avoid.to_vec();
        avoid.extend(&suspects);
        PlaceRequest { gateway: inner.node, count, chunk_bytes: inner.chunk_bytes, replicas, avoid, suspects }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
