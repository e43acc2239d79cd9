//! The numbers of this process's chunks, and the lowest one that may still be named for the first time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Numbers chunks from 1 and knows where the uploads under way began. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sequence(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    given: u64,
    /// How many uploads under way began at each number.
    begun: BTreeMap<u64, usize>,
}

/// An upload under way: what it was given, and all after it, are not settled while this lives.
#[derive(Debug)]
pub struct Begun {
    sequence: Sequence,
    at: u64,
}

impl Sequence {
    /// Gives the next number.
    pub(super) fn next(&self) -> u64 {
        let mut state = self.lock();
        state.given += 1;
        state.given
    }

    /// Begins an upload, before it is given its first number.
    pub(super) fn begin(&self) -> Begun {
        let mut state = self.lock();
        let at = state.given + 1;
        *state.begun.entry(at).or_default() += 1;
        drop(state);
        Begun { sequence: self.clone(), at }
    }

    /// Gives the number below which every upload has ended, whatever came of it.
    #[must_use]
    pub fn settled_below(&self) -> u64 {
        let state = self.lock();
        state.begun.first_key_value().map_or(state.given + 1, |(at, _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut state = self.sequence.lock();
        if let Some(count) = state.begun.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                state.begun.remove(&self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_since_the_oldest_upload_began_is_not_settled() {
        let sequence = Sequence::default();
        assert_eq!(sequence.settled_below(), 1);
        let old = sequence.begin();
        assert_eq!((sequence.next(), sequence.settled_below()), (1, 1));
        let (young, younger) = (sequence.begin(), sequence.begin());
        assert_eq!((sequence.next(), sequence.settled_below()), (2, 1));
        drop(old);
        assert_eq!(sequence.settled_below(), 2);
        drop(young);
        assert_eq!(sequence.settled_below(), 2, "another upload began there");
        drop(younger);
        assert_eq!(sequence.settled_below(), 3);
    }
}
