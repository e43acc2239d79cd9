//! Raft messages over signed peer requests, each kind on its lane.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::{NodeId, route};
use flotilla_client::{
    Lane, PeerClient,
    peer::{self, Executed},
};
use flotilla_raft_store::{Member, Rpc, Transport, TransportError};
use http::{HeaderMap, Method};

/// The transport of a group whose members are processes.
#[derive(Debug, Clone)]
pub struct PeerTransport(pub PeerClient);

#[async_trait]
impl Transport for PeerTransport {
    async fn call(
        &self,
        _target: NodeId,
        member: &Member,
        rpc: Rpc,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let route = format!("{}/{}", route::PEER_RAFT, rpc.as_str());
        let call = self.0.call(lane(rpc), Method::POST, &member.peer, &route, HeaderMap::new(), body, deadline);
        match call.await {
            Ok((_, answer)) => Ok(answer),
            Err(error @ peer::Error::Timeout { .. }) => {
                tracing::debug!(%error, "raft message timed out");
                Err(TransportError::Timeout)
            }
            Err(peer::Error::Problem(problem)) => Err(TransportError::Refused(problem.to_string())),
            Err(error) if error.executed() == Executed::No => Err(TransportError::Unreachable(error.to_string())),
            Err(_) => Err(TransportError::Timeout),
        }
    }
}

fn lane(rpc: Rpc) -> Lane {
    match rpc {
        Rpc::Heartbeat | Rpc::Vote | Rpc::PreVote | Rpc::Transfer => Lane::RaftHeartbeat,
        Rpc::Append => Lane::RaftAppend,
        Rpc::SnapshotBegin | Rpc::SnapshotPart | Rpc::SnapshotEnd => Lane::RaftSnapshot,
        Rpc::Propose | Rpc::ReadIndex => Lane::Control,
    }
}
