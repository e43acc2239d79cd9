//! Tickets: places in the servers' queue that are waited for with nothing of the body on its way.

use std::{sync::Arc, time::Duration};

use flotilla_api::{Code, TicketAnswer, TicketId, TicketState};
use http::Method;

use super::{
    client::Client,
    content::Content,
    error::Error,
    exchange::{ANSWER_MAX_BYTES, Call, json, whole},
    list::read,
};
use crate::problem::retry_after_ms;

/// How long one look at a ticket waits for its turn: a third of what is taken for a standstill.
const LOOK: Duration = Duration::from_secs(20);
/// As that, where somebody wants to see the position change.
const LOOK_TOLD: Duration = Duration::from_secs(2);
/// Between two looks that wait: a change in between is seen by the second one.
const PAUSE: Duration = Duration::from_millis(100);
/// The least between two where the server did not wait: what it says is in whole seconds.
const UNWAITED_MIN: Duration = Duration::from_secs(1);
/// How long giving a ticket back may take where something has failed: its turn comes and goes otherwise.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);

/// Is told how a ticket stands.
type OnTicket = dyn Fn(&TicketAnswer) + Send + Sync;

/// What a request does that would have to wait.
#[derive(Clone, Default)]
pub enum Queue {
    /// It waits for as long as the server lets it, and is refused then.
    #[default]
    InPlace,
    /// It takes a ticket, and is sent again when its turn comes, however long that takes.
    Ticket,
    /// As that; the function is told how the ticket stands, every few seconds and when its turn has come.
    Told(Arc<OnTicket>),
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InPlace => "InPlace",
            Self::Ticket => "Ticket",
            Self::Told(_) => "Told",
        })
    }
}

impl Queue {
    /// Whether a ticket is asked for.
    pub(super) fn takes_ticket(&self) -> bool {
        match self {
            Self::InPlace => false,
            Self::Ticket | Self::Told(_) => true,
        }
    }

    fn tell(&self, ticket: &TicketAnswer) {
        if let Self::Told(tell) = self {
            tell(ticket);
        }
    }

    fn look(&self) -> Duration {
        match self {
            Self::InPlace | Self::Ticket => LOOK,
            Self::Told(_) => LOOK_TOLD,
        }
    }
}

impl Client {
    /// Asks how a ticket stands; waits for its turn to come, for whole seconds and for a minute at most. A server at which as
    /// many wait as may, or that stops, answers at once.
    ///
    /// # Errors
    /// See [`Error::kind`]; 410 `ticket_lost` if it was not used in time, or if its use is long over.
    pub async fn ticket(&self, id: TicketId, wait: Duration) -> Result<TicketAnswer, Error> {
        self.look_at(id, wait).await.map(|(ticket, _)| ticket)
    }

    /// As that; gives as well after what time to look again, if the server says so.
    async fn look_at(&self, id: TicketId, wait: Duration) -> Result<(TicketAnswer, Option<Duration>), Error> {
        let call = read(format!("{}?wait={}", id.to_path(), wait.as_secs()));
        let content = Content::none(self.0.clock.clone());
        self.run(&call, &content, |response| async move {
            let (parts, bytes) = whole(response, ANSWER_MAX_BYTES).await?;
            let again = retry_after_ms(&parts.headers).map(Duration::from_millis);
            Ok((json(bytes)?, again))
        })
        .await
    }

    /// Gives a ticket up, so that nobody waits behind it.
    ///
    /// # Errors
    /// See [`Error::kind`]; 410 `ticket_lost` if there is none any more, 409 `conflict` if it was used.
    ///
    /// # Cancel safety
    /// A dropped call may have ended the ticket.
    pub async fn cancel_ticket(&self, id: TicketId) -> Result<(), Error> {
        let call = Call { method: Method::DELETE, key: Some(self.new_key()), ..read(id.to_path()) };
        let content = Content::none(self.0.clock.clone());
        self.run(&call, &content, |response| async move { whole(response, ANSWER_MAX_BYTES).await.map(drop) }).await
    }

    /// Waits until a ticket's turn has come. One that can't be waited for is given back: others would wait behind it.
    pub(super) async fn wait_for_turn(&self, ticket: TicketAnswer, queue: &Queue) -> Result<(), Error> {
        let id = ticket.id;
        let waited = self.look_until_turn(ticket, queue).await;
        if waited.as_ref().is_err_and(|error| !is_lost(error))
            && let Ok(Err(error)) = tokio::time::timeout(GIVE_BACK_MAX, self.cancel_ticket(id)).await
        {
            tracing::debug!(%id, %error, "the ticket was not given back");
        }
        waited
    }

    async fn look_until_turn(&self, mut ticket: TicketAnswer, queue: &Queue) -> Result<(), Error> {
        let (clock, mut pause) = (&self.0.clock, PAUSE);
        loop {
            queue.tell(&ticket);
            if ticket.state != TicketState::Waiting {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            let (look, begun) = (queue.look(), clock.now());
            let (told, again) = self.look_at(ticket.id, look).await?;
            let waited = clock.now().duration_since(begun) >= look / 2;
            pause = if waited { PAUSE } else { unwaited(again, look, self.0.entropy.u64()) };
            ticket = told;
        }
    }
}

/// Gives after what time to look again where the server did not wait: as long as it says, so that its turn is not missed, but
/// no longer than a look. `random` takes away up to a half, since all who found no room would come back at once.
fn unwaited(again: Option<Duration>, look: Duration, random: u64) -> Duration {
    let most = again.unwrap_or(LOOK_TOLD).clamp(UNWAITED_MIN, look);
    let half_ms = u64::try_from(most.as_millis() / 2).unwrap_or(u64::MAX).max(1);
    most - Duration::from_millis(random % half_ms)
}

/// Whether a ticket is no more.
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Problem(problem) if problem.code == Code::TicketLost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_wait_is_asked_again_when_it_says_and_not_all_the_time() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let between = |again, look| [u64::MAX / 2, 0].map(|random| unwaited(again, look, random));
        for (again, look, most) in [
            (Some(s(5)), LOOK, s(5)),
            (Some(s(5)), LOOK_TOLD, LOOK_TOLD),
            (Some(s(30)), LOOK, LOOK),
            (Some(s(1)), LOOK, s(1)),
            (Some(s(0)), LOOK, UNWAITED_MIN),
            (None, LOOK, LOOK_TOLD),
        ] {
            let [some, all] = between(again, look);
            assert_eq!(all, most, "{again:?}");
            assert!(some < most && some > most / 2, "{again:?}: {some:?}");
        }
        let spread: Vec<Duration> = (0..2500).map(|random| unwaited(Some(s(5)), LOOK, random)).collect();
        assert_eq!((spread.iter().min(), spread.iter().max()), (Some(&ms(2501)), Some(&ms(5000))));
    }
}
