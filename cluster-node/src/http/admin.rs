//! What operators ask of the cluster, answered by any of its nodes: for clients of this node, and for supernodes on behalf of theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use flotilla_api::{
    ClusterName, Code, NodeId, Problem,
    admin::{Drain, Node, NodeList, Request, Role, Standing, Taken, Task, TaskKind, TaskList, TaskState, TransferList},
    route,
};
use flotilla_client::{Lane, PeerClient, peer};
use flotilla_env::Entropy;
use flotilla_http_server::{ApiError, Caller, Coded, Late, admin};
use flotilla_kv::View;
use flotilla_raft_store::Member;
use http::{HeaderValue, Method, Uri, header::CONTENT_TYPE};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    error::of_metadata,
    files::FileService,
    routes::{PeerState, wrong_cluster},
};
use crate::{
    board::{Board, SILENT_AFTER},
    metadata::{
        Answer, Command, Metadata, Refusal,
        heal::{TaskId, tasks},
        life::queues,
        nodes,
        rows::TaskRow,
    },
    repair::transfers::Transfers,
};

/// A node that was heard so lately is not lost.
const LOST_AFTER_MS: u64 = 5000;
/// How long the leader may take: it counts chunks where a node drains.
const LEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a node may take to say what it knows.
const NODE_DEADLINE: Duration = Duration::from_secs(2);

/// Answers operators. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// This node.
    pub node: NodeId,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// The way to other nodes.
    pub peers: PeerClient,
    /// What this node copied.
    pub transfers: Transfers,
    /// What this node knows as the leader.
    pub board: Board,
    /// Ends this node in order.
    pub stop: CancellationToken,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
}

impl Admin {
    /// Answers a question with JSON.
    ///
    /// # Errors
    /// As the question's own.
    pub async fn answer(&self, request: Request) -> Result<String, ApiError> {
        match request {
            Request::Tasks => json(&self.tasks().await?),
            Request::Transfers => json(&self.all_transfers().await),
            Request::Nodes => json(&self.nodes().await?),
            Request::Drain { node, on } => json(&self.drain(node, on).await?),
            Request::Stop { node } => json(&self.stop(node).await?),
            Request::Remove { node, lost } => json(&self.remove(node, lost).await?),
        }
    }

    /// Tells of the members, as the leader knows them.
    async fn nodes(&self) -> Result<NodeList, ApiError> {
        let status = self.metadata.group().status();
        if status.is_leader {
            return self.members().await;
        }
        let none = || ApiError::new(Code::NoLeader, "no leader is known");
        let leader = status.leader.and_then(|id| status.members.get(&id)).ok_or_else(none)?;
        let asked = self.peers.post(Lane::Control, &leader.peer, route::PEER_MEMBERS, &(), LEADER_DEADLINE).await;
        asked.map_err(|error| match error {
            peer::Error::Problem(problem) => (*problem).into(),
            error => {
                let problem = Problem::new(Code::NotReady, format!("the leader does not tell of the members: {error}"));
                problem.retry_after_ms(1000).into()
            }
        })
    }

