//! Files as clients see them: where a key is at home is found out, or claimed, before a byte of a body is read.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use flotilla_api::{
    BucketName, ClusterName, Code, FileName, Problem, RequestId,
    capability::Deed,
    files::{ListItem, ListPage},
    peer::{Home, ListRequest},
    route,
};
use flotilla_client::Lane;
use flotilla_http_server::{
    ApiError, Caller, Destination,
    conditions::{WriteConditions, write_conditions},
    files::{ListQuery, Target, content_length, file_name, idempotency_key, list_query, place, target, to_cursor},
    prefers_redirect, read_all,
};
use http::{HeaderMap, Method, Uri};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Late, Service,
    error::{bucket_not_found, no_cluster, nothing_to_match, of_directory, of_refusal, other_directory},
    forward::{Request, Upload},
};
use crate::{
    clusters::Dispatched,
    directory::machine::Claimed,
    merge::{ClusterPage, merge},
};

/// Bodies up to this length are kept until they are answered, so that a lost gateway costs the client nothing.
const KEPT_BYTES_MAX: u64 = 64 << 10;
/// Bytes of all kept bodies together: 512 of the largest. One more is streamed, and so not sent again if its gateway is lost.
pub const KEPT_BUDGET_BYTES: usize = 32 << 20;
/// How long a cluster may take for a page.
const LIST_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) async fn put(
    State(service): State<Late<Service>>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let name = file_name(&uri)?;
    let conditions = write_conditions(&headers)?;
    let idempotency_key = idempotency_key(&headers)?;
    service.check_bucket(&name.bucket).await?;
    let (home, counted) = service.home_to_write(&name, &conditions, None).await?;
    if prefers_redirect(&headers)
        && let limit_bytes = content_length(&headers).unwrap_or(u64::MAX)
        && let Some(answer) = service.redirect(&name, &home, Deed::Write, limit_bytes)
    {
        return Ok(answer);
    }
    let (upload, _room) = service.upload(&headers, body).await?;
    let (headers, request_id, name) = (&headers, &request_id, &name);
    let request =
        Request { method: Method::PUT, name, headers, request_id, idempotency_key, layout: false, source: None };
    // From now on it is counted as sent.
    drop(counted);
    service.forwarder.send(request, home, upload).await
}

pub(super) async fn get(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let name = match target(&uri)? {
        Target::File(name) => name,
        Target::Bucket(bucket) => return service.list(bucket, list_query(&uri)?).await,
    };
    let layout = uri.query().is_some_and(|query| query.split('&').any(|part| part == "layout"));
    if layout && !caller.root {
        return Err(ApiError::new(Code::Forbidden, "only root may see where files lie"));
    }
    let home = service.home(&name).await?;
    if !layout
        && prefers_redirect(&headers)
        && let Some(answer) = service.redirect(&name, &home, Deed::Read, 0)
    {
        return Ok(answer);
    }
    let (name, headers, request_id) = (&name, &headers, &request_id);
    let request = Request { method, name, headers, request_id, idempotency_key: None, layout, source: None };
    service.forwarder.send(request, home, Upload::Empty).await
}

pub(super) async fn patch(
    State(service): State<Late<Service>>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let name = file_name(&uri)?;
    let conditions = write_conditions(&headers)?;
    place(&headers)?;
    let idempotency_key = idempotency_key(&headers)?;
    let home = service.home_to_change(&name, &conditions).await?;
    let (upload, _room) = service.upload(&headers, body).await?;
    let (name, headers, request_id) = (&name, &headers, &request_id);
    let request =
        Request { method: Method::PATCH, name, headers, request_id, idempotency_key, layout: false, source: None };
    service.forwarder.send(request, home, upload).await
}

