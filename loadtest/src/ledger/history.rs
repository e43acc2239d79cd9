//! What a key's lines say of it: every content it ever may have had, and those it may have now. Pure.

use std::collections::{BTreeMap, HashMap};

use super::line::{Line, Op, Outcome};

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No file.
    Absent,
    /// The content of (seed, key, size).
    File {
        /// The write's seed.
        seed: u64,
        /// The size in bytes.
        size: u64,
    },
}

/// The operations on one key, in the order in which its one writer sent them.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: Vec<(State, Outcome)>,
    positions: HashMap<String, usize>,
}

/// What a key may hold at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The state after the last operation with a known outcome, then those that unknown ones after it may have made.
    pub(crate) states: Vec<State>,
    /// A DELETE was told that there is no file while an acked one had to stand.
    pub(crate) missed: bool,
}

impl Allowed {
    /// Gives the state after the last operation with a known outcome.
    pub(crate) fn known(&self) -> State {
        *self.states.first().expect("the first state is always there")
    }
}

impl History {
    /// Takes one more line.
    pub(crate) fn add(&mut self, line: &Line) {
        let state = match line.op {
            Op::Put => State::File { seed: line.seed, size: line.size },
            Op::Delete => State::Absent,
        };
        let entry = (state, line.outcome());
        match self.positions.get(&line.request_id) {
            Some(&position) => self.entries[position] = entry,
            None => {
                self.positions.insert(line.request_id.clone(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    /// Gives what the key may hold after all of its operations.
    ///
    /// An unknown operation may have taken effect until a later one is acked, not afterwards; the writer of ledgers sees
    /// to that by leaving a key alone after an unknown outcome.
    pub(crate) fn allowed(&self) -> Allowed {
        let mut allowed = Allowed { states: vec![State::Absent], missed: false };
        for &(state, outcome) in &self.entries {
            match outcome {
                Outcome::Acked => allowed.states = vec![state],
                Outcome::Missing => {
                    allowed.missed |= !allowed.states.contains(&State::Absent);
                    allowed.states = vec![State::Absent];
                }
                Outcome::Refused => {}
                Outcome::Unknown => allowed.states.push(state),
            }
        }
        allowed
    }

    /// Gives every content that was ever sent for the key, with the outcome, the newest first.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (State, Outcome)> {
        self.entries.iter().rev().copied()
    }

    /// Gives every operation's outcome.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.entries.iter().map(|&(_, outcome)| outcome)
    }
}

/// The histories of all keys of a ledger.
///
/// # Bounds
/// About 100 bytes per operation: a ledger of a million operations needs 100 MB.
#[derive(Debug, Default)]
pub(crate) struct Histories(BTreeMap<String, History>);

impl Histories {
    /// Takes one more line.
    pub(crate) fn add(&mut self, line: &Line) {
        match self.0.get_mut(&line.key) {
            Some(history) => history.add(line),
            None => self.0.entry(line.key.clone()).or_default().add(line),
        }
    }

    /// Gives the keys with their histories, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &History)> {
        self.0.iter().map(|(key, history)| (key.as_str(), history))
    }

    /// Says whether the ledger has a key.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Gives the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives the longest text that all keys begin with: what must be listed to see them.
    pub(crate) fn common_prefix(&self) -> &str {
        // In order, the first and the last key differ at least as early as any two others.
        let (Some(first), Some(last)) = (self.0.keys().next(), self.0.keys().next_back()) else { return "" };
        let same = first.char_indices().zip(last.chars()).take_while(|((_, a), b)| a == b).last();
        same.map_or("", |((at, c), _)| &first[..at + c.len_utf8()])
    }
}

#[cfg(test)]
mod tests {
    use super::{Histories, History};

    #[test]
    fn common_prefix_never_cuts_a_character() {
        let check = |keys: &[&str], expect: &str| {
            let histories = Histories(keys.iter().map(|key| ((*key).to_owned(), History::default())).collect());
            assert_eq!(histories.common_prefix(), expect, "{keys:?}");
        };
        check(&[], "");
        check(&["a/b"], "a/b");
        check(&["a/b1", "a/b2", "a/c"], "a/");
        check(&["x", "y"], "");
        // Both letters begin with the same byte.
        check(&["k/\u{e4}", "k/\u{f6}"], "k/");
        check(&["k/\u{e4}1", "k/\u{e4}2"], "k/\u{e4}");
    }
}
