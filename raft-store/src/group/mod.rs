//! A running Raft group and the handle through which its node uses it.

mod core;
mod error;
mod handle;
mod members;
mod open;
mod propose;
mod read;
mod settings;
mod snapshots;
mod status;

pub use error::{Error, Kind};
pub use open::Options;
pub use read::ReadIndex;
pub use settings::Settings;
pub use status::Status;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use flotilla_api::{CommandId, NodeId, codec};
use flotilla_kv::{Kv, View};
use tokio::sync::{mpsc, watch};

use self::core::Core;
use crate::{
    machine::Machine,
    network::{Member, Rpc},
    store::envelope::{self, COMMAND_BYTES_MAX},
};

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied<A> {
    /// The machine's answer.
    pub answer: A,
    /// The log index at which the command was applied.
    pub index: u64,
    /// Whether it had been applied before, so that this is the kept answer.
    pub replayed: bool,
}

/// A cheap handle to a running group. The group stops when [`Group::shutdown`] is called or the last handle is dropped.
pub struct Group<M> {
    inner: Arc<Inner>,
    machine: PhantomData<fn() -> M>,
}

impl<M> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), machine: PhantomData }
    }
}

struct Inner {
    core: Arc<Core>,
    kv: Arc<dyn Kv>,
    reads: mpsc::Sender<read::Waiter>,
    /// Spreads the attempts of different commands.
    hasher: RandomState,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.fatal.disarm();
        // openraft's tasks keep each other alive; outside of a runtime they have ended already.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let raft = self.core.raft.clone();
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}

