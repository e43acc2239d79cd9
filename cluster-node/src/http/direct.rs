//! Requests of clients that came to this node: whose home is found out here, or that were redirected here with a capability.
//!
//! It must not know how files are stored.

use axum::{
    Extension, Json,
    body::Body,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
};
use flotilla_api::{
    BucketName, ClusterName, Code, FileName, Problem, RequestId, capability::Deed, keys::KeyId, peer::ListRequest,
};
use flotilla_http_server::{
    ApiError, Caller, Destination, Granted, Late, Sealer,
    conditions::write_conditions,
    files::{ListQuery, Target, content_length, file_name, idempotency_key, list_query, source, target, to_cursor},
    limited, prefers_redirect,
};
use http::{HeaderMap, Method, Uri};

use super::{
    copy::Make,
    error::{of_home, of_metadata},
    files::{FileService, Hop, Put},
    patch::Patch,
    peer_files,
};

/// What the public routes need. Cheap to clone.
#[derive(Clone)]
pub struct Direct {
    /// The files, once the node serves.
    pub files: Late<FileService>,
    /// Sends clients to nodes of other clusters.
    pub sealer: Sealer,
}

impl FromRef<Direct> for Late<FileService> {
    fn from_ref(direct: &Direct) -> Self {
        direct.files.clone()
    }
}

/// What a client that allows it may be sent to another cluster for.
#[derive(Debug, Clone, Copy)]
struct Errand {
    deed: Deed,
    limit_bytes: u64,
    key: KeyId,
}

pub(super) async fn put(
    State(state): State<Direct>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    granted: Option<Extension<Granted>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let name = file_name(&uri)?;
    let conditions = write_conditions(&headers)?;
    let command = files.command(idempotency_key(&headers)?);
    if let Some(Extension(Granted { epoch, limit_bytes })) = granted {
        // Whoever made the capability has claimed the key: the commit is made under that claim or not at all.
        let body = within(&headers, body, limit_bytes)?;
        return files
            .put(Put { name, epoch, command, request_id, conditions, hop: Hop::Redirected(epoch) }, &headers, body)
            .await;
    }
    files.check_bucket_of(&name).await?;
    match files.homes.to_write(&name).await {
        Ok(epoch) => {
            let put = Put { name, epoch, command, request_id, conditions, hop: Hop::Direct };
            files.put(put, &headers, body).await
        }
        Err(error) => {
            let limit_bytes = content_length(&headers).unwrap_or(u64::MAX);
            let errand = caller.key.map(|key| Errand { deed: Deed::Write, limit_bytes, key });
            state.homeward(of_home(&error), &headers, &name, errand).await
        }
    }
}

pub(super) async fn get(
    State(state): State<Direct>,
    Extension(caller): Extension<Caller>,
    granted: Option<Extension<Granted>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    match target(&uri)? {
        Target::File(name) if uri.query().is_some_and(|query| query.split('&').any(|part| part == "layout")) => {
            if !caller.root {
                return Err(ApiError::new(Code::Forbidden, "only root may see where files lie"));
            }
            let answer = peer_files::layout(files, &name, Hop::Direct).await;
            state.or_homeward(answer, &headers, &name, None).await
        }
        Target::File(name) => {
            let answer = files.get(&name, &headers, method == Method::HEAD, Hop::Direct).await;
            // Who was sent here is not sent on: two nodes with different views would do so for ever.
            let key = caller.key.filter(|_| granted.is_none());
            let errand = key.map(|key| Errand { deed: Deed::Read, limit_bytes: 0, key });
            state.or_homeward(answer, &headers, &name, errand).await
        }
        Target::Bucket(bucket) => list(files, bucket, list_query(&uri)?).await,
    }
}

pub(super) async fn delete(State(state): State<Direct>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let name = file_name(&uri)?;
    let conditions = write_conditions(&headers)?;
    let command = files.command(idempotency_key(&headers)?);
    files.check_bucket_of(&name).await?;
    let answer = files.delete(name.clone(), command, &conditions, Hop::Direct).await;
    state.or_homeward(answer, &headers, &name, None).await
}

