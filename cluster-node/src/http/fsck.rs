//! The comparison of metadata and disks: the whole of it for root, and a node's part in it for its peers.

use axum::{
    Extension,
    extract::{Path, State},
    response::Response,
};
use flotilla_api::{
    ChunkId, ClusterName, Code,
    fsck::Line,
    peer::{Copy, Inspect, InspectRequest, InventoryRequest},
};
use flotilla_chunk_store::{Error as StoreError, Flaw};
use flotilla_http_server::{ApiError, Caller, Coded, Late, ndjson};
use futures::channel::mpsc;
use http::Uri;

use super::{
    files::FileService,
    routes::{Member, PeerState, wrong_cluster},
};
use crate::fsck::Fsck;

/// The most chunks that one question may name.
const INSPECT_MAX: usize = 1024;
/// Lines between the comparison and its reader: a slow reader slows the comparison down.
const LINES: usize = 64;

/// Compares this cluster, for a client at this node.
pub(super) async fn public(
    State(files): State<Late<FileService>>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let files = files.ready()?;
    if !caller.root {
        return Err(ApiError::new(Code::Forbidden, "only root may see where files lie"));
    }
    if cluster.parse::<ClusterName>().ok().as_ref() != Some(&files.cluster) {
        return Err(wrong_cluster(&cluster));
    }
    let verify = uri.query().is_some_and(|query| query.split('&').any(|part| part == "verify=true"));
    Ok(stream(files, verify))
}

/// Compares this cluster, for a client at a supernode.
pub(super) async fn peer(State(state): State<PeerState>, Coded(verify): Coded<bool>) -> Result<Response, ApiError> {
    Ok(stream(state.files.ready()?, verify))
}

fn stream(files: &FileService, verify: bool) -> Response {
    let (out, lines) = mpsc::channel::<Line>(LINES);
    let (cluster, metadata) = (files.cluster.clone(), files.metadata.clone());
    let fsck = Fsck { cluster, metadata, peers: files.homes.peers().clone(), verify, out };
    // Ends with its reader: a line that nobody takes ends the comparison.
    tokio::spawn(fsck.run());
    ndjson::stream(lines)
}

/// Lists one page of the ids on this node's disk.
pub(super) async fn inventory(
    State(state): State<PeerState>,
    Coded(request): Coded<InventoryRequest>,
) -> Result<Coded<Vec<ChunkId>>, ApiError> {
    let member = state.member.ready()?;
    let page = member.store.list(request.after, request.limit as usize).await;
    page.map(Coded).map_err(|error| {
        tracing::error!(%error, "chunks can't be listed");
        ApiError::new(Code::Internal, "the chunks can't be listed here")
    })
}

/// Says how copies on this node's disk look.
pub(super) async fn inspect(
    State(state): State<PeerState>,
    Coded(request): Coded<InspectRequest>,
) -> Result<Coded<Vec<Copy>>, ApiError> {
    let member = state.member.ready()?;
    let mut copies = Vec::new();
    for id in request.ids.into_iter().take(INSPECT_MAX) {
        copies.push(look(member, id, request.depth).await?);
    }
    Ok(Coded(copies))
}

async fn look(Member { store, pace, .. }: &Member, id: ChunkId, depth: Inspect) -> Result<Copy, ApiError> {
    // Found anew, not through a handle that was opened when all was well.
    let place = match store.locate(id).await {
        Ok(place) => place,
        Err(error) => {
            if matches!(error, StoreError::Corrupt { .. }) {
                // Read whole, its damage is noted, so that the copy is made anew.
                drop(store.verify(id).await);
            }
            return flawed(error, id, String::new());
        }
    };
    let file = place.path.display().to_string();
    let whole = async {
        if depth == Inspect::Paced {
            pace.take(place.length).await;
        }
        if depth != Inspect::Place {
            store.verify(id).await?;
        }
        store.stat(id).await
    };
    match whole.await {
        Ok(info) => Ok(Copy::Whole { length: place.length, cv: info.cv, file }),
        Err(error) => flawed(error, id, file),
    }
}

fn flawed(error: StoreError, id: ChunkId, file: String) -> Result<Copy, ApiError> {
    match error {
        StoreError::NotFound(_) => Ok(Copy::Missing),
        StoreError::Corrupt { flaw: flaw @ Flaw::Length, .. } => Ok(Copy::Short { why: flaw.to_string(), file }),
        StoreError::Corrupt { flaw, .. } => Ok(Copy::Corrupt { why: flaw.to_string(), file }),
        error => {
            tracing::error!(%error, chunk = %id, "copy can't be looked at");
            Err(ApiError::new(Code::Internal, "a copy can't be looked at here"))
        }
    }
}