impl<M: Machine> Group<M> {
    /// Opens a group's store and starts it. A node that was never part of the group waits for its leader, or for
    /// [`Group::form`].
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Settings`]; neither goes away by trying again.
    pub async fn open(options: Options<M>) -> Result<Self, Error> {
        let (core, kv) = open::open(options).await?;
        let (reads, waiters) = mpsc::channel(read::READS_MAX);
        tokio::spawn(read::serve(core.clone(), waiters));
        Ok(Self { inner: Arc::new(Inner { core, kv, reads, hasher: RandomState::new() }), machine: PhantomData })
    }

    /// Proposes a command and waits until it is applied, on whatever node: the leader is found and followed.
    ///
    /// A command whose id was applied before is answered with the kept result. Every attempt carries the same id.
    ///
    /// # Errors
    /// [`Error::NoLeader`]: no leader took it, nothing was done. [`Error::Indeterminate`]: it was handed over, or its id is too
    /// old; propose it again with the same id to learn more. [`Error::TooLarge`], [`Error::Stopped`].
    ///
    /// # Durability
    /// Ok means that the command is committed: synced on a quorum.
    ///
    /// # Cancel safety
    /// Dropped, the command may or may not be applied.
    pub async fn propose(
        &self,
        id: CommandId,
        command: M::Command,
        deadline: Duration,
    ) -> Result<Applied<M::Answer>, Error> {
        let seed = self.inner.hasher.hash_one(&id);
        let envelope = envelope::seal(M::COMMAND_VERSION, id, &command);
        if envelope.len() > COMMAND_BYTES_MAX {
            return Err(Error::TooLarge { bytes: envelope.len() });
        }
        let done = self.inner.core.propose(envelope, seed, deadline).await?;
        let answer = codec::decode(&done.answer).map_err(Error::Answer)?;
        Ok(Applied { answer, index: done.index, replayed: done.replayed })
    }
}

impl<M> Group<M> {
    /// Writes the first membership, all of them voters, into an empty log; a group that is formed stays as it is.
    ///
    /// Every node that calls this must give the same members (or call it on one node alone).
    ///
    /// # Errors
    /// [`Error::Membership`] if this node is not among them, [`Error::Stopped`].
    pub async fn form(&self, members: BTreeMap<NodeId, Member>) -> Result<(), Error> {
        self.inner.core.form(members).await
    }

    /// Whether this node knows the group's members.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        !self.status().voters.is_empty()
    }

    /// Waits until a read of [`Group::consistent_view`] on this node is linearizable: it sees everything that was acked before
    /// this call.
    ///
    /// Calls that wait together share one question to the leader.
    ///
    /// # Errors
    /// [`Error::NoLeader`], [`Error::CatchingUp`], [`Error::Behind`], [`Error::Busy`]: try again later or on another node.
    /// [`Error::Stopped`].
    pub async fn read(&self, deadline: Duration) -> Result<ReadIndex, Error> {
        self.inner.core.read(&self.inner.reads, deadline).await
    }

    /// Waits until this node has applied an entry, for example the one of a command that was proposed here.
    ///
    /// # Errors
    /// [`Error::Behind`], [`Error::CatchingUp`].
    pub async fn wait_applied(&self, index: u64, deadline: Duration) -> Result<(), Error> {
        let until = self.inner.core.clock.now() + deadline;
        self.inner.core.wait_applied(index, until).await
    }

    /// Waits until this node's state is at least what it was before its last start. Linearizable reads need not wait.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if the group has no leader by then, [`Error::Stopped`].
    pub async fn wait_recovered(&self, deadline: Duration) -> Result<(), Error> {
        let recovered = self.inner.core.raft.wait_for_recovery(Some(deadline)).await;
        recovered.map(|_| ()).map_err(|_| if self.inner.core.stopped() { Error::Stopped } else { Error::NoLeader })
    }

    /// The database with the applied state. For more than one row take a [`Group::consistent_view`].
    #[must_use]
    pub fn view(&self) -> &Arc<dyn Kv> {
        &self.inner.kv
    }

    /// Takes a view of the applied state that stays as it is, whatever is applied or installed later.
    ///
    /// # Errors
    /// [`Error::CatchingUp`] while a snapshot is being installed: the state is not whole.
    pub fn consistent_view(&self) -> Result<Box<dyn View + '_>, Error> {
        self.whole(Kv::snapshot)
    }

    /// Reads once from the applied state: one row, which one batch wrote, or one view. A row alone costs less than a view of it.
    ///
    /// # Errors
    /// As [`Group::consistent_view`].
    pub fn whole<'a, T>(&'a self, read: impl FnOnce(&'a dyn Kv) -> T) -> Result<T, Error> {
        let applied = &self.inner.core.applied;
        let installs = applied.installs.load(Ordering::SeqCst);
        let before = *applied.catching_up.borrow();
        let read = read(&*self.inner.kv);
        // An installation is counted before it removes the first row, so none began before the state was read.
        if before || *applied.catching_up.borrow() || applied.installs.load(Ordering::SeqCst) != installs {
            return Err(Error::CatchingUp);
        }
        Ok(read)
    }

    /// The group as this node sees it now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.core.status_now()
    }

    /// A member of the group as this node knows it.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.inner.core.member(id.0)
    }

    /// Watches the group's status. Progress of the log alone is no change; see [`Group::wait_applied`] for that.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.inner.core.status.clone()
    }

    /// The last applied index: what the maker of a [`CommandId`] has seen.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        *self.inner.core.applied.index.borrow()
    }

    /// Handles a message of another node and gives the answer for it.
    ///
    /// # Errors
    /// [`Error::Peer`]: the message is damaged or for another node. [`Error::Stopped`], [`Error::Store`].
    pub async fn handle(&self, rpc: Rpc, body: Bytes) -> Result<Bytes, Error> {
        self.inner.core.handle(rpc, &body).await
    }

    /// Asks a voter to take the leadership over: the one given, or the one whose log reaches furthest. Returns when it was asked;
    /// [`Group::watch`] shows when it leads.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Membership`] if there is no other voter, [`Error::Stopped`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<(), Error> {
        self.inner.core.transfer_leader(to).await
    }

    /// Adds a node that follows without a vote. An id must never be used again for another node.
    ///
    /// # Errors
    /// [`Error::NotLeader`]; [`Error::Membership`] while another change is under way; [`Error::Indeterminate`].
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<(), Error> {
        self.inner.core.add_learner(id, member).await
    }

    /// Makes these nodes, and no others, the voters; all must be members, and former voters stay as learners.
    ///
    /// # Errors
    /// As [`Group::add_learner`].
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), Error> {
        self.inner.core.set_voters(voters).await
    }

    /// Removes a learner from the group.
    ///
    /// # Errors
    /// As [`Group::add_learner`]; a voter is refused.
    pub async fn remove_learner(&self, id: NodeId) -> Result<(), Error> {
        self.inner.core.remove_learner(id).await
    }

    /// How far a member's log is known to match this leader's: it has synced everything up to there. None if this node does not
    /// lead, or has not heard of the member's log.
    #[must_use]
    pub fn matched(&self, id: NodeId) -> Option<u64> {
        self.inner.core.matched(id)
    }

    /// How long ago a member was heard of: since it was sent the last heartbeat or entries that it acked. None if this node does not
    /// lead, or has not heard of it since it does; of itself a leader hears nothing.
    #[must_use]
    pub fn heard(&self, id: NodeId) -> Option<Duration> {
        self.inner.core.heard(id)
    }

    /// Lets this node want to lead, if it was opened without that.
    pub fn let_elect(&self) {
        self.inner.core.raft.runtime_config().elect(true);
    }

    /// Starts building a snapshot; [`Status::snapshot_index`] shows when it is there.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn trigger_snapshot(&self) -> Result<(), Error> {
        self.inner.core.raft.trigger().snapshot().await.map_err(|_| Error::Stopped)
    }

    /// Purges the log up to an index that is in the current snapshot; [`Status::purged_index`] shows when it is done.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn purge(&self, upto: u64) -> Result<(), Error> {
        self.inner.core.raft.trigger().purge_log(upto).await.map_err(|_| Error::Stopped)
    }

    /// Stops the group on this node; the database stays open.
    pub async fn shutdown(&self) {
        self.inner.core.fatal.disarm();
        if let Err(error) = self.inner.core.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end tidily");
        }
    }
}

#[cfg(test)]
impl<M> Group<M> {
    /// What the state machine shares with this handle.
    pub(crate) fn shared(&self) -> &crate::store::state_machine::Applied {
        &self.inner.core.applied
    }
}
