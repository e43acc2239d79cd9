//! One client's part of a ledger run: which change comes next. Pure; what became of a change is told to it.

use flotilla_api::RequestId;

use super::line::{Op, Outcome};
use crate::content::{Sequence, write_seed};

/// Keys that a client works on at once: enough that a key rests between changes, few enough that most changes replace.
const SLOTS: usize = 32;
/// Around every boundary of how a store keeps files: empty, inline, one record, more than one piece, a megabyte.
const SIZES: [u64; 8] = [0, 1, 4095, 4096, 4097, 10_000, 64 * 1024 + 1, 1 << 20];
/// Share of DELETE among the changes of a key that holds a file, in percent.
const DELETES_PERCENT: usize = 30;
/// The same for a key without one: rare, but a DELETE that misses must be answered too.
const MISSES_PERCENT: usize = 4;

/// A change to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    slot: usize,
    pub(crate) op: Op,
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) seed: u64,
    pub(crate) request_id: RequestId,
}

/// One client's keys and the sequence of its changes.
pub(crate) struct Writer {
    run: String,
    client: u32,
    seed: u64,
    sequence: Sequence,
    slots: [Slot; SLOTS],
    changes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    generation: u32,
    writes: u64,
    holds_file: bool,
}

impl Writer {
    /// Begins the changes of one client; `run` names the run and stands in keys and request ids.
    ///
    /// No two runs share a key, so that what an earlier one left under way cannot land on a later one's.
    pub(crate) fn new(run: &str, seed: u64, client: u32) -> Self {
        let sequence = Sequence::new(seed, &format!("client\0{client}"));
        Self { run: run.to_owned(), client, seed, sequence, slots: [Slot::default(); SLOTS], changes: 0 }
    }

    /// Gives the next change.
    pub(crate) fn next(&mut self) -> Change {
        let slot = self.sequence.below(SLOTS);
        let state = &mut self.slots[slot];
        let key = format!("ledger/{}/c{:03}/k{slot:02}-{}", self.run, self.client, state.generation);
        let deletes = if state.holds_file { DELETES_PERCENT } else { MISSES_PERCENT };
        let op = if self.sequence.below(100) < deletes { Op::Delete } else { Op::Put };
        let (size, seed) = match op {
            Op::Put => (SIZES[self.sequence.below(SIZES.len())], write_seed(self.seed, &key, state.writes)),
            Op::Delete => (0, 0),
        };
        state.writes += 1;
        self.changes += 1;
        let request_id = RequestId::try_from(format!("{}-{}-{}", self.run, self.client, self.changes))
            .expect("a run's name and two numbers are a request id");
        Change { slot, op, key, size, seed, request_id }
    }

    /// Takes note of what became of a change.
    ///
    /// A key whose outcome is unknown is never touched again: the change may still be under way, could land after a later
    /// one was acked, and no reader could tell that from a lost ack.
    pub(crate) fn settle(&mut self, change: &Change, outcome: Outcome) {
        let slot = &mut self.slots[change.slot];
        match outcome {
            Outcome::Acked => slot.holds_file = change.op == Op::Put,
            Outcome::Missing => slot.holds_file = false,
            Outcome::Refused => {}
            Outcome::Unknown => *slot = Slot { generation: slot.generation + 1, ..Slot::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::{SIZES, Writer};
    use crate::ledger::line::{Op, Outcome};

    #[test]
    fn same_seed_gives_the_same_changes() {
        let changes = |seed| {
            let mut writer = Writer::new("r", seed, 0);
            std::iter::repeat_with(move || writer.next()).take(50).collect::<Vec<_>>()
        };
        assert_eq!(changes(1), changes(1));
        assert_ne!(changes(1), changes(2));
    }

    #[test]
    fn every_size_new_files_replacements_and_deletes_occur() {
        let mut writer = Writer::new("r", 1, 3);
        let (mut sizes, mut kinds) = (HashSet::new(), HashMap::<_, u32>::new());
        let mut holds = HashSet::new();
        for _ in 0..2_000 {
            let change = writer.next();
            *kinds.entry((change.op == Op::Put, holds.contains(&change.key))).or_default() += 1;
            if change.op == Op::Put {
                sizes.insert(change.size);
                holds.insert(change.key.clone());
            } else {
                holds.remove(&change.key);
            }
            writer.settle(&change, Outcome::Acked);
        }
        assert_eq!(sizes.len(), SIZES.len());
        assert_eq!(kinds.len(), 4, "{kinds:?}");
    }

    #[test]
    fn key_with_an_unknown_outcome_is_never_touched_again() {
        let mut writer = Writer::new("r", 1, 0);
        let mut given_up = HashSet::new();
        for number in 0..2_000 {
            let change = writer.next();
            assert!(!given_up.contains(&change.key));
            let outcome = if number % 7 == 0 { Outcome::Unknown } else { Outcome::Acked };
            if outcome == Outcome::Unknown {
                given_up.insert(change.key.clone());
            }
            writer.settle(&change, outcome);
        }
        assert!(!given_up.is_empty());
    }

    #[test]
    fn clients_share_no_key_and_no_request_id() {
        let (mut a, mut b) = (Writer::new("r", 1, 0), Writer::new("r", 1, 1));
        let names = |writer: &mut Writer| -> HashSet<String> {
            let changes = std::iter::repeat_with(|| writer.next()).take(200);
            changes.flat_map(|change| [change.key, change.request_id.as_str().to_owned()]).collect()
        };
        assert!(names(&mut a).is_disjoint(&names(&mut b)));
    }
}
