//! Commands: to the leader, wherever it is, until one answers or the caller's time is over.
//!
//! Every attempt carries the same id, so the state machine applies the command once however often it arrives.

use std::time::Duration;

use bytes::Bytes;
use flotilla_api::NodeId;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::Instant;

use super::{Error, core::Core};
use crate::{
    network::{
        Rpc, TransportError,
        messages::{Propose, Proposed},
    },
    store::types::{Outcome, Proposal},
};

/// How long one leader is waited for before the command is offered again, maybe to another: a leader that hangs is replaced in about
/// this time.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// A result that a command had.
pub(super) struct Done {
    pub(super) index: u64,
    pub(super) replayed: bool,
    pub(super) answer: Bytes,
}

impl Core {
    /// Proposes a command in its envelope.
    pub(super) async fn propose(&self, envelope: Bytes, seed: u64, deadline: Duration) -> Result<Done, Error> {
        let until = self.clock.now() + deadline;
        let mut status = self.status.clone();
        let mut handed_over = false;
        let mut hint = None;
        for attempt in 0.. {
            if self.stopped() {
                return Err(if handed_over { Error::Indeterminate } else { Error::Stopped });
            }
            if self.left(until).is_zero() {
                break; // an attempt without time left would only make the outcome unknown
            }
            status.borrow_and_update();
            let leader = hint.take().or_else(|| self.leader());
            match self.attempt(leader, &envelope, until).await {
                Proposed::Done(Outcome::Applied { index, replayed, answer }) => {
                    return Ok(Done { index, replayed, answer });
                }
                Proposed::Done(Outcome::Indeterminate | Outcome::Nothing) => return Err(Error::Indeterminate),
                // A node that names itself could not confirm that it leads: asking it again at once is no use.
                Proposed::NotTaken { leader: other } => hint = other.filter(|other| Some(*other) != leader),
                Proposed::Unknown => handed_over = true,
            }
            if hint.is_none() || attempt > 0 {
                self.back_off(&mut status, attempt, seed, until).await;
            }
        }
        Err(if handed_over { Error::Indeterminate } else { Error::NoLeader })
    }

    async fn attempt(&self, leader: Option<u64>, envelope: &Bytes, until: Instant) -> Proposed {
        let not_taken = Proposed::NotTaken { leader: None };
        let Some(leader) = leader else { return not_taken };
        if leader == self.id {
            return self.submit(envelope.clone(), until).await;
        }
        let Some(member) = self.member(leader) else { return not_taken };
        let wait = self.left(until).min(ATTEMPT_MAX);
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let request = Propose { envelope: envelope.clone(), wait_ms };
        tokio::select! {
            answer = self.link.call(leader, &member, Rpc::Propose, &request, wait) => match answer {
                Ok(answer) => answer,
                Err(TransportError::Unreachable(_)) => not_taken,
                Err(TransportError::Timeout | TransportError::Refused(_)) => Proposed::Unknown,
            },
            () = self.other_leader(leader) => Proposed::Unknown,
        }
    }

    /// Appends a command to the log if this node leads; never hands it on, so that no message runs in circles.
    pub(super) async fn submit(&self, envelope: Bytes, until: Instant) -> Proposed {
        let write = self.raft.client_write(Proposal(envelope));
        match tokio::time::timeout_at(until, write).await {
            Ok(Ok(written)) => Proposed::Done(written.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Proposed::NotTaken { leader: forward.leader_id }
            }
            // Discarded entries may be committed by another leader all the same, and so may those of a core that stopped.
            Ok(Err(
                RaftError::APIError(
                    ClientWriteError::LogEntryDiscarded(_)
                    | ClientWriteError::ChangeMembershipError(_)
                    | ClientWriteError::PreconditionFailed(_),
                )
                | RaftError::Fatal(_),
            )) => Proposed::Unknown,
            Err(_) => Proposed::Unknown,
        }
    }

    /// Names the leader for those who have to ask it themselves.
    pub(super) fn not_leader(&self, leader: Option<u64>) -> Error {
        Error::NotLeader { hint: leader.map(NodeId) }
    }
}
