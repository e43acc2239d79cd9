//! Buckets and clusters, for people and programs.

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use flotilla_api::{Code, files::ClustersAnswer, peer::Document};
use flotilla_http_server::{ApiError, Caller, REV, files::bucket};
use http::{StatusCode, Uri};
use serde_json::json;

use super::{
    Late, Service,
    directory::state_of,
    error::{of_answer, of_directory, of_refusal},
};
use crate::directory::{Answer, Command};

/// Makes a bucket; making it again changes nothing.
pub(super) async fn put_bucket(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(_): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    if !caller.root {
        return Err(ApiError::new(Code::Forbidden, "only root may make buckets"));
    }
    let name = bucket(uri.path().rsplit('/').next().unwrap_or_default())?;
    let held = service.directory().has_bucket(&name).await.map_err(|error| of_directory(&error))?;
    let put = Command::PutDocument(Document::Bucket { name: name.clone() });
    match service
        .directory()
        .propose(service.forwarder.entropy.u128(), put)
        .await
        .map_err(|error| of_directory(&error))?
    {
        Answer::Done => {}
        Answer::Refused(refusal) => return Err(of_refusal(&refusal)),
        answer => return Err(of_answer(&answer)),
    }
    let documents = service.directory().documents().map_err(|error| of_directory(&error))?;
    service.documents.replace(documents);
    let status = if held { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(json!({ "bucket": name.as_str() }))).into_response())
}

/// Lists the buckets.
pub(super) async fn buckets(State(service): State<Late<Service>>) -> Result<Response, ApiError> {
    let documents = service.ready()?.directory().fresh_documents().await.map_err(|error| of_directory(&error))?;
    let names: Vec<String> = documents
        .entries
        .into_iter()
        .filter_map(|document| match document {
            Document::Bucket { name } => Some(name.to_string()),
            Document::Principal(_) | Document::Supernode(_) | Document::Cluster { .. } | Document::Fenced { .. } => {
                None
            }
        })
        .collect();
    Ok(Json(json!({ "buckets": names })).into_response())
}

/// Tells what is known of the clusters.
pub(super) async fn clusters(State(service): State<Late<Service>>) -> Result<Json<ClustersAnswer>, ApiError> {
    let service = service.ready()?;
    let registered = service.directory().clusters().map_err(|error| of_directory(&error))?;
    let names: Vec<_> = registered.into_iter().map(|(name, row)| (name, state_of(row.stage))).collect();
    let server = Some(format!("{} ({REV})", env!("CARGO_PKG_VERSION")));
    let clusters = service.forwarder.clusters.status(&names, |cluster| service.gate().counts(cluster));
    let supernodes = service.documents.supernodes().into_iter().map(|supernode| supernode.public).collect();
    Ok(Json(ClustersAnswer { clusters, server, supernodes }))
}
