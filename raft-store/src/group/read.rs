//! Linearizable reads: the leader confirms that it leads and names an entry, and the reader waits until it has applied that.
//!
//! # Source
//! Raft thesis 6.4 (ReadIndex), openraft docs::protocol::read.

use std::{sync::Arc, time::Duration};

use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Error, core::Core};
use crate::network::{Rpc, messages::ReadIndexAnswer};

/// How many reads may wait for a read index; a caller beyond them is told [`Error::Busy`] at once.
pub(super) const READS_MAX: usize = 16_384;
/// How long one question to a leader may take: its lease, in which it hears of a quorum or not at all.
const QUESTION_MAX: Duration = Duration::from_secs(1);
/// How many nodes are asked in one round: the one that we think leads, and the one that it names.
const QUESTIONS_MAX: usize = 2;

/// The entry that a linearizable read sees, and everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadIndex(pub u64);

/// A read that waits for the next round's index; none if the round failed.
pub(super) type Waiter = oneshot::Sender<Option<u64>>;

/// Serves the waiting reads until the group's handles are gone: one question to the leader for all that came before it was asked.
///
/// A read never joins a question that is already under way: its index may be older than a write that the reader knows of.
pub(super) async fn serve(core: Arc<Core>, mut waiters: mpsc::Receiver<Waiter>) {
    let mut round = Vec::new();
    while waiters.recv_many(&mut round, READS_MAX).await > 0 {
        let index = core.ask_leader().await;
        for waiter in round.drain(..) {
            let _ = waiter.send(index); // the reader may have gone
        }
    }
}

impl Core {
    /// Waits until a read of the applied state is linearizable.
    pub(super) async fn read(&self, reads: &mpsc::Sender<Waiter>, deadline: Duration) -> Result<ReadIndex, Error> {
        let until = self.clock.now() + deadline;
        let mut status = self.status.clone();
        for attempt in 0.. {
            if *self.applied.catching_up.borrow() {
                return Err(Error::CatchingUp);
            }
            if self.stopped() {
                return Err(Error::Stopped);
            }
            if self.left(until).is_zero() {
                break;
            }
            status.borrow_and_update();
            let (waiter, index) = oneshot::channel();
            reads.try_send(waiter).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Error::Busy,
                mpsc::error::TrySendError::Closed(_) => Error::Stopped,
            })?;
            match tokio::time::timeout_at(until, index).await {
                Ok(Ok(Some(index))) => return self.wait_applied(index, until).await.map(|()| ReadIndex(index)),
                Ok(Ok(None) | Err(_)) => self.back_off(&mut status, attempt, 0, until).await,
                Err(_) => break,
            }
        }
        Err(Error::NoLeader)
    }

    /// Waits until this node has applied an entry.
    pub(super) async fn wait_applied(&self, index: u64, until: Instant) -> Result<(), Error> {
        if *self.applied.index.borrow() >= index && !*self.applied.catching_up.borrow() {
            return Ok(()); // on a quiet group, nearly always
        }
        let mut applied = self.applied.index.subscribe();
        let mut catching_up = self.applied.catching_up.subscribe();
        let reached = tokio::select! {
            biased;
            // The senders live as long as this core.
            _ = catching_up.wait_for(|catching_up| *catching_up) => return Err(Error::CatchingUp),
            reached = tokio::time::timeout_at(until, applied.wait_for(|applied| *applied >= index)) => reached.is_ok(),
        };
        if reached { Ok(()) } else { Err(Error::Behind { applied: *self.applied.index.borrow(), wanted: index }) }
    }

    /// Asks the leader for a read index, and once more the node that it names.
    async fn ask_leader(&self) -> Option<u64> {
        let mut leader = self.leader();
        for _ in 0..QUESTIONS_MAX {
            let asked = leader?;
            match self.ask(asked).await {
                ReadIndexAnswer::Index(index) => return Some(index),
                ReadIndexAnswer::NotConfirmed { leader: other } => leader = other.filter(|other| *other != asked),
            }
        }
        None
    }

    async fn ask(&self, leader: u64) -> ReadIndexAnswer {
        let unknown = ReadIndexAnswer::NotConfirmed { leader: None };
        if leader == self.id {
            return self.read_index().await;
        }
        let Some(member) = self.member(leader) else { return unknown };
        tokio::select! {
            answer = self.link.call(leader, &member, Rpc::ReadIndex, &(), QUESTION_MAX) => answer.unwrap_or(unknown),
            () = self.other_leader(leader) => unknown,
        }
    }

    /// Confirms that this node leads and names the entry that a read has to see; never asks another node.
    pub(super) async fn read_index(&self) -> ReadIndexAnswer {
        // A planted fault: a node that believes that it leads asks nobody.
        flotilla_env::failpoint!("raft.read_index", |_| match self.leader().filter(|leader| *leader == self.id) {
            Some(_) => ReadIndexAnswer::Index(*self.applied.index.borrow()),
            None => ReadIndexAnswer::NotConfirmed { leader: self.leader() },
        });
        let confirmed = tokio::time::timeout(QUESTION_MAX, self.raft.get_read_linearizer(ReadPolicy::ReadIndex)).await;
        match confirmed {
            Ok(Ok(linearizer)) => ReadIndexAnswer::Index(linearizer.read_log_id().index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                ReadIndexAnswer::NotConfirmed { leader: forward.leader_id }
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) | RaftError::Fatal(_))) | Err(_) => {
                ReadIndexAnswer::NotConfirmed { leader: None }
            }
        }
    }
}
