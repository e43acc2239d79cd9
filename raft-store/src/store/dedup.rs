//! The results of the last commands, by id: what makes a retry answer like the first time.
//!
//! Everything here is part of the replicated state, so it depends on the log alone: never on time, or on how entries were batched.

use std::collections::VecDeque;

use bytes::Bytes;
use flotilla_api::{CommandId, codec};
use flotilla_kv::View;
use serde::{Deserialize, Serialize};

use super::{StoreError, keys::DEDUP};
use crate::machine::Txn;

/// How many results are kept: more than a minute of commands at full load, so that a retry within a client's patience finds its
/// own; at 200 bytes each they are 20 MB of state.
pub const RESULTS_KEPT: u64 = 100_000;

/// How many of the oldest ids are read ahead, so that dropping one does not cost a seek each time.
const OLDEST_AHEAD: usize = 256;

/// `i` and the id's text: [`Kept`].
const BY_ID: u8 = b'i';
/// `x` and the index, u64 BE: the id's text.
const BY_INDEX: u8 = b'x';
/// `s`: [`Tally`].
const TALLY: [u8; 1] = [b's'];

/// A kept result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The entry that applied the command.
    pub(crate) index: u64,
    /// The machine's answer, encoded.
    pub(crate) answer: Bytes,
}

/// What is known of all results together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    /// How many are kept.
    kept: u64,
    /// The index of the last one that was dropped.
    dropped_upto: u64,
}

/// What the kept results say of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was never applied (or carries a client's own key, and was not applied lately).
    New,
    /// It was applied before.
    Known(Kept),
    /// Its result could have been dropped already.
    TooOld,
}

/// The results of the last commands.
#[derive(Debug)]
pub(crate) struct Dedup {
    tally: Tally,
    /// The oldest rows, by index; may be empty although there are rows.
    oldest: VecDeque<(u64, Vec<u8>)>,
    limit: u64,
}

impl Dedup {
    /// Reads the state from the database.
    pub(crate) fn load(view: &dyn View) -> Result<Self, StoreError> {
        let tally = match view.get(DEDUP, &TALLY)? {
            Some(bytes) => codec::decode(&bytes).map_err(|error| StoreError::corrupt("tally of results", error))?,
            None => Tally::default(),
        };
        Ok(Self { tally, oldest: VecDeque::new(), limit: RESULTS_KEPT })
    }

    /// Says whether a command was applied before.
    pub(crate) fn verdict(&self, state: &dyn Txn, id: &CommandId) -> Result<Verdict, StoreError> {
        if let Some(bytes) = state.get(DEDUP, &id_key(id))? {
            let kept = codec::decode(&bytes).map_err(|error| StoreError::corrupt("kept result", error))?;
            return Ok(Verdict::Known(kept));
        }
        // The id was made by someone who had seen entry `seen` applied, so its first entry has a higher index. If that were not
        // kept any more it would be at most `dropped_upto`.
        match id.seen {
            Some(seen) if seen < self.tally.dropped_upto => Ok(Verdict::TooOld),
            _ => Ok(Verdict::New),
        }
    }

    /// Keeps a result, and drops the oldest one when there are too many.
    pub(crate) fn keep(&mut self, state: &mut dyn Txn, id: &CommandId, kept: &Kept) -> Result<(), StoreError> {
        state.put(DEDUP, id_key(id), codec::encode(kept));
        state.put(DEDUP, index_key(kept.index), id.id.as_str().into());
        self.tally.kept += 1;
        while self.tally.kept > self.limit {
            self.drop_oldest(state)?;
        }
        state.put(DEDUP, TALLY.into(), codec::encode(&self.tally));
        Ok(())
    }

    fn drop_oldest(&mut self, state: &mut dyn Txn) -> Result<(), StoreError> {
        if self.oldest.is_empty() {
            // From where the last one was dropped: a scan from the front would step over all the rows that are gone.
            let from = index_key(self.tally.dropped_upto + 1);
            for (key, id) in state.scan(DEDUP, &from, Some(&[BY_INDEX + 1]), OLDEST_AHEAD)? {
                self.oldest.push_back((read_index_key(&key)?, id));
            }
        }
        let missing = || StoreError::corrupt("tally of results", "there are fewer rows than it says");
        let (index, id) = self.oldest.pop_front().ok_or_else(missing)?;
        state.delete(DEDUP, index_key(index));
        state.delete(DEDUP, prefixed(BY_ID, &id));
        self.tally = Tally { kept: self.tally.kept - 1, dropped_upto: index };
        Ok(())
    }
}

fn prefixed(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

fn id_key(id: &CommandId) -> Vec<u8> {
    prefixed(BY_ID, id.id.as_str().as_bytes())
}

fn index_key(index: u64) -> Vec<u8> {
    prefixed(BY_INDEX, &index.to_be_bytes())
}

fn read_index_key(key: &[u8]) -> Result<u64, StoreError> {
    let index = key.get(1..).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes);
    index.ok_or_else(|| StoreError::corrupt("kept result", "its key is malformed"))
}

#[cfg(test)]
mod tests;
