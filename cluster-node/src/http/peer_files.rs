//! File requests that a supernode sends on, and the layout of a file.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use flotilla_api::{
    ChunkId, Code, CommandId, FileName, NodeId, RequestId,
    files::{Layout, LayoutChunk, LayoutReplica, LayoutTree, ListPage},
    header,
    peer::{ListRequest, LocateAnswer},
    route,
};
use flotilla_client::Lane;
use flotilla_http_server::{ApiError, Coded, conditions::write_conditions, files::Source};
use http::{HeaderMap, Method};

use super::{
    copy::Make,
    error::{of_download, of_metadata},
    files::{FileService, Hop, Put},
    patch::Patch,
    routes::{PeerState, name_header, own_header},
};
use crate::{
    gateway::download,
    metadata::{
        read::ReadChunk,
        rows::{Content, FileRow},
    },
};

/// The most bytes of a file whose layout is shown: 64 Ki chunks make an answer of some 30 MB.
const LAYOUT_CHUNKS_MAX: usize = 65_536;
/// How long a node may take to find its files.
const LOCATE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);
/// How many chunks one question to a node names.
const LOCATE_STEP: usize = 1024;

pub(super) async fn put(
    State(state): State<PeerState>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let (name, epoch) = (name_header(&headers)?, own_header(&headers, header::EPOCH)?);
    let (command, conditions) = (command(&headers)?, write_conditions(&headers)?);
    files.put(Put { name, epoch, command, request_id, conditions, hop: Hop::Forwarded(epoch) }, &headers, body).await
}

pub(super) async fn get(
    State(state): State<PeerState>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    files.get(&name_header(&headers)?, &headers, method == Method::HEAD, forwarded(&headers)?).await
}

pub(super) async fn get_layout(State(state): State<PeerState>, headers: HeaderMap) -> Result<Response, ApiError> {
    layout(state.files.ready()?, &name_header(&headers)?, forwarded(&headers)?).await
}

pub(super) async fn delete(State(state): State<PeerState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let conditions = write_conditions(&headers)?;
    files.delete(name_header(&headers)?, command(&headers)?, &conditions, forwarded(&headers)?).await
}

pub(super) async fn patch(
    State(state): State<PeerState>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let (name, command, conditions) = (name_header(&headers)?, command(&headers)?, write_conditions(&headers)?);
    let hop = forwarded(&headers)?;
    files.patch(Patch { name, command, request_id, conditions, hop }, &headers, body).await
}

pub(super) async fn make(
    State(state): State<PeerState>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let (name, epoch) = (name_header(&headers)?, own_header(&headers, header::EPOCH)?);
    let text: String = own_header(&headers, header::SOURCE)?;
    let from = FileName::from_header(&text).map_err(|error| ApiError::new(Code::HeaderInvalid, error.to_string()))?;
    let source = Source { name: from, moves: own_header(&headers, header::SOURCE_MOVES)? };
    let (command, conditions) = (command(&headers)?, write_conditions(&headers)?);
    let hop = Hop::Forwarded(epoch);
    files.make(Make { name, epoch, source, command, request_id, conditions, hop }, &headers).await
}

pub(super) async fn list(
    State(state): State<PeerState>,
    Coded(request): Coded<ListRequest>,
) -> Result<Coded<ListPage>, ApiError> {
    Ok(Coded(state.files.ready()?.list(&request).await?))
}

fn forwarded(headers: &HeaderMap) -> Result<Hop, ApiError> {
    Ok(Hop::Forwarded(own_header(headers, header::EPOCH)?))
}

fn command(headers: &HeaderMap) -> Result<CommandId, ApiError> {
    let text: String = own_header(headers, header::COMMAND)?;
    CommandId::from_header(&text).map_err(|error| ApiError::new(Code::HeaderInvalid, error.to_string()))
}

/// Answers where the bytes of a file lie; asks every node with a copy for the paths.
pub(super) async fn layout(files: &FileService, name: &FileName, hop: Hop) -> Result<Response, ApiError> {
    let (_, file) = files.find(name, hop).await?;
    let mut layout = Layout {
        version: file.version.to_string(),
        size: file.size,
        cluster: files.cluster.clone(),
        inline: matches!(file.content, Content::Inline(_)),
        trees: Vec::new(),
    };
    if let Content::Trees(trees) = &file.content {
        let chunks = all_chunks(files, &file)?;
        let paths = locate(files, &chunks).await;
        let mut at = 0;
        for tree in trees {
            let mine = chunks.iter().filter(|chunk| (at..at + tree.length).contains(&chunk.offset));
            layout.trees.push(LayoutTree {
                length: tree.length,
                root: blake3::Hash::from_bytes(tree.root).to_hex().to_string(),
                chunk_size: 1 << tree.chunk_shift,
                chunks: mine.map(|chunk| layout_chunk(chunk, at, &paths)).collect(),
            });
            at += tree.length;
        }
    }
    Ok(Json(layout).into_response())
}

fn layout_chunk(chunk: &ReadChunk, tree_at: u64, paths: &[(NodeId, LocateAnswer)]) -> LayoutChunk {
    let replica = |node: &NodeId| {
        let found = paths.iter().filter(|(id, _)| id == node).flat_map(|(_, answer)| &answer.found);
        let place = found.into_iter().find(|(id, ..)| *id == chunk.id);
        let (file, file_offset, length) = place.map_or((String::new(), 0, 0), |(_, f, o, l)| (f.clone(), *o, *l));
        LayoutReplica { node: *node, file, file_offset, length }
    };
    LayoutChunk {
        id: chunk.id.to_string(),
        offset: chunk.offset - tree_at,
        length: chunk.length,
        cv: blake3::Hash::from_bytes(chunk.cv).to_hex().to_string(),
        replicas: chunk.replicas.iter().map(replica).collect(),
    }
}

fn all_chunks(files: &FileService, file: &FileRow) -> Result<Vec<ReadChunk>, ApiError> {
    let mut chunks: Vec<ReadChunk> = Vec::new();
    let mut at = 0;
    while at < file.size {
        let step = files.metadata.chunks(file, at..file.size).map_err(|error| of_metadata(&error))?;
        let next = step.last().map_or(at, |chunk| chunk.offset + chunk.length);
        if next <= at {
            return Err(of_download(&download::Error::Short { at, end: file.size }));
        }
        at = next;
        chunks.extend(step);
        if chunks.len() > LAYOUT_CHUNKS_MAX {
            let detail = format!("a layout shows at most {LAYOUT_CHUNKS_MAX} chunks");
            return Err(ApiError::new(Code::TooLarge, detail));
        }
    }
    Ok(chunks)
}

async fn locate(files: &FileService, chunks: &[ReadChunk]) -> Vec<(NodeId, LocateAnswer)> {
    let members = files.metadata.group().status().members;
    let mut answers = Vec::new();
    for (node, member) in members {
        let held = |chunk: &&ReadChunk| chunk.replicas.contains(&node);
        let ids: Vec<ChunkId> = chunks.iter().filter(held).map(|chunk| chunk.id).collect();
        for part in ids.chunks(LOCATE_STEP) {
            let ask = files.homes.peers().post(Lane::Control, &member.peer, route::PEER_LOCATE, &part, LOCATE_DEADLINE);
            match ask.await {
                Ok(answer) => answers.push((node, answer)),
                Err(error) => tracing::warn!(%node, %error, "node does not say where its copies lie"),
            }
        }
    }
    answers
}
