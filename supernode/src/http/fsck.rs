//! The comparison of a cluster's metadata with its disks: asked of one of its nodes, and passed on line by line.

use std::time::Duration;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use flotilla_api::{Code, codec, route};
use flotilla_client::{Lane, body};
use flotilla_http_server::{ApiError, Caller};
use http::{
    HeaderMap, Method, Uri,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{Late, Service, admin::registered, error::cluster_unavailable};

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
    let cluster = registered(service, &cluster)?;
    let verify = uri.query().is_some_and(|query| query.split('&').any(|part| part == "verify=true"));
    let forwarder = &service.forwarder;
    let node = forwarder.clusters.wait_for(|known| known.gateway(&cluster, &[])).await;
    let node = node.ok_or_else(|| cluster_unavailable(&cluster))?;
    let asked = forwarder.peers.stream(
        Lane::Data,
        Method::POST,
        &node,
        route::PEER_FSCK,
        HeaderMap::new(),
        body::full(codec::encode(&verify)),
        Some(HEAD_DEADLINE),
    );
    let answer = asked.await.map_err(|error| {
        tracing::warn!(%node, %error, "node does not compare its cluster");
        cluster_unavailable(&cluster)
    })?;
    let mut response = Body::new(answer.into_body()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}
