//! What operators ask of the cluster, answered by any of its nodes: for clients of this node, and for supernodes on behalf of theirs.

use std::time::Duration;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use flotilla_api::{
    ClusterName, Code, NodeId,
    admin::{Request, Task, TaskKind, TaskList, TaskState, TransferList},
    route,
};
use flotilla_client::{Lane, PeerClient};
use flotilla_http_server::{ApiError, Caller, Coded, Late, admin};
use http::{HeaderValue, Method, Uri, header::CONTENT_TYPE};
use serde::Serialize;

use super::{
    error::of_metadata,
    files::FileService,
    routes::{PeerState, wrong_cluster},
};
use crate::{
    metadata::{
        Metadata,
        heal::{TaskId, Work, tasks},
        rows::TaskRow,
    },
    repair::transfers::Transfers,
};

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
        }
    }

    /// Gives the tasks that stand, as of now.
    async fn tasks(&self) -> Result<TaskList, ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        let read = self.metadata.with_view(|view| tasks::all(view)).await.map_err(|error| of_metadata(&error))?;
        let rows = read.map_err(|error| {
            tracing::error!(%error, "tasks can't be read");
            ApiError::new(Code::Internal, "the tasks can't be read")
        })?;
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

fn task(id: TaskId, row: &TaskRow) -> Task {
    let Work::Copy { to, chunks } = &row.work;
    Task {
        id: id.to_string(),
        kind: TaskKind::Copy,
        state: if row.lease.is_some() { TaskState::Leased } else { TaskState::Waiting },
        to: *to,
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
