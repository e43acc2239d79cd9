//! Changes of who is in the group and who leads it. All of them are for the leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use flotilla_api::NodeId;
use openraft::{
    ChangeMembers, Instant as _,
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, InitializeError, RaftError},
};

use super::{Error, core::Core};
use crate::{network::Member, store::types::Types};

/// How long a change of the membership may take, which is two commits; without a quorum it would wait for ever.
const CHANGE_MAX: Duration = Duration::from_secs(10);

impl Core {
    /// Writes the first membership into an empty log.
    pub(super) async fn form(&self, members: BTreeMap<NodeId, Member>) -> Result<(), Error> {
        let members: BTreeMap<u64, Member> = members.into_iter().map(|(id, member)| (id.0, member)).collect();
        match self.raft.initialize(members).await {
            // A log that is not empty belongs to a group that was formed before.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => Err(Error::Membership(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(Error::Stopped),
        }
    }

    pub(super) async fn add_learner(&self, id: NodeId, member: Member) -> Result<(), Error> {
        self.change(self.raft.add_learner(id.0, member, false)).await
    }

    pub(super) async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), Error> {
        let voters: BTreeSet<u64> = voters.into_iter().map(|id| id.0).collect();
        // Former voters stay as learners: every node has the metadata.
        self.change(self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true)).await
    }

    pub(super) async fn remove_learner(&self, id: NodeId) -> Result<(), Error> {
        let nodes = BTreeSet::from([id.0]);
        self.change(self.raft.change_membership(ChangeMembers::RemoveNodes(nodes), true)).await
    }

    async fn change<T>(
        &self,
        change: impl Future<Output = Result<T, RaftError<Types, ClientWriteError<Types>>>>,
    ) -> Result<(), Error> {
        let Ok(changed) = tokio::time::timeout(CHANGE_MAX, change).await else { return Err(Error::Indeterminate) };
        match changed {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(self.not_leader(forward.leader_id))
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Err(Error::Indeterminate),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Err(Error::Membership(error.to_string()))
            }
            Err(RaftError::APIError(ClientWriteError::PreconditionFailed(error))) => {
                Err(Error::Membership(error.to_string()))
            }
            Err(RaftError::Fatal(_)) => Err(Error::Stopped),
        }
    }

    /// How far a member's log is known to match this leader's.
    pub(super) fn matched(&self, id: NodeId) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.replication.as_ref()?.get(&id.0)?.as_ref().map(|log_id| log_id.index())
    }

    /// How long ago a member that has acked was sent its heartbeat or entries; none if this node does not lead.
    pub(super) fn heard(&self, id: NodeId) -> Option<Duration> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        // openraft's instants are those of tokio's clock, which this group's clock shows as well.
        metrics.heartbeat.as_ref()?.get(&id.0)?.as_ref().map(|sent| sent.elapsed())
    }

    /// Asks a voter to take over: the one named, or the one whose log reaches furthest.
    pub(super) async fn transfer_leader(&self, to: Option<NodeId>) -> Result<(), Error> {
        let (leader, best) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
            let logs = metrics.replication.iter().flatten().filter(|(id, _)| voters.contains(id));
            let others = logs.filter(|(id, _)| **id != self.id);
            let best = others.max_by_key(|(_, matched)| matched.map(|id| id.index())).map(|(id, _)| *id);
            (metrics.current_leader, best)
        };
        if leader != Some(self.id) {
            return Err(self.not_leader(leader));
        }
        let to = to.map(|id| id.0).or(best).ok_or_else(|| Error::Membership("there is no other voter".into()))?;
        self.raft.trigger().transfer_leader(to).await.map_err(|_| Error::Stopped)
    }
}
