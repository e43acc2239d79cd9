//! The tickets that files wait under, so that a command that is interrupted gives them back. Knows no command line.

use std::{
    collections::BTreeSet,
    future::{Future, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_api::{TicketAnswer, TicketId, TicketState};
use futures::{StreamExt, stream};

/// The most that are kept: a principal has no more of them that wait.
const TICKETS_MAX: usize = 1000;
/// How many are given back at a time.
const AT_ONCE: usize = 8;
/// How long that may take: somebody wants to go, and what is left has its turn in vain.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);

/// The tickets whose turns have not come. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tickets(Arc<Mutex<BTreeSet<TicketId>>>);

impl Tickets {
    /// Takes note of how a ticket stands.
    pub fn note(&self, ticket: &TicketAnswer) {
        let mut waiting = self.lock();
        match ticket.state {
            TicketState::Waiting => {
                waiting.insert(ticket.id);
                // The first ones were lost meanwhile, which nobody tells.
                if waiting.len() > TICKETS_MAX {
                    waiting.pop_first();
                }
            }
            TicketState::Granted | TicketState::Used => {
                waiting.remove(&ticket.id);
            }
        }
    }

    /// Gives back those that wait, by `cancel`, for 2 s at most. What can't be given back, or is no more, stays as it is.
    ///
    /// # Cancel safety
    /// A dropped future leaves the others where they are.
    pub async fn give_back<F: Future>(&self, cancel: impl Fn(TicketId) -> F) {
        let waiting = std::mem::take(&mut *self.lock());
        let all = stream::iter(waiting).map(cancel).buffer_unordered(AT_ONCE).for_each(|_| ready(()));
        if tokio::time::timeout(GIVE_BACK_MAX, all).await.is_err() {
            tracing::debug!("not all tickets were given back in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<TicketId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TicketId {
        TicketId { number, secret: 7 }
    }

    fn note(tickets: &Tickets, number: u64, state: TicketState) {
        tickets.note(&TicketAnswer {
            id: id(number),
            state,
            position: None,
            wait_ms: None,
            cluster: None,
            granted: None,
        });
    }

    async fn given_back(tickets: &Tickets) -> Vec<TicketId> {
        let seen = Mutex::new(Vec::new());
        let seen_by = &seen;
        tickets.give_back(|ticket| async move { seen_by.lock().expect("nobody panics").push(ticket) }).await;
        let mut seen = seen.into_inner().expect("nobody panics");
        seen.sort_unstable();
        seen
    }

    #[tokio::test]
    async fn tickets_that_wait_are_given_back_once_and_no_others() {
        let tickets = Tickets::default();
        for (number, state) in [
            (1, TicketState::Waiting),
            (2, TicketState::Waiting),
            (1, TicketState::Waiting),
            (3, TicketState::Waiting),
            (2, TicketState::Granted),
        ] {
            note(&tickets.clone(), number, state);
        }
        assert_eq!(given_back(&tickets).await, [id(1), id(3)]);
        assert_eq!(given_back(&tickets).await, []);
    }

    #[tokio::test]
    async fn no_more_are_kept_than_can_wait() {
        let tickets = Tickets::default();
        for number in 0..=TICKETS_MAX as u64 {
            note(&tickets, number, TicketState::Waiting);
        }
        let all = given_back(&tickets).await;
        assert_eq!((all.len(), all[0]), (TICKETS_MAX, id(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn servers_that_do_not_answer_hold_nobody_up() {
        let tickets = Tickets::default();
        note(&tickets, 1, TicketState::Waiting);
        let begun = tokio::time::Instant::now();
        tickets.give_back(|_| std::future::pending::<()>()).await;
        assert!((GIVE_BACK_MAX..GIVE_BACK_MAX * 2).contains(&begun.elapsed()));
    }
}
