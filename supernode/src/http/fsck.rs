//! The comparison of a cluster's metadata with its disks: asked of one of its nodes, and passed on line by line.

use std::time::Duration;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use flotilla_api::{Code, codec, route};
use flotilla_client::{Lane, body};
use flotilla_http_server::{ApiError, Caller, ndjson};
use http::{HeaderMap, Method, Uri};

use super::{Late, Service, admin::registered, ask::any_node};

/// How long a node may take to begin.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Passes the question on to a node of the cluster; for root alone.
pub(super) async fn fsck(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    if !caller.root {
        return Err(ApiError::new(Code::Forbidden, "only root may see where files lie"));
    }
    let cluster = registered(service, &cluster).await?;
    let verify = uri.query().is_some_and(|query| query.split('&').any(|part| part == "verify=true"));
    let forwarder = &service.forwarder;
    let ask = |node: String| async move {
        let body = body::full(codec::encode(&verify));
        let (peers, headers) = (&forwarder.peers, HeaderMap::new());
        peers.stream(Lane::Data, Method::POST, &node, route::PEER_FSCK, headers, body, Some(HEAD_DEADLINE)).await
    };
    let answer = any_node(forwarder, &cluster, ask).await?;
    Ok(ndjson::answer(Body::new(answer.into_body())))
}
