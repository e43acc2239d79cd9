//! What a node knows of its transfers: those that go on, the last ones, and what went over each link. Memory only.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_api::{
    ChunkId, NodeId,
    admin::{ChunkState, ChunkTransfer, Link, Transfer, TransferList},
};
use flotilla_env::Clock;
use metrics::counter;
use tokio::time::Instant;

use super::pull::Pulled;
use crate::metadata::{heal::TaskId, rows::ChunkRef};

/// The most transfers that are kept after their end.
const RECENT_MAX: usize = 32;
/// The most links; a cluster has fewer nodes.
const LINKS_MAX: usize = 1024;

struct Entry {
    task: TaskId,
    begun: Instant,
    took: Option<Duration>,
    chunks: Vec<ChunkTransfer>,
}

#[derive(Default)]
struct State {
    /// The running one, if one runs, is the last.
    entries: VecDeque<Entry>,
    links: BTreeMap<NodeId, Link>,
}

/// A node's transfers. Clones share them.
#[derive(Clone)]
pub struct Transfers {
    state: Arc<Mutex<State>>,
    to: NodeId,
    clock: Arc<dyn Clock>,
}

impl Transfers {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(to: NodeId, clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), to, clock }
    }

    /// Begins a transfer; one that was not ended is ended by that.
    pub(super) fn begin(&self, task: TaskId, chunks: &[ChunkRef]) {
        self.end();
        let of = |chunk: &ChunkRef| ChunkTransfer {
            chunk: chunk.id.to_string(),
            bytes: chunk.length,
            state: ChunkState::Waiting,
            from: None,
            why: None,
        };
        let entry = Entry { task, begun: self.clock.now(), took: None, chunks: chunks.iter().map(of).collect() };
        let mut state = self.lock();
        state.entries.push_back(entry);
        if state.entries.len() > RECENT_MAX {
            state.entries.pop_front();
        }
    }

    /// Notes that a chunk is asked for.
    pub(super) fn copying(&self, chunk: ChunkId) {
        self.change(chunk, |chunk| chunk.state = ChunkState::Copying);
    }

    /// Notes what became of a chunk.
    pub(super) fn pulled(&self, chunk: ChunkId, pulled: &Pulled) {
        self.change(chunk, |chunk| {
            (chunk.state, chunk.from, chunk.why) = match pulled {
                Pulled::Here(from) => (ChunkState::Done, *from, None),
                Pulled::Gone => (ChunkState::Gone, None, None),
                Pulled::Told => (ChunkState::Waiting, None, Some("an earlier copy is to be unlinked first".to_owned())),
                Pulled::Failed(why) => (ChunkState::Failed, None, Some(why.clone())),
            };
        });
    }

    /// Notes a copy that was made from a node, or that it failed.
    pub(super) fn over(&self, from: NodeId, copied: Option<u32>) {
        let link = [("from", from.to_string()), ("to", self.to.to_string())];
        match copied {
            Some(bytes) => {
                counter!("flotilla_transfers_total", &link).increment(1);
                counter!("flotilla_transfer_bytes_total", &link).increment(bytes.into());
            }
            None => counter!("flotilla_transfer_failures_total", &link).increment(1),
        }
        let mut state = self.lock();
        if state.links.len() >= LINKS_MAX && !state.links.contains_key(&from) {
            return;
        }
        let link = state.links.entry(from).or_insert(Link { from, to: self.to, transfers: 0, bytes: 0, failures: 0 });
        match copied {
            Some(bytes) => {
                link.transfers += 1;
                link.bytes += u64::from(bytes);
            }
            None => link.failures += 1,
        }
    }

    /// Ends the transfer that goes on.
    pub(super) fn end(&self) {
        let now = self.clock.now();
        if let Some(last) = self.lock().entries.back_mut() {
            last.took.get_or_insert(now.duration_since(last.begun));
        }
    }

    /// Gives all, the last one first.
    #[must_use]
    pub fn list(&self) -> TransferList {
        let (state, now) = (self.lock(), self.clock.now());
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let of = |entry: &Entry| Transfer {
            task: entry.task.to_string(),
            to: self.to,
            age_ms: ms(now.duration_since(entry.begun)),
            took_ms: entry.took.map(ms),
            chunks: entry.chunks.clone(),
        };
        let items = state.entries.iter().rev().map(of).collect();
        TransferList { items, links: state.links.values().copied().collect(), silent: Vec::new() }
    }

    fn change(&self, chunk: ChunkId, change: impl FnOnce(&mut ChunkTransfer)) {
        let mut state = self.lock();
        let running = state.entries.back_mut().filter(|entry| entry.took.is_none());
        let name = chunk.to_string();
        if let Some(chunk) = running.and_then(|entry| entry.chunks.iter_mut().find(|known| known.chunk == name)) {
            change(chunk);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;
    use flotilla_env::clock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn running_and_recent_transfers_are_told_with_their_chunks_and_links() {
        let transfers = Transfers::new(NodeId(3), clock::system());
        let chunks: Vec<ChunkRef> =
            (1..=3).map(|seq| ChunkRef { id: ChunkId { writer: WriterId(1), seq }, length: 10, cv: [0; 32] }).collect();
        for number in 0..=u8::try_from(RECENT_MAX).expect("few") {
            transfers.begin(TaskId(7, number), &chunks);
        }
        transfers.copying(chunks[0].id);
        transfers.copying(chunks[1].id);
        transfers.over(NodeId(1), None);
        transfers.over(NodeId(2), Some(10));
        transfers.pulled(chunks[1].id, &Pulled::Here(Some(NodeId(2))));
        tokio::time::advance(Duration::from_millis(70)).await;
        let list = transfers.list();
        assert_eq!(list.items.len(), RECENT_MAX);
        assert_eq!((&*list.items[0].task, list.items[0].age_ms, list.items[0].took_ms), ("7-32", 70, None));
        let states: Vec<ChunkState> = list.items[0].chunks.iter().map(|chunk| chunk.state).collect();
        assert_eq!(states, [ChunkState::Copying, ChunkState::Done, ChunkState::Waiting]);
        assert_eq!(list.items[1].took_ms, Some(0));
        let links: Vec<_> = list.links.iter().map(|l| (l.from.0, l.to.0, l.transfers, l.bytes, l.failures)).collect();
        assert_eq!(links, [(1, 3, 0, 0, 1), (2, 3, 1, 10, 0)]);
        transfers.end();
        transfers.copying(chunks[2].id);
        let list = transfers.list();
        assert_eq!((list.items[0].took_ms, list.items[0].chunks[2].state), (Some(70), ChunkState::Waiting));
    }
}
