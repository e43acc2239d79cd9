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
    bodies::drain,
    conditions::{WriteConditions, write_conditions},
    files::{ListQuery, Target, content_length, file_name, idempotency_key, list_query, place, target, to_cursor},
    prefers_redirect, read_all,
};
use http::{HeaderMap, Method, Uri};
use std::{pin::pin, sync::Arc};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Late, Service,
    admit::{Asker, Entry, Placed, Wish},
    error::{bucket_not_found, nothing_to_match, of_directory, other_directory},
    forward::{Request, Upload},
    lent::REST_LOOK,
    tickets,
};
use crate::{
    admission::{
        class::{self, SMALL_BODY_MAX, class},
        gate::Permit,
    },
    merge::{ClusterPage, merge},
};

/// Bytes of all kept bodies together: 512 of the largest. One more is streamed, and so not sent again if its gateway is lost.
pub const KEPT_BUDGET_BYTES: usize = 32 << 20;
/// How long a cluster may take for a page.
const LIST_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) async fn put(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let length = content_length(&headers);
    let class = class(&Method::PUT, length, false);
    let wish = Wish { caller: &caller, request: &request_id, headers: &headers, op: "put", class };
    let admitted = service.admit_put(&wish, &uri).await;
    let Admitted { name, idempotency_key, may_leave, home, mut permit } = match admitted {
        Ok(Entered::Through(admitted)) => admitted,
        Ok(Entered::Waits(answer)) => return Ok(waits(answer, &headers, body).await),
        Err(error) => return Err(unread(error, &headers, body).await),
    };
    if may_leave
        && prefers_redirect(&headers)
        && let Some(answer) = service.redirect(&caller, &name, &home, (Deed::Write, length.unwrap_or(u64::MAX)))
    {
        permit.answered(answer.status());
        return Ok(answer);
    }
    let (upload, _room) = service.upload(&headers, body, &mut permit).await?;
    let (headers, request_id, name) = (&headers, &request_id, &name);
    let request =
        Request { method: Method::PUT, name, headers, request_id, idempotency_key, layout: false, source: None };
    service.forwarder.send(request, home, upload, Some(permit)).await
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
        Target::Bucket(bucket) => {
            let query = list_query(&uri)?;
            service.check_bucket(&bucket).await?;
            let mut permit = service.admit_list(Asker::new(&caller, &request_id, "list", class::list())).await?;
            let answer = service.list(bucket, query).await;
            permit.answered(answer.as_ref().map_or_else(|error| error.code.status(), Response::status));
            return answer;
        }
    };
    let layout = uri.query().is_some_and(|query| query.split('&').any(|part| part == "layout"));
    if layout && !caller.root {
        return Err(ApiError::new(Code::Forbidden, "only root may see where files lie"));
    }
    let op = if method == Method::HEAD { "head" } else { "get" };
    let asker = Asker::new(&caller, &request_id, op, class(&method, None, false));
    service.refuse_early(&asker)?;
    let home = service.home(&name).await?;
    let mut permit = service.admit_home(asker, &home).await?;
    if !layout
        && prefers_redirect(&headers)
        && let Some(answer) = service.redirect(&caller, &name, &home, (Deed::Read, 0))
    {
        permit.answered(answer.status());
        return Ok(answer);
    }
    let (name, headers, request_id) = (&name, &headers, &request_id);
    let request = Request { method, name, headers, request_id, idempotency_key: None, layout, source: None };
    service.forwarder.send(request, home, Upload::Empty, Some(permit)).await
}

pub(super) async fn patch(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let class = class(&Method::PATCH, content_length(&headers), false);
    let wish = Wish { caller: &caller, request: &request_id, headers: &headers, op: "patch", class };
    let admitted = service.admit_patch(&wish, &uri).await;
    let Admitted { name, idempotency_key, may_leave: _, home, mut permit } = match admitted {
        Ok(Entered::Through(admitted)) => admitted,
        Ok(Entered::Waits(answer)) => return Ok(waits(answer, &headers, body).await),
        Err(error) => return Err(unread(error, &headers, body).await),
    };
    let (upload, _room) = service.upload(&headers, body, &mut permit).await?;
    let (name, headers, request_id) = (&name, &headers, &request_id);
    let request =
        Request { method: Method::PATCH, name, headers, request_id, idempotency_key, layout: false, source: None };
    service.forwarder.send(request, home, upload, Some(permit)).await
}

pub(super) async fn delete(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let asker = Asker::new(&caller, &request_id, "delete", class(&Method::DELETE, None, false));
    service.refuse_early(&asker)?;
    let name = file_name(&uri)?;
    let conditions = write_conditions(&headers)?;
    let idempotency_key = idempotency_key(&headers)?;
    let home = service.home_to_change(&name, &conditions).await?;
    let permit = service.admit_home(asker, &home).await?;
    let (name, headers, request_id) = (&name, &headers, &request_id);
    let request =
        Request { method: Method::DELETE, name, headers, request_id, idempotency_key, layout: false, source: None };
    service.forwarder.send(request, home, Upload::Empty, Some(permit)).await
}