    /// As [`Admin::nodes`], at the leader.
    async fn members(&self) -> Result<NodeList, ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        let decided = self.view(|view| nodes::decided(view)).await?;
        let draining: BTreeSet<NodeId> = decided.iter().filter(|(_, row)| row.draining).map(|(id, _)| *id).collect();
        let (status, known) = (self.metadata.group().status(), self.board.roll());
        let is_up =
            |id: &NodeId| known.iter().any(|known| known.candidate.node == *id && known.silent_for < SILENT_AFTER);
        let quorum = status.is_quorum(|id| is_up(&id) && !draining.contains(&id));
        // A leader that is new, or slept, can't know for how long others have been silent.
        let awake_for = self.board.steady_for(self.node);
        // In this order: what a node does not hold can be named only by what it took before.
        let asked = status.members.iter().filter(|(id, _)| draining.contains(id));
        let asked = asked.map(|(id, member)| async move { (*id, self.has_nothing(*id, &member.peer).await) });
        let empty: BTreeMap<NodeId, bool> = futures::future::join_all(asked).await.into_iter().collect();
        let counted = draining.clone();
        let named = match draining.is_empty() {
            true => BTreeMap::new(),
            false => self.view(move |view| queues::named_for(view, &counted)).await?,
        };
        let mut list = NodeList::default();
        for (id, member) in status.members {
            let known = known.iter().find(|known| known.candidate.node == id);
            let stats = known.map(|known| known.candidate.stats.clone()).unwrap_or_default();
            let drain = draining.contains(&id).then(|| {
                let named = named.get(&id).copied().unwrap_or_default();
                let empty = named == 0 && empty.get(&id).copied().unwrap_or_default();
                let needed = status.voters.contains(&id) && !quorum;
                Drain { named, empty, safe_to_stop: empty && !needed }
            });
            list.items.push(Node {
                id,
                name: member.name,
                peer: member.peer,
                zone: known.and_then(|known| known.candidate.zone.clone()),
                role: match id {
                    id if status.leader == Some(id) => Role::Leader,
                    id if status.voters.contains(&id) => Role::Voter,
                    _ => Role::Learner,
                },
                standing: match known {
                    Some(known) if known.silent_for < SILENT_AFTER => Standing::Up,
                    Some(_) | None => Standing::Silent,
                },
                silent_ms: known.map_or(awake_for, |known| known.silent_for.min(awake_for)).as_millis() as u64,
                copies: stats.chunks,
                disk_free_bytes: stats.disk_free_bytes,
                drain,
                leaves: decided.get(&id).is_some_and(|row| row.leaves),
            });
        }
        Ok(list)
    }

    /// Whether a node's disk holds no chunk, and will not get one.
    async fn has_nothing(&self, node: NodeId, peer: &str) -> bool {
        let asked = self.peers.post(Lane::Control, peer, route::PEER_DRAINED, &(), NODE_DEADLINE).await;
        asked.inspect_err(|error| tracing::debug!(%node, %error, "node does not say what it holds")).unwrap_or(false)
    }

    /// Begins to move all data off a node, or stops doing so.
    async fn drain(&self, node: NodeId, on: bool) -> Result<Taken, ApiError> {
        self.member(node)?;
        let id = self.metadata.fresh_id(&*self.entropy);
        flotilla_env::failpoint!("drain.before_propose", |_| Err(ApiError::new(Code::NoLeader, "a failpoint")));
        let told = self.metadata.propose(id, Command::Nodes(nodes::Command::Drain { node, on })).await;
        taken(node, told.map_err(|error| of_metadata(&error))?.answer)
    }

    /// Has a node leave for ever: one that has no data, or one that is gone with whatever it had.
    async fn remove(&self, node: NodeId, lost: bool) -> Result<Taken, ApiError> {
        let members = self.nodes().await?.items;
        let Some(of) = members.iter().find(|member| member.id == node) else {
            // What was ordered of one that has left is done.
            return if self.has_left(node).await? { Ok(Taken { node }) } else { Err(no_member(node)) };
        };
        let refused = |why: String, hint: String| Err(Problem::new(Code::Conflict, why).hint(hint).into());
        if !members.iter().any(|member| member.id != node && !member.leaves) {
            let why = format!("no other node would be left than {node}");
            return refused(why, "have another node join first".to_owned());
        }
        if lost && of.standing == Standing::Up {
            let why = format!("node {node} is up, so it is not lost");
            return refused(why, format!("drain it first: 'flotilla node drain {node}'"));
        }
        if lost && of.silent_ms < LOST_AFTER_MS {
            let why = format!("node {node} was heard, or the leader began to listen, {} ms ago", of.silent_ms);
            return refused(why, "try again in some seconds".to_owned());
        }
        // The leader counted: no chunk names it, and its disk has none.
        if !lost && !of.leaves && !of.drain.is_some_and(|drain| drain.empty) {
            let why = format!("node {node} still has data, or may get some");
            let hint = format!("drain it first: 'flotilla node drain {node}'; or say --lost if its disk is gone");
            return refused(why, hint);
        }
        let id = self.metadata.fresh_id(&*self.entropy);
        let told = self.metadata.propose(id, Command::Nodes(nodes::Command::Remove { node, lost })).await;
        taken(node, told.map_err(|error| of_metadata(&error))?.answer)
    }

    /// Whether a node was a member and is none any more.
    async fn has_left(&self, node: NodeId) -> Result<bool, ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        let gone = self.view(move |view| nodes::has_left(view, node)).await?;
        Ok(gone && self.metadata.group().member(node).is_none())
    }

    /// Has a node hand over and end.
    async fn stop(&self, node: NodeId) -> Result<Taken, ApiError> {
        if node == self.node {
            self.stop.cancel();
            return Ok(Taken { node });
        }
        let peer = self.member(node)?.peer;
        let asked = self.peers.post(Lane::Control, &peer, route::PEER_STOP, &(), NODE_DEADLINE).await;
        asked.map(|()| Taken { node }).map_err(|error| {
            let problem = Problem::new(Code::NotReady, format!("node {node} does not answer: {error}"));
            problem.hint("it may have ended already; 'flotilla node list' tells").into()
        })
    }

    fn member(&self, node: NodeId) -> Result<Member, ApiError> {
        self.metadata.group().member(node).ok_or_else(|| no_member(node))
    }

    async fn view<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, queues::Error> + Send + 'static,
    ) -> Result<T, ApiError> {
        let read = self.metadata.with_view(read).await.map_err(|error| of_metadata(&error))?;
        read.map_err(|error| {
            tracing::error!(%error, "the metadata can't be read");
            ApiError::new(Code::Internal, "the metadata can't be read")
        })
    }

    /// Gives the tasks that stand, as of now.
    async fn tasks(&self) -> Result<TaskList, ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        let rows = self.view(|view| tasks::all(view)).await?;
        Ok(TaskList { items: rows.iter().map(|(id, row)| task(*id, row)).collect() })
    }

    /// Asks every member for its transfers.
    async fn all_transfers(&self) -> TransferList {
        let members = self.metadata.group().status().members;
        let asked = members.into_iter().map(|(node, member)| async move {
            if node == self.node {
                return (node, Some(self.transfers.list()));
            }
            let asked = self.peers.post(Lane::Control, &member.peer, route::PEER_TRANSFERS, &(), NODE_DEADLINE).await;
            let answer: Option<TransferList> =
                asked.inspect_err(|error| tracing::debug!(%node, %error, "node does not tell its transfers")).ok();
            (node, answer)
        });
        let mut all = TransferList::default();
        for (node, answer) in futures::future::join_all(asked).await {
            match answer {
                Some(of) => {
                    all.items.extend(of.items);
                    all.links.extend(of.links);
                }
                None => all.silent.push(node),
            }
        }
        all.items.sort_by_key(|transfer| (transfer.took_ms.is_some(), transfer.age_ms));
        all
    }
}

