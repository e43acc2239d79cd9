//! What this process knows of its copies: which ones were proven against their hash, and which ones are damaged; memory only.
//!
//! Both are hints that a restart forgets: a proof is made again, and damage is found again by the next read.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use flotilla_api::ChunkId;
use metrics::Gauge;

use crate::error::Flaw;

/// How many proofs are remembered: half a tebibyte of chunks of 8 MiB, in some 5 MB.
const PROVEN_MAX: usize = 65_536;

/// How many damaged copies are remembered; of those beyond, each read finds the damage anew. A disk with that many is a dead one.
pub const CORRUPT_MAX: usize = 4096;

/// How many chunks can be proven at once: each reads at the disk's full speed.
const PROVERS: usize = 16;

/// Proofs and damage.
pub(crate) struct Trust {
    state: Mutex<State>,
    provers: [tokio::sync::Mutex<()>; PROVERS],
    corrupt_chunks: Gauge,
}

#[derive(Default)]
struct State {
    /// The checksum of the block checksums that was proven, per chunk: another file under the same name is not proven by it.
    proven: HashMap<ChunkId, u32>,
    /// The ids of `proven`, those proven longest ago first; may name ids that are gone from it.
    oldest: VecDeque<ChunkId>,
    corrupt: BTreeMap<ChunkId, Flaw>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("Trust").field("proven", &state.proven.len()).field("corrupt", &state.corrupt).finish()
    }
}

impl Default for Trust {
    fn default() -> Self {
        let corrupt_chunks = metrics::gauge!("flotilla_chunks", "state" => "corrupt");
        Self { state: Mutex::default(), provers: Default::default(), corrupt_chunks }
    }
}

impl Trust {
    /// Whether the contents of a copy with this checksum were compared with their hash by this process.
    pub(crate) fn is_proven(&self, id: ChunkId, crc: u32) -> bool {
        self.state().proven.get(&id) == Some(&crc)
    }

    /// Notes that the bytes with this checksum have the hash that the chunk's header names.
    pub(crate) fn prove(&self, id: ChunkId, crc: u32) {
        let state = &mut *self.state();
        if state.proven.insert(id, crc).is_none() {
            state.oldest.push_back(id);
        }
        if state.oldest.len() > PROVEN_MAX {
            state.oldest.pop_front().and_then(|oldest| state.proven.remove(&oldest));
        }
    }

    /// Waits for the right to prove a chunk: readers of one chunk wait for one proof.
    pub(crate) async fn prover(&self, id: ChunkId) -> tokio::sync::MutexGuard<'_, ()> {
        let lane = usize::try_from(id.seq % PROVERS as u64).expect("less than 16");
        self.provers[lane].lock().await
    }

    /// What is wrong with a copy, if something was found.
    pub(crate) fn flaw(&self, id: ChunkId) -> Option<Flaw> {
        let state = self.state();
        if state.corrupt.is_empty() { None } else { state.corrupt.get(&id).copied() }
    }

    /// Keeps a damaged copy from being read again; tells whether this is news.
    pub(crate) fn distrust(&self, id: ChunkId, flaw: Flaw) -> bool {
        let state = &mut *self.state();
        state.proven.remove(&id);
        let news = !state.corrupt.contains_key(&id);
        if state.corrupt.len() < CORRUPT_MAX {
            state.corrupt.insert(id, flaw);
            self.corrupt_chunks.set(state.corrupt.len() as f64);
        }
        news
    }

    /// Forgets a copy that is removed or written again.
    pub(crate) fn forget(&self, id: ChunkId) {
        let state = &mut *self.state();
        state.proven.remove(&id);
        if state.corrupt.remove(&id).is_some() {
            self.corrupt_chunks.set(state.corrupt.len() as f64);
        }
    }

    pub(crate) fn corrupt(&self, limit: usize) -> Vec<ChunkId> {
        self.state().corrupt.keys().take(limit).copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;

    use super::*;

    fn id(seq: u64) -> ChunkId {
        ChunkId { writer: WriterId(1), seq }
    }

    #[test]
    fn a_proof_is_of_one_content_and_the_oldest_makes_room() {
        let trust = Trust::default();
        trust.prove(id(0), 7);
        assert!(trust.is_proven(id(0), 7));
        assert!(!trust.is_proven(id(0), 8), "another content");
        (1..=PROVEN_MAX as u64).for_each(|seq| trust.prove(id(seq), 7));
        assert!(!trust.is_proven(id(0), 7));
        assert!(trust.is_proven(id(1), 7));
        assert_eq!(trust.state().proven.len(), PROVEN_MAX);
    }

    #[test]
    fn damage_is_remembered_up_to_a_bound_and_ends_a_proof() {
        let trust = Trust::default();
        trust.prove(id(1), 7);
        assert!(trust.distrust(id(1), Flaw::Sums));
        assert!(!trust.distrust(id(1), Flaw::Sums), "no news");
        assert!(!trust.is_proven(id(1), 7));
        (2..=CORRUPT_MAX as u64 + 9).for_each(|seq| assert!(trust.distrust(id(seq), Flaw::Length)));
        assert_eq!(trust.corrupt(usize::MAX).len(), CORRUPT_MAX);
        trust.forget(id(1));
        assert_eq!((trust.flaw(id(1)), trust.flaw(id(2))), (None, Some(Flaw::Length)));
    }
}