/// A request with a body that may be sent to a cluster.
struct Admitted {
    name: FileName,
    idempotency_key: Option<RequestId>,
    /// Whether its client may be sent to a node.
    may_leave: bool,
    home: Home,
    permit: Permit,
}

/// What came of a request with a body.
enum Entered {
    /// It may be sent to a cluster.
    Through(Admitted),
    /// It has a ticket whose turn has not come.
    Waits(Response),
}

/// Reads the small body of a request that is refused for now and throws it away: its connection can be used again, and
/// a new one would cost both sides more.
async fn unread(error: ApiError, headers: &HeaderMap, body: Body) -> ApiError {
    if [429, 503].contains(&error.status) {
        drain(headers, body).await;
    }
    error
}

/// As that, for one that is answered with a ticket.
async fn waits(answer: Response, headers: &HeaderMap, body: Body) -> Response {
    drain(headers, body).await;
    answer
}

impl Service {
    /// Lets a PUT through, before a byte of its body is read.
    async fn admit_put(&self, wish: &Wish<'_>, uri: &Uri) -> Result<Entered, ApiError> {
        self.refuse_wish_early(wish)?;
        let name = file_name(uri)?;
        let conditions = write_conditions(wish.headers)?;
        let idempotency_key = idempotency_key(wish.headers)?;
        self.check_bucket(&name.bucket).await?;
        let what = tickets::what(&Method::PUT, &name, None);
        let asker = match self.enter(wish, what).await? {
            Entry::Asks(asker) => asker,
            Entry::Waits(answer) => return Ok(Entered::Waits(answer)),
        };
        let (idempotency_key, may_leave) = (idempotency_key.or_else(|| asker.ticket_key()), asker.may_leave());
        match self.admit_write(asker, &name, &conditions, None).await? {
            Placed::Through(home, permit) => {
                Ok(Entered::Through(Admitted { name, idempotency_key, may_leave, home, permit }))
            }
            Placed::Waits(home) => self.issue(wish, what, home).await.map(Entered::Waits),
        }
    }

    /// As that, for a PATCH.
    async fn admit_patch(&self, wish: &Wish<'_>, uri: &Uri) -> Result<Entered, ApiError> {
        self.refuse_wish_early(wish)?;
        let name = file_name(uri)?;
        let conditions = write_conditions(wish.headers)?;
        place(wish.headers)?;
        let idempotency_key = idempotency_key(wish.headers)?;
        let home = self.home_to_change(&name, &conditions).await?;
        let what = tickets::what(&Method::PATCH, &name, None);
        let asker = match self.enter(wish, what).await? {
            Entry::Asks(asker) => asker,
            Entry::Waits(answer) => return Ok(Entered::Waits(answer)),
        };
        let (idempotency_key, may_leave) = (idempotency_key.or_else(|| asker.ticket_key()), asker.may_leave());
        match self.admit_change(asker, home).await? {
            Placed::Through(home, permit) => {
                Ok(Entered::Through(Admitted { name, idempotency_key, may_leave, home, permit }))
            }
            Placed::Waits(home) => self.issue(wish, what, home).await.map(Entered::Waits),
        }
    }

    /// Memory to keep a body of this length in; none for a long one, or while others take it all.
    fn room_to_keep(&self, length: Option<u64>) -> Option<OwnedSemaphorePermit> {
        let bytes = length.filter(|length| *length <= SMALL_BODY_MAX)?;
        let bytes = u32::try_from(bytes).expect("SMALL_BODY_MAX fits");
        Arc::clone(&self.kept).try_acquire_many_owned(bytes).ok()
    }

    /// Sends the client to a node of the file's home, to do this with at most so many bytes; no answer if none of them is known to
    /// serve at once.
    fn redirect(
        &self,
        caller: &Caller,
        name: &FileName,
        home: &Home,
        (deed, limit_bytes): (Deed, u64),
    ) -> Option<Response> {
        let addresses = self.forwarder.clusters.addresses(&home.cluster, deed == Deed::Write);
        let to = Destination { deed, cluster: &home.cluster, epoch: home.epoch, limit_bytes, key: caller.key? };
        addresses.first().map(|address| self.sealer.redirect(address, name, &to))
    }

    /// Keeps a small body, so that it can be sent again, with the memory that it is kept in. The permit of a client that takes
    /// its time rests.
    async fn upload(
        &self,
        headers: &HeaderMap,
        body: Body,
        permit: &mut Permit,
    ) -> Result<(Upload, Option<OwnedSemaphorePermit>), ApiError> {
        let held = self.room_to_keep(content_length(headers));
        if held.is_none() {
            return Ok((Upload::Streamed(body), None));
        }
        let mut read = pin!(read_all(body, SMALL_BODY_MAX as usize));
        let kept = tokio::select! {
            kept = &mut read => kept,
            () = tokio::time::sleep(REST_LOOK) => {
                permit.rested();
                read.await
            }
        };
        Ok((Upload::Kept(permit.note(kept)?), held))
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

    async fn list(&self, bucket: BucketName, query: ListQuery) -> Result<Response, ApiError> {
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
