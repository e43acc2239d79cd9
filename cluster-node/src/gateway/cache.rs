//! Pieces of chunks that came from other nodes: weighed in bytes, fetched once however many readers ask.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_chunk_store::Depth;
use futures::future::{BoxFuture, FutureExt, Shared};
use metrics::{Counter, Gauge};
use moka::sync::Cache;

/// A piece of a chunk: its number, counted in [`super::fetch::PIECE`] bytes, and how far its copy was proven. Chunks are
/// immutable, so a piece is never stale.
pub type PieceId = (ChunkId, u32, Depth);

type Flight<E> = Shared<BoxFuture<'static, Result<Bytes, Arc<E>>>>;

/// The cache. Cheap to clone.
pub struct PieceCache<E> {
    pieces: Cache<PieceId, Bytes>,
    // Bounded by the readers, each of which waits for at most its prefetch window.
    flights: Arc<Mutex<HashMap<PieceId, Flight<E>>>>,
    hits: Counter,
    misses: Counter,
    bytes: Gauge,
}

impl<E> Clone for PieceCache<E> {
    fn clone(&self) -> Self {
        Self {
            pieces: self.pieces.clone(),
            flights: Arc::clone(&self.flights),
            hits: self.hits.clone(),
            misses: self.misses.clone(),
            bytes: self.bytes.clone(),
        }
    }
}

impl<E: Send + Sync + 'static> PieceCache<E> {
    /// Makes a cache of at most `budget_bytes`.
    #[must_use]
    pub fn new(budget_bytes: u64) -> Self {
        let weight = |_: &PieceId, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self {
            pieces: Cache::builder().max_capacity(budget_bytes).weigher(weight).build(),
            flights: Arc::default(),
            hits: metrics::counter!("flotilla_cache_hits_total"),
            misses: metrics::counter!("flotilla_cache_misses_total"),
            bytes: metrics::gauge!("flotilla_cache_bytes"),
        }
    }

    /// Gives a piece if it is cached.
    #[must_use]
    pub fn kept(&self, id: PieceId) -> Option<Bytes> {
        self.pieces.get(&id).inspect(|_| self.hits.increment(1))
    }

    /// Gives a piece from the cache, from a fetch under way, or by `fetch`.
    ///
    /// # Errors
    /// What `fetch` fails with; nothing is kept then.
    ///
    /// # Cancel safety
    /// A reader that goes away leaves the fetch to the other readers that wait for it.
    pub async fn get<F>(&self, id: PieceId, fetch: impl FnOnce() -> F) -> Result<Bytes, Arc<E>>
    where
        F: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        if let Some(bytes) = self.kept(id) {
            return Ok(bytes);
        }
        self.misses.increment(1);
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            match flights.get(&id) {
                // A flight whose readers all went away is finished by the next one.
                Some(flight) => flight.clone(),
                None => {
                    let flight = fetch().map(|result| result.map_err(Arc::new)).boxed().shared();
                    flights.insert(id, flight.clone());
                    flight
                }
            }
        };
        let landed = Landed { flights: &self.flights, id, flight: &flight };
        let result = flight.clone().await;
        if let Ok(bytes) = &result {
            self.pieces.insert(id, bytes.clone());
            // By itself the cache looks at its budget some times a second, and a fast download goes over it threefold until then.
            self.pieces.run_pending_tasks();
            self.bytes.set(self.pieces.weighted_size() as f64);
        }
        drop(landed);
        result
    }
}

/// Removes a flight when its reader is done or gone, unless others still wait for it.
struct Landed<'a, E: Send + Sync + 'static> {
    flights: &'a Mutex<HashMap<PieceId, Flight<E>>>,
    id: PieceId,
    flight: &'a Flight<E>,
}

impl<E: Send + Sync + 'static> Drop for Landed<'_, E> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let same = flights.get(&self.id).is_some_and(|held| held.ptr_eq(self.flight));
        // The map's own handle, this reader's `flight` and (while awaited) its clone are not other readers.
        let alone = self.flight.strong_count().is_none_or(|count| count <= 2);
        if same && (self.flight.peek().is_some() || alone) {
            flights.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use flotilla_api::WriterId;

    use super::*;

    const ID: PieceId = (ChunkId { writer: WriterId(1), seq: 1 }, 0, Depth::Whole);

    #[tokio::test]
    async fn readers_of_one_piece_share_one_fetch() {
        let cache = PieceCache::<String>::new(1 << 20);
        let fetches = Arc::new(AtomicUsize::new(0));
        let (open, gate) = tokio::sync::watch::channel(false);
        let reader = || {
            let (cache, fetches, mut gate) = (cache.clone(), Arc::clone(&fetches), gate.clone());
            async move {
                let fetch = || async move {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    gate.wait_for(|open| *open).await.map_err(|e| e.to_string())?;
                    Ok(Bytes::from_static(b"piece"))
                };
                cache.get(ID, fetch).await
            }
        };
        let (a, b, ()) = tokio::join!(reader(), reader(), async { open.send(true).expect("readers wait") });
        assert_eq!((a.as_deref(), b.as_deref()), (Ok(&b"piece"[..]), Ok(&b"piece"[..])));
        assert_eq!(reader().await.as_deref(), Ok(&b"piece"[..]));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failed_fetch_is_not_kept_and_a_gone_reader_leaves_nothing() {
        let cache = PieceCache::<String>::new(1 << 20);
        assert!(cache.get(ID, || async { Err("down".to_owned()) }).await.is_err());
        let mut gone = Box::pin(cache.get(ID, futures::future::pending));
        assert!(futures::poll!(gone.as_mut()).is_pending());
        drop(gone);
        assert!(cache.flights.lock().expect("no reader panicked").is_empty());
        assert_eq!(cache.get(ID, || async { Ok(Bytes::from_static(b"up")) }).await.as_deref(), Ok(&b"up"[..]));
    }

    /// Bytes that count themselves while they live.
    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(self.0.len(), Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn pieces_that_come_fast_stay_within_the_budget() {
        const BUDGET: usize = 16 << 20;
        const LENGTH: usize = 1 << 20;
        // What was let go of may be dropped a moment later.
        const SLACK: usize = 4 * LENGTH;
        let (cache, alive) = (PieceCache::<String>::new(BUDGET as u64), Arc::new(AtomicUsize::new(0)));
        for number in 0..200 {
            let alive = Arc::clone(&alive);
            let fetch = || async move {
                alive.fetch_add(LENGTH, Ordering::SeqCst);
                Ok(Bytes::from_owner(Counted(vec![0; LENGTH], alive)))
            };
            cache.get((ID.0, number, ID.2), fetch).await.expect("fetched");
        }
        let alive = alive.load(Ordering::SeqCst);
        assert!((BUDGET / 2..=BUDGET + SLACK).contains(&alive), "{alive} bytes of a budget of {BUDGET}");
    }
}
