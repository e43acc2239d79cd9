//! The supernodes themselves: who they are, and how one leaves.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use flotilla_api::{
    Code, NodeId, Problem,
    admin::{Role, Standing, Taken},
    route,
    supernodes::{Supernode, SupernodeList},
};
use flotilla_client::{Lane, peer};
use flotilla_http_server::{ApiError, Caller, Coded};
use flotilla_member::membership::{Register as _, SILENT_AFTER};

use super::{
    Late, PeerState, Service,
    error::{of_answer, of_directory, of_membership, of_refusal},
};
use crate::directory::Answer;

/// One that was heard so lately is not lost.
const LOST_AFTER_MS: u64 = 5000;
/// How long the leader may take: a read barrier.
const LEADER_DEADLINE: Duration = Duration::from_secs(10);

/// Tells of the members.
pub(super) async fn list(State(service): State<Late<Service>>) -> Result<Json<SupernodeList>, ApiError> {
    Ok(Json(service.ready()?.supernodes().await?))
}

/// Tells another supernode of the members, as their leader.
pub(super) async fn members(
    State(state): State<PeerState>,
    Coded(()): Coded<()>,
) -> Result<Coded<SupernodeList>, ApiError> {
    let service = state.service.ready()?;
    if !service.directory().group().status().is_leader {
        return Err(ApiError::new(Code::NoLeader, "this supernode is not the leader"));
    }
    Ok(Coded(service.supernodes_here().await?))
}

/// Has a supernode that is up leave for ever.
pub(super) async fn remove(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Taken>, ApiError> {
    service.ready()?.remove_supernode(&caller, &id, false).await.map(Json)
}

/// Has a supernode leave for ever that is gone.
pub(super) async fn remove_lost(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Taken>, ApiError> {
    service.ready()?.remove_supernode(&caller, &id, true).await.map(Json)
}

impl Service {
    /// Gives the members as the leader knows them.
    async fn supernodes(&self) -> Result<SupernodeList, ApiError> {
        let status = self.directory().group().status();
        if status.is_leader {
            return self.supernodes_here().await;
        }
        let none = || {
            let problem = Problem::new(Code::NoLeader, "the supernode group has no leader now");
            problem.retry_after_ms(500)
        };
        let leader = status.leader.and_then(|id| status.members.get(&id)).ok_or_else(none)?;
        let peers = &self.forwarder.peers;
        let asked = peers.post(Lane::Control, &leader.peer, route::PEER_MEMBERS, &(), LEADER_DEADLINE).await;
        asked.map_err(|error| match error {
            peer::Error::Problem(problem) => (*problem).into(),
            error => {
                let detail = format!("the leader of the supernodes does not tell of them: {error}");
                Problem::new(Code::NotReady, detail).retry_after_ms(1000).into()
            }
        })
    }

    /// As [`Service::supernodes`], at the leader.
    async fn supernodes_here(&self) -> Result<SupernodeList, ApiError> {
        self.roster.barrier().await.map_err(|error| of_membership(&error))?;
        let decided = self.roster.decided().await.map_err(|error| of_membership(&error))?;
        let documents = self.directory().supernodes().map_err(|error| of_directory(&error))?;
        let (status, heard) = (self.directory().group().status(), self.roster.heard());
        // A leader that is new, or slept, can't know for how long others have been silent.
        let awake_for = self.roster.steady_for();
        let member = |(id, member): (NodeId, flotilla_raft_store::Member)| {
            let known = documents.iter().find(|known| known.id == id);
            let silent_for = match heard.iter().find(|heard| heard.node == id) {
                _ if status.id == id => Duration::ZERO,
                Some(heard) => heard.silent_for.min(awake_for),
                None => awake_for,
            };
            let is_heard = status.id == id || heard.iter().any(|heard| heard.node == id);
            Supernode {
                id,
                name: known.map_or(member.name, |known| known.name.clone()),
                peer: member.peer,
                public: known.map(|known| known.public.clone()),
                role: match id {
                    id if status.leader == Some(id) => Role::Leader,
                    id if status.voters.contains(&id) => Role::Voter,
                    _ => Role::Learner,
                },
                standing: match is_heard && silent_for < SILENT_AFTER {
                    true => Standing::Up,
                    false => Standing::Silent,
                },
                silent_ms: u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX),
                leaves: decided.get(&id).is_some_and(|row| row.leaves),
            }
        };
        Ok(SupernodeList { items: status.members.clone().into_iter().map(member).collect() })
    }

    /// Has a supernode leave for ever: one that is up and can be told, or one that is gone. One that has left already is none to be
    /// told, and what was ordered is done.
    async fn remove_supernode(&self, caller: &Caller, id: &str, lost: bool) -> Result<Taken, ApiError> {
        if !caller.root {
            return Err(ApiError::new(Code::Forbidden, "only root may remove supernodes"));
        }
        let none = || {
            let problem = Problem::new(Code::RouteNotFound, format!("there is no supernode {id}"));
            problem.hint("'flotilla supernode list' shows them")
        };
        let members = self.supernodes().await?.items;
        let asked: Option<NodeId> = id.parse().ok();
        let Some(of) = members.iter().find(|member| Some(member.id) == asked) else {
            let Some(node) = asked else { return Err(none().into()) };
            return if self.has_left(node).await? { Ok(Taken { node }) } else { Err(none().into()) };
        };
        let refused = |why: String, hint: String| Err(Problem::new(Code::Conflict, why).hint(hint).into());
        if !members.iter().any(|member| member.id != of.id && !member.leaves) {
            let why = format!("no other supernode would be left than {}", of.id);
            return refused(why, "have another supernode join first".to_owned());
        }
        if lost && of.standing == Standing::Up {
            let why = format!("supernode {} is up, so it is not lost", of.id);
            return refused(why, format!("remove it without --lost: 'flotilla supernode remove {}'", of.id));
        }
        if lost && of.silent_ms < LOST_AFTER_MS {
            let why = format!("supernode {} was heard, or the leader began to listen, {} ms ago", of.id, of.silent_ms);
            return refused(why, "try again in some seconds".to_owned());
        }
        if !lost && !of.leaves && of.standing == Standing::Silent {
            let why = format!("supernode {} is silent, so it can't be told that it leaves", of.id);
            return refused(why, "start it first; or say --lost if it will not come back".to_owned());
        }
        match self.roster.remove(of.id).await.map_err(|error| of_membership(&error))? {
            Answer::Done => {}
            Answer::Refused(refusal) => return Err(of_refusal(&refusal)),
            answer => return Err(of_answer(&answer)),
        }
        tracing::info!(supernode = %of.id, lost, "supernode is to leave");
        Ok(Taken { node: of.id })
    }

    async fn has_left(&self, id: NodeId) -> Result<bool, ApiError> {
        self.directory().barrier().await.map_err(|error| of_directory(&error))?;
        self.directory().has_left(id).map_err(|error| of_directory(&error))
    }
}