pub(super) async fn delete(
    State(service): State<Late<Service>>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let name = file_name(&uri)?;
    let conditions = write_conditions(&headers)?;
    let idempotency_key = idempotency_key(&headers)?;
    let home = service.home_to_change(&name, &conditions).await?;
    let (name, headers, request_id) = (&name, &headers, &request_id);
    let request =
        Request { method: Method::DELETE, name, headers, request_id, idempotency_key, layout: false, source: None };
    service.forwarder.send(request, home, Upload::Empty).await
}

impl Service {
    /// Memory to keep a body of this length in; none for a long one, or while others take it all.
    fn room_to_keep(&self, length: Option<u64>) -> Option<OwnedSemaphorePermit> {
        let bytes = length.filter(|length| *length <= KEPT_BYTES_MAX)?;
        let bytes = u32::try_from(bytes).expect("KEPT_BYTES_MAX fits");
        Arc::clone(&self.kept).try_acquire_many_owned(bytes).ok()
    }

    /// Sends the client to a node of the key's home; no answer if none of them is known to serve at once.
    fn redirect(&self, name: &FileName, home: &Home, deed: Deed, limit_bytes: u64) -> Option<Response> {
        let addresses = self.forwarder.clusters.addresses(&home.cluster, deed == Deed::Write);
        let to = Destination { deed, cluster: &home.cluster, epoch: home.epoch, limit_bytes };
        addresses.first().map(|address| self.sealer.redirect(address, name, &to))
    }

    /// Keeps a small body, so that it can be sent again, with the memory that it is kept in.
    async fn upload(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Upload, Option<OwnedSemaphorePermit>), ApiError> {
        let held = self.room_to_keep(content_length(headers));
        let upload = match &held {
            Some(_room) => Upload::Kept(read_all(body, KEPT_BYTES_MAX as usize).await?),
            None => Upload::Streamed(body),
        };
        Ok((upload, held))
    }

    pub(super) async fn check_bucket(&self, bucket: &BucketName) -> Result<(), ApiError> {
        if self.documents.has_bucket(bucket) {
            return Ok(());
        }
        match self.directory().has_bucket(bucket).await.map_err(|error| of_directory(&error))? {
            true => Ok(()),
            false if self.forwarder.clusters.has_foreign() => Err(other_directory()),
            false => Err(bucket_not_found(bucket)),
        }
    }

    /// The home of a key that should exist.
    pub(super) async fn home(&self, name: &FileName) -> Result<Home, ApiError> {
        match self.directory().home(name).await.map_err(|error| of_directory(&error))? {
            Some(home) => Ok(home),
            None if self.forwarder.clusters.has_foreign() => Err(other_directory()),
            None => {
                self.check_bucket(&name.bucket).await?;
                Err(ApiError::new(Code::FileNotFound, "no file has this key"))
            }
        }
    }

    /// The home of a file that is to be changed or ended.
    async fn home_to_change(&self, name: &FileName, conditions: &WriteConditions) -> Result<Home, ApiError> {
        self.home(name).await.map_err(|error| match error.code {
            Code::FileNotFound if conditions.if_match.is_some() => nothing_to_match(),
            _ => error,
        })
    }

    /// The home of a key that is to be written; a free key is claimed for `cluster`, else for the best one. A free key has no file
    /// that `If-Match` could name, so nothing is claimed for a request that has one. A cluster that was chosen for it counts it as
    /// sent until the second value is dropped.
    pub(super) async fn home_to_write(
        &self,
        name: &FileName,
        conditions: &WriteConditions,
        cluster: Option<&ClusterName>,
    ) -> Result<(Home, Option<Dispatched>), ApiError> {
        if conditions.if_match.is_none() {
            return self.home_or_claim(name, cluster).await;
        }
        let home = self.directory().home(name).await.map_err(|error| of_directory(&error))?;
        home.map(|home| (home, None)).ok_or_else(nothing_to_match)
    }

