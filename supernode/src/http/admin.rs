//! Questions of operators to a cluster: passed on to one of its nodes.

use std::time::Duration;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use flotilla_api::{ClusterName, Code, route};
use flotilla_client::Lane;
use flotilla_http_server::{ApiError, Caller, admin};
use http::{HeaderValue, Method, Uri, header::CONTENT_TYPE};

use super::{Late, Service, ask::any_node, error::of_directory};

/// How long a cluster may take: a change of its members is two commits.
const DEADLINE: Duration = Duration::from_secs(15);

/// Passes a question on; for root alone.
pub(super) async fn admin(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    method: Method,
    uri: Uri,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let (cluster, request) = admin::request(&caller, &method, &uri)?;
    let cluster = registered(service, cluster).await?;
    let forwarder = &service.forwarder;
    let ask = |node: String| {
        let request = &request;
        async move { forwarder.peers.post(Lane::Control, &node, route::PEER_ADMIN, request, DEADLINE).await }
    };
    let answer: String = any_node(forwarder, &cluster, ask).await?;
    let mut response = answer.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Reads a cluster's name.
///
/// # Errors
/// 404 if no such cluster has registered.
pub(super) async fn registered(service: &Service, name: &str) -> Result<ClusterName, ApiError> {
    let missing = || ApiError::new(Code::RouteNotFound, "there is no such cluster");
    let cluster: ClusterName = name.parse().map_err(|_| missing())?;
    let known = |all: Vec<(ClusterName, _)>| all.iter().any(|(known, _)| *known == cluster);
    // Only a miss needs a quorum of supernodes.
    let applied = service.directory().clusters().map_err(|error| of_directory(&error))?;
    if known(applied) || known(service.directory().fresh_clusters().await.map_err(|error| of_directory(&error))?) {
        return Ok(cluster);
    }
    Err(missing())
}
