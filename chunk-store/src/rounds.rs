//! Group commit: those who need the same sync share it. Must not know what is synced.
//!
//! A round serves those who joined before it began, and nobody else. There is no timer: the first to come syncs at once, and
//! whoever comes while that runs shares the next round.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One thing that can be synced, and those who wait for it. Their number is bounded by the claims, see [`crate::WRITERS_MAX`].
#[derive(Debug)]
pub(crate) struct Lane<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    waiting: Vec<W>,
    running: bool,
}

impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self(Mutex::new(State { waiting: Vec::new(), running: false }))
    }
}

impl<W> Lane<W> {
    /// Joins the next round. Whoever finds no round running leads: its thread syncs and answers until nobody waits.
    pub(crate) fn join<R>(&self, waiter: W, sync: impl Fn() -> R, answer: impl Fn(W, &R)) {
        {
            let mut state = self.state();
            state.waiting.push(waiter);
            if std::mem::replace(&mut state.running, true) {
                return;
            }
        }
        while let Some(served) = self.next_round() {
            let result = sync();
            served.into_iter().for_each(|waiter| answer(waiter, &result));
        }
    }

    fn next_round(&self) -> Option<Vec<W>> {
        let mut state = self.state();
        let served = std::mem::take(&mut state.waiting);
        state.running = !served.is_empty();
        state.running.then_some(served)
    }

    /// Gives how many wait for a round that has not begun.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn a_round_serves_only_those_who_joined_before_it_began() {
        let lane = Lane::default();
        let (rounds, served) = (Cell::new(0), RefCell::new(Vec::new()));
        let answer = |name: &'static str, round: &u32| served.borrow_mut().push((name, *round));
        let sync = || {
            rounds.set(rounds.get() + 1);
            if rounds.get() == 1 {
                // These come while the first round runs.
                lane.join("second", || unreachable!("a round is running"), answer);
                lane.join("third", || unreachable!("a round is running"), answer);
                assert_eq!(lane.waiting(), 2);
            }
            rounds.get()
        };
        lane.join("first", sync, answer);
        assert_eq!(*served.borrow(), [("first", 1), ("second", 2), ("third", 2)]);
        lane.join("fourth", sync, answer);
        assert_eq!(served.borrow().last(), Some(&("fourth", 3)));
    }
}