    async fn home_or_claim(
        &self,
        name: &FileName,
        cluster: Option<&ClusterName>,
    ) -> Result<(Home, Option<Dispatched>), ApiError> {
        let hit = self.directory().applied_home(name).map_err(|error| of_directory(&error))?;
        if let Some(home) = hit {
            self.count_routed(&home.cluster, "home");
            return Ok((home, None));
        }
        let clusters = &self.forwarder.clusters;
        let (cluster, counted) = match cluster {
            Some(cluster) => (cluster.clone(), None),
            // Counted from the choice on: those that come together would all choose the same one.
            None => clusters
                .wait_for(|known| known.for_new_key())
                .await
                .map(|(cluster, counted)| (cluster, Some(counted)))
                .ok_or_else(no_cluster)?,
        };
        let answer = self.directory().claim(name.clone(), cluster).await;
        flotilla_env::failpoint!("supernode.after_claim", |_| Err(ApiError::new(Code::NoLeader, "a failpoint")));
        match answer.map_err(|error| of_directory(&error))? {
            Ok(Claimed { home, granted }) => {
                metrics::counter!("flotilla_claims_total", "result" => if granted { "granted" } else { "lost" })
                    .increment(1);
                self.count_routed(&home.cluster, if granted { "new" } else { "home" });
                Ok((home, counted.filter(|_| granted)))
            }
            Err(refusal) => Err(of_refusal(&refusal)),
        }
    }

    fn count_routed(&self, cluster: &ClusterName, why: &'static str) {
        metrics::counter!("flotilla_routed_total", "cluster" => cluster.to_string(), "why" => why).increment(1);
    }

    async fn list(&self, bucket: BucketName, query: ListQuery) -> Result<Response, ApiError> {
        self.check_bucket(&bucket).await?;
        // Behind the barrier no home that was acked is missed, nor a cluster that registered at another supernode.
        let registered = self.directory().fresh_clusters().await.map_err(|error| of_directory(&error))?;
        let request = ListRequest {
            bucket: bucket.clone(),
            prefix: query.prefix,
            delimiter: query.delimiter,
            after: query.after,
            limit: query.limit as u32,
        };
        let asked =
            registered.iter().map(|(cluster, _)| async { (cluster.clone(), self.page(cluster, &request).await) });
        let mut pages = Vec::new();
        let mut incomplete = Vec::new();
        for (cluster, answer) in futures::future::join_all(asked).await {
            match answer {
                Ok(page) => pages.push(ClusterPage { cluster, page }),
                Err(why) => {
                    tracing::warn!(%cluster, %why, "cluster can't be listed");
                    incomplete.push(cluster);
                }
            }
        }
        if !incomplete.is_empty() && !query.partial {
            let names: Vec<&str> = incomplete.iter().map(ClusterName::as_str).collect();
            let problem =
                Problem::new(Code::ListIncomplete, format!("these clusters do not answer: {}", names.join(", ")));
            return Err(problem.hint("try again, or add partial=true to list the others").retry_after_ms(1000).into());
        }
        let is_home = |item: &ListItem| {
            let name = FileName { bucket: bucket.clone(), key: item.key.clone() };
            self.directory().applied_home(&name).ok().flatten().is_some_and(|home| home.cluster == item.cluster)
        };
        let mut page: ListPage = merge(pages, query.limit, is_home);
        page.next = page.next.as_deref().map(to_cursor);
        page.incomplete = incomplete;
        Ok(Json(page).into_response())
    }

    /// One page of one cluster, from the first of its nodes that answers.
    async fn page(&self, cluster: &ClusterName, request: &ListRequest) -> Result<ListPage, String> {
        let forwarder = &self.forwarder;
        let mut avoid = Vec::new();
        let mut why = "no node of it is known".to_owned();
        while avoid.len() < 2 {
            let Some(node) = forwarder.clusters.wait_for(|known| known.gateway(cluster, &avoid)).await else { break };
            match forwarder.peers.post(Lane::Control, &node, route::PEER_LIST, request, LIST_DEADLINE).await {
                Ok(page) => return Ok(page),
                Err(error) => why = error.to_string(),
            }
            avoid.push(node);
        }
        Err(why)
    }
}