/// What the log said to an order.
fn taken(node: NodeId, answer: Answer) -> Result<Taken, ApiError> {
    match answer {
        Answer::Refused(Refusal::Invalid(why)) => {
            Err(ApiError::new(Code::Conflict, format!("node {node} stays as it is: {why}")))
        }
        _ => Ok(Taken { node }),
    }
}

fn no_member(node: NodeId) -> ApiError {
    let problem = Problem::new(Code::RouteNotFound, format!("node {node} is no member of this cluster"));
    problem.hint("'flotilla node list' shows the members").into()
}

fn task(id: TaskId, row: &TaskRow) -> Task {
    let chunks = row.work.chunks();
    Task {
        id: id.to_string(),
        kind: TaskKind::Copy,
        state: if row.lease.is_some() { TaskState::Leased } else { TaskState::Waiting },
        to: row.work.target(),
        chunks: row.planned,
        left: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
        left_bytes: chunks.iter().map(|chunk| u64::from(chunk.length)).sum(),
        taken: row.taken,
    }
}

fn json(answer: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(answer).map_err(|error| {
        tracing::error!(%error, "an answer can't be written");
        ApiError::new(Code::Internal, "the answer can't be written")
    })
}

/// Answers a client of this node.
pub(super) async fn public(
    State(files): State<Late<FileService>>,
    Extension(caller): Extension<Caller>,
    method: Method,
    uri: Uri,
) -> Result<Response, ApiError> {
    let files = files.ready()?;
    let (cluster, request) = admin::request(&caller, &method, &uri)?;
    if cluster.parse::<ClusterName>().ok().as_ref() != Some(&files.cluster) {
        return Err(wrong_cluster(cluster));
    }
    let mut response = files.admin.answer(request).await?.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Answers a supernode.
pub(super) async fn peer(
    State(state): State<PeerState>,
    Coded(request): Coded<Request>,
) -> Result<Coded<String>, ApiError> {
    Ok(Coded(state.files.ready()?.admin.answer(request).await?))
}

/// Tells another node what this one copied.
pub(super) async fn transfers(
    State(state): State<PeerState>,
    Coded(()): Coded<()>,
) -> Result<Coded<TransferList>, ApiError> {
    Ok(Coded(state.files.ready()?.admin.transfers.list()))
}

/// Tells another node of the members, as their leader.
pub(super) async fn members(State(state): State<PeerState>, Coded(()): Coded<()>) -> Result<Coded<NodeList>, ApiError> {
    let admin = &state.files.ready()?.admin;
    if !admin.metadata.group().status().is_leader {
        return Err(ApiError::new(Code::NoLeader, "this node is not the leader"));
    }
    Ok(Coded(admin.members().await?))
}

/// Hands over and ends, as after SIGTERM.
pub(super) async fn stop(State(state): State<PeerState>, Coded(()): Coded<()>) -> Result<Coded<()>, ApiError> {
    tracing::info!("stopping by order of an operator");
    state.files.ready()?.admin.stop.cancel();
    Ok(Coded(()))
}

/// Says whether this node drains and has no chunk left.
pub(super) async fn drained(State(state): State<PeerState>, Coded(()): Coded<()>) -> Result<Coded<bool>, ApiError> {
    flotilla_env::failpoint!("drain.before_answer", |_| Err(ApiError::new(Code::NotReady, "a failpoint")));
    Ok(Coded(state.member.ready()?.store.is_drained()))
}
