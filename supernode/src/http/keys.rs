//! Keys of principals: made, listed and revoked by root.

use std::time::{Duration, SystemTime};

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use flotilla_api::{
    Code, Problem,
    keys::{KeyItem, KeyList, NewKey, PrincipalName},
    peer::{Document, Principal},
};
use flotilla_http_server::{ApiError, Caller};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, HeaderName},
};

use super::{
    Late, Service,
    error::{of_answer, of_directory, of_refusal},
};
use crate::directory::{Answer, Command};

/// Whoever shows the answer to a person must not keep it.
const NOT_KEPT: [(HeaderName, HeaderValue); 1] = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// Makes a principal and tells its key, for the only time.
pub(super) async fn create(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let (service, name) = (service.ready()?, checked(&caller, &name)?);
    let entropy = &service.forwarder.entropy;
    let key = format!("flt_{:032x}{:032x}", entropy.u128(), entropy.u128());
    let principal = Principal {
        name: name.clone(),
        key_hash: *blake3::hash(key.as_bytes()).as_bytes(),
        root: false,
        created_ms: service.clock.wall_ms(),
    };
    change(service, Command::AddPrincipal(principal)).await?;
    tracing::info!(principal = %name, "key made");
    Ok((StatusCode::CREATED, NOT_KEPT, Json(NewKey { name, key })).into_response())
}

/// Ends a principal; its key is refused by this supernode at once, by all others and all nodes within seconds.
pub(super) async fn revoke(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (service, name) = (service.ready()?, checked(&caller, &name)?);
    change(service, Command::RemovePrincipal { name: name.clone() }).await?;
    tracing::info!(principal = %name, "key revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the principals.
pub(super) async fn list(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<KeyList>, ApiError> {
    let service = service.ready()?;
    for_root(&caller)?;
    let documents = service.directory().fresh_documents().await.map_err(|error| of_directory(&error))?;
    let items = documents.entries.into_iter().filter_map(|document| match document {
        Document::Principal(Principal { name, root, created_ms, .. }) => {
            let created = (created_ms > 0).then(|| rfc3339(created_ms));
            Some(KeyItem { name, root, created })
        }
        Document::Bucket { .. } | Document::Supernode(_) | Document::Cluster { .. } | Document::Fenced { .. } => None,
    });
    Ok(Json(KeyList { items: items.collect() }))
}

async fn change(service: &Service, command: Command) -> Result<(), ApiError> {
    let answer = service.directory().propose(service.forwarder.entropy.u128(), command).await;
    match answer.map_err(|error| of_directory(&error))? {
        Answer::Done => {}
        Answer::Refused(refusal) => return Err(of_refusal(&refusal)),
        answer => return Err(of_answer(&answer)),
    }
    let documents = service.directory().documents().map_err(|error| of_directory(&error))?;
    service.documents.replace(documents);
    Ok(())
}

fn checked(caller: &Caller, name: &str) -> Result<PrincipalName, ApiError> {
    for_root(caller)?;
    name.parse().map_err(|error: flotilla_api::ParseError| {
        Problem::new(Code::BodyInvalid, error.to_string()).hint("choose a name like 'backup' or 'ci-2'").into()
    })
}

fn for_root(caller: &Caller) -> Result<(), ApiError> {
    match caller.root {
        true => Ok(()),
        false => Err(ApiError::new(Code::Forbidden, "only root may make, list and revoke keys")),
    }
}

fn rfc3339(ms: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