pub(super) async fn patch(
    State(state): State<Direct>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let name = file_name(&uri)?;
    let conditions = write_conditions(&headers)?;
    let command = files.command(idempotency_key(&headers)?);
    let patch = Patch { name: name.clone(), command, request_id, conditions, hop: Hop::Direct };
    let answer = files.patch(patch, &headers, body).await;
    state.or_homeward(answer, &headers, &name, None).await
}

pub(super) async fn make(
    State(state): State<Direct>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let files = state.files.ready()?;
    let (name, source) = (file_name(&uri)?, source(&uri)?);
    let conditions = write_conditions(&headers)?;
    let command = files.command(idempotency_key(&headers)?);
    files.check_bucket_of(&name).await?;
    if files.metadata.key(&source.name).map_err(|error| of_metadata(&error))?.is_none()
        && let Err(error) = files.homes.not_elsewhere(&source.name).await
    {
        return state.homeward(of_home(&error), &headers, &source.name, None).await;
    }
    match files.homes.to_write(&name).await {
        Ok(epoch) => {
            let make = Make { name, epoch, source, command, request_id, conditions, hop: Hop::Direct };
            files.make(make, &headers).await
        }
        Err(error) => state.homeward(of_home(&error), &headers, &name, None).await,
    }
}

impl Direct {
    async fn or_homeward(
        &self,
        answer: Result<Response, ApiError>,
        headers: &HeaderMap,
        name: &FileName,
        errand: Option<Errand>,
    ) -> Result<Response, ApiError> {
        match answer {
            Err(error) if error.code == Code::WrongHome => self.homeward(error, headers, name, errand).await,
            other => other,
        }
    }

    /// Adds to a 421 where the key's home is served, or sends the client there if it allows that.
    async fn homeward(
        &self,
        error: ApiError,
        headers: &HeaderMap,
        name: &FileName,
        errand: Option<Errand>,
    ) -> Result<Response, ApiError> {
        let mut problem = Problem::from(error);
        let Some(home) = &mut problem.home else { return Err(problem.into()) };
        let write = errand.is_none_or(|errand| errand.deed == Deed::Write);
        match self.files.ready()?.homes.nodes(&home.cluster, write).await {
            Ok(answer) => home.addresses = answer.addresses,
            Err(error) => tracing::debug!(%error, "the home's nodes are not known"),
        }
        if let (Some(Errand { deed, limit_bytes, key }), Some(address), true) =
            (errand, home.addresses.first(), prefers_redirect(headers))
        {
            let to = Destination { deed, cluster: &home.cluster, epoch: home.epoch, limit_bytes, key };
            return Ok(self.sealer.redirect(address, name, &to));
        }
        Err(problem.into())
    }
}

/// Lists this cluster's keys for a client that asked for a partial list, and names the clusters that are missing from it.
async fn list(files: &FileService, bucket: BucketName, query: ListQuery) -> Result<Response, ApiError> {
    let ListQuery { prefix, delimiter, limit, after, partial } = query;
    files.check_bucket(&bucket).await?;
    if !partial {
        let mut problem = Problem::new(Code::ListIncomplete, "a node lists only its own cluster");
        problem.retryable = false;
        return Err(problem.hint("ask a supernode, or add partial=true").into());
    }
    let answer = files.homes.nodes(&files.cluster, false).await.map_err(|error| of_home(&error))?;
    let request = ListRequest { bucket, prefix, delimiter, after, limit: limit as u32 };
    let mut page = files.list(&request).await?;
    page.next = page.next.as_deref().map(to_cursor);
    page.incomplete = others(answer.clusters, &files.cluster);
    Ok(Json(page).into_response())
}

fn others(all: Vec<ClusterName>, own: &ClusterName) -> Vec<ClusterName> {
    all.into_iter().filter(|cluster| cluster != own).collect()
}

/// Bounds a body by what its capability allows: before a byte of it if it is announced, else as it comes.
fn within(headers: &HeaderMap, body: Body, limit_bytes: u64) -> Result<Body, ApiError> {
    if content_length(headers).is_some_and(|length| length > limit_bytes) {
        let detail = format!("the capability allows at most {limit_bytes} bytes");
        return Err(ApiError::new(Code::TooLarge, detail));
    }
    Ok(limited(body, limit_bytes))
}
