//! What becomes of a permit: each credit comes back once, whichever way its request goes.

use flotilla_api::{
    ClusterName,
    explain::{Claimed, What},
};
use http::StatusCode;

use super::{Door, Engine, Held, Holds, Outcome, PermitId, STREAM_FROM_BYTES, Turn, WaiterId};

impl Engine {
    /// Whoever asked has gone: out of the queue, or with a permit that it did not take.
    pub(super) fn left(&mut self, waiter: WaiterId, turn: &mut Turn<'_>) {
        let Some(waiting) = self.waiting.remove(&waiter) else {
            return self.ended(PermitId(waiter.0), Outcome::Gone, turn);
        };
        let spot = waiting.spot(waiter);
        let queue = self.side_mut(&waiting.door).queue_mut(waiting.ask.class.lane);
        queue.remove(&waiting.ask.principal, spot, turn.now);
        self.records.happened(&waiting.ask.request, What::Left, turn.now);
    }

    pub(super) fn ended(&mut self, permit: PermitId, outcome: Outcome, turn: &mut Turn<'_>) {
        if let Some(held) = self.held.get(&permit) {
            match outcome {
                Outcome::Answered(status) => {
                    self.records.answered(&held.request, status);
                    if status == StatusCode::TEMPORARY_REDIRECT {
                        let door = held.door.clone();
                        self.side_mut(&door).note_redirect();
                    }
                }
                Outcome::Gone => self.records.happened(&held.request, What::Left, turn.now),
                Outcome::LostClaim => {}
            }
        }
        self.release(permit, turn);
    }

    /// Takes a permit back, with what it still holds.
    pub(super) fn release(&mut self, permit: PermitId, turn: &mut Turn<'_>) {
        let Some(held) = self.held.remove(&permit) else { return };
        let account = &mut self.side_mut(&held.door).account;
        if held.claims {
            account.claimed();
        }
        match held.holds {
            Holds::Credit => account.give(held.lane, turn.now),
            Holds::Stream => account.end_stream(),
            Holds::Nothing => {}
        }
        self.dispatch(&held.door, turn);
    }

    /// A read is no work for its cluster after its head, but for the bytes: a long one is a stream, a short one is
    /// over.
    pub(super) fn headed(&mut self, permit: PermitId, length: Option<u64>, turn: &mut Turn<'_>) {
        if length.is_none_or(|length| length > STREAM_FROM_BYTES) {
            return self.rested(permit, turn);
        }
        let Some(Held { door, lane, holds: holds @ Holds::Credit, .. }) = self.held.get_mut(&permit) else { return };
        *holds = Holds::Nothing;
        let (door, lane) = (door.clone(), *lane);
        self.side_mut(&door).account.give(lane, turn.now);
        self.dispatch(&door, turn);
    }

    /// A stream that rests owns no credit, and none is given to it again: a few slow clients would clog a cluster that
    /// has nothing to do. Where there are too many streams it keeps its credit.
    pub(super) fn rested(&mut self, permit: PermitId, turn: &mut Turn<'_>) {
        let Some(Held { door, lane, holds: Holds::Credit, .. }) = self.held.get(&permit) else { return };
        let (door, lane) = (door.clone(), *lane);
        if self.side_mut(&door).account.rest(lane, turn.now) {
            if let Some(held) = self.held.get_mut(&permit) {
                held.holds = Holds::Stream;
            }
            self.dispatch(&door, turn);
        }
    }

    /// The directory has answered: whoever waited for that makes room for the next one.
    pub(super) fn claimed(&mut self, permit: PermitId, claimed: Claimed, turn: &mut Turn<'_>) {
        let Some(held) = self.held.get_mut(&permit) else { return };
        self.records.claimed(&held.request, claimed);
        if std::mem::take(&mut held.claims) {
            let door = held.door.clone();
            self.side_mut(&door).account.claimed();
            self.dispatch(&door, turn);
        }
    }

    /// After its grant a request waits nowhere: where it follows its key to, it uses a credit that may not be there.
    pub(super) fn moved(&mut self, permit: PermitId, to: ClusterName, turn: &mut Turn<'_>) {
        let Some(Held { request, lane, holds: Holds::Credit, .. }) = self.held.get(&permit) else { return };
        let lane = *lane;
        self.records.happened(request, What::Moved { to: to.clone() }, turn.now);
        self.open(&to, turn.now);
        let to = Door::Cluster(to);
        self.side_mut(&to).take(lane, turn.now);
        let Some(held) = self.held.get_mut(&permit) else { return };
        let (from, claims) = (std::mem::replace(&mut held.door, to), std::mem::take(&mut held.claims));
        let account = &mut self.side_mut(&from).account;
        account.give(lane, turn.now);
        if claims {
            account.claimed();
        }
        self.dispatch(&from, turn);
    }
}
