//! openraft's messages over the [`Transport`].

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use flotilla_api::{NodeId, codec};
use openraft::{
    OptionalSend, RPCTypes,
    alias::SnapshotOf,
    errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Member, Rpc, Transport, TransportError, wire};
use crate::{
    snapshot::{self, Staged},
    store::types::{Types, Vote},
};

/// What every message of this node needs.
pub(crate) struct Link {
    /// The group's name and identity, in every message.
    pub(crate) group: String,
    /// This node.
    pub(crate) id: u64,
    pub(crate) transport: Arc<dyn Transport>,
    /// The deadline of one message of entries.
    pub(crate) append_timeout: Duration,
    /// The deadline of one message of a snapshot.
    pub(crate) snapshot_timeout: Duration,
}

impl Link {
    /// Sends a request and waits for its answer until the deadline.
    pub(crate) async fn call<Q, A>(
        &self,
        target: u64,
        member: &Member,
        rpc: Rpc,
        request: &Q,
        deadline: Duration,
    ) -> Result<A, TransportError>
    where
        Q: Serialize,
        A: DeserializeOwned,
    {
        let body: Bytes = wire::request(&self.group, target, request);
        let call = self.transport.call(NodeId(target), member, rpc, body, deadline);
        // The transport is told the deadline so that it can end tidily; it is held to it here.
        let answer = tokio::time::timeout(deadline, call).await.map_err(|_| TransportError::Timeout)??;
        codec::decode(&answer).map_err(|error| TransportError::Refused(format!("its answer does not decode: {error}")))
    }
}

/// Makes the connections of a group, as openraft sees them.
pub(crate) struct Factory(pub(crate) Arc<Link>);

/// The way to one member.
pub(crate) struct Peer {
    link: Arc<Link>,
    target: u64,
    member: Member,
    heartbeat: bool,
}

impl Factory {
    fn peer(&self, target: u64, member: &Member, heartbeat: bool) -> Peer {
        Peer { link: self.0.clone(), target, member: member.clone(), heartbeat }
    }
}

// The kind of message chooses the connection, so a client of its own for snapshots has nothing to tell apart.
impl RaftNetworkFactory<Types> for Factory {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, true)
    }
}

impl Peer {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        rpc: Rpc,
        request: &Q,
        deadline: Duration,
    ) -> Result<A, RPCError<Types>> {
        let answer = self.link.call(self.target, &self.member, rpc, request, deadline).await;
        answer.map_err(|error| self.rpc_error(rpc, deadline, &error))
    }

    fn rpc_error(&self, rpc: Rpc, timeout: Duration, error: &TransportError) -> RPCError<Types> {
        match error {
            // Either way the same message would meet the same answer at once; Unreachable makes openraft wait.
            TransportError::Unreachable(_) | TransportError::Refused(_) => Unreachable::new(error).into(),
            TransportError::Timeout => {
                let action = match rpc {
                    Rpc::Vote | Rpc::PreVote => RPCTypes::Vote,
                    Rpc::Transfer => RPCTypes::TransferLeader,
                    Rpc::SnapshotBegin | Rpc::SnapshotPart | Rpc::SnapshotEnd => RPCTypes::InstallSnapshot,
                    Rpc::Append | Rpc::Heartbeat | Rpc::Propose | Rpc::ReadIndex => RPCTypes::AppendEntries,
                };
                Timeout { action, id: self.link.id, target: self.target, timeout }.into()
            }
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Staged;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        if self.heartbeat {
            return self.call(Rpc::Heartbeat, &rpc, option.soft_ttl()).await;
        }
        // openraft offers one heartbeat interval, which a slow disk's sync or a mebibyte on a slow link exceeds for good.
        self.call(Rpc::Append, &rpc, self.link.append_timeout).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Rpc::Vote, &rpc, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Rpc::PreVote, &rpc, option.soft_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(Rpc::Transfer, &req, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, Staged>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let deadline = self.link.snapshot_timeout;
        let sent = snapshot::send(&self.link, self.target, &self.member, vote, &snapshot.snapshot);
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = sent => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(snapshot::SendError::Transport(error)) => {
                    Err(self.rpc_error(Rpc::SnapshotPart, deadline, &error).into())
                }
                // Unreachable makes openraft wait before it tries again.
                Err(error) => Err(Unreachable::new(&error).into()),
            },
        }
    }
}
