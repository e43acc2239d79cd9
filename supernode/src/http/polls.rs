//! Looks at tickets that wait for a turn: so many at a supernode, and of one principal a part of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flotilla_api::keys::PrincipalName;

use crate::directory::tickets::OWNED_MAX;

/// The most looks that wait at one supernode; each is a connection and a task.
const POLLS_MAX: usize = 4096;
/// The most of one principal: a quarter of all, so that others find room beside it, and more than it can have tickets, so
/// that it runs out of its own only by several looks at one ticket at once.
const POLLS_OF_ONE_MAX: usize = POLLS_MAX / 4;
const _: () = assert!(POLLS_OF_ONE_MAX >= OWNED_MAX as usize, "one look at each ticket is never too many");

/// Counts looks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Polls(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Those of each principal that has any.
    of: HashMap<PrincipalName, usize>,
}

/// A look that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Poll {
    polls: Polls,
    principal: PrincipalName,
}

impl Polls {
    /// Begins a look that waits; none if as many wait as may.
    pub(super) fn begin(&self, principal: &PrincipalName) -> Option<Poll> {
        let mut counts = self.lock();
        if counts.all >= POLLS_MAX || counts.of.get(principal).is_some_and(|own| *own >= POLLS_OF_ONE_MAX) {
            return None;
        }
        counts.all += 1;
        *counts.of.entry(principal.clone()).or_default() += 1;
        Some(Poll { polls: self.clone(), principal: principal.clone() })
    }

    fn end(&self, principal: &PrincipalName) {
        let mut counts = self.lock();
        counts.all -= 1;
        if let Some(own) = counts.of.get_mut(principal) {
            *own -= 1;
            if *own == 0 {
                counts.of.remove(principal);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.polls.end(&self.principal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(polls: &Polls, principal: &str, count: usize) -> Vec<Poll> {
        let principal: PrincipalName = principal.parse().expect("a good name");
        (0..count).map(|_| polls.begin(&principal).expect("there is room")).collect()
    }

    fn has_room(polls: &Polls, principal: &str) -> bool {
        polls.begin(&principal.parse().expect("a good name")).is_some()
    }

    #[test]
    fn one_principal_can_not_take_the_looks_of_the_others() {
        let polls = Polls::default();
        let mut own = begin(&polls, "p", POLLS_OF_ONE_MAX);
        assert!(!has_room(&polls, "p"));
        assert!(has_room(&polls, "q"));
        own.pop();
        assert!(has_room(&polls, "p"), "one has ended");
    }

    #[test]
    fn looks_are_bounded_and_forgotten_when_they_end() {
        let polls = Polls::default();
        let all: Vec<Vec<Poll>> = ["p", "q", "r", "s"].map(|name| begin(&polls, name, POLLS_OF_ONE_MAX)).into();
        assert!(!has_room(&polls, "t"));
        drop(all);
        assert!(has_room(&polls, "t"));
        let counts = polls.lock();
        assert!(counts.of.is_empty() && counts.all == 0, "{counts:?}");
    }
}
