//! Copies and moves: within one cluster its log does them; between two the bytes go through here.

use axum::{Extension, extract::State, response::Response};
use flotilla_api::{Code, Problem, RequestId, header, peer::Home};
use flotilla_http_server::{
    ApiError, Caller,
    conditions::{etag_list, write_conditions},
    files::{Source, file_name, idempotency_key, source},
};
use http::{HeaderMap, HeaderName, Method, Uri, header as std_header};

use super::{
    Late, Service,
    admit::{Entry, Placed, Wish},
    error::of_directory,
    forward::{Request, Upload},
    tickets,
};
use crate::{
    admission::{class::class, gate::Permit},
    directory::rows::Stage,
};

pub(super) async fn post(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    let small = class(&Method::POST, None, false);
    let wish = Wish { caller: &caller, request: &request_id, headers: &headers, op: "copy", class: small };
    service.refuse_wish_early(&wish)?;
    let (name, source) = (file_name(&uri)?, source(&uri)?);
    let conditions = write_conditions(&headers)?;
    etag_list(&headers, &HeaderName::from_static(header::SOURCE_IF_MATCH))?;
    let idempotency_key = idempotency_key(&headers)?;
    service.check_bucket(&name.bucket).await?;
    let from = service.home(&source.name).await?;
    let target = service.directory().applied_home(&name).map_err(|error| of_directory(&error))?;
    // Where the source is no byte moves, but a cluster that retires gets no new key.
    let row = service.directory().cluster(&from.cluster).map_err(|error| of_directory(&error))?;
    let near = Some(&from.cluster).filter(|_| row.is_none_or(|row| row.stage == Stage::Active));
    let across = target.map_or(near.is_none(), |target| target.cluster != from.cluster);
    let wish = Wish { class: class(&Method::POST, None, across), ..wish };
    let what = tickets::what(&Method::POST, &name, Some(&source));
    let asker = match service.enter(&wish, what).await? {
        Entry::Asks(asker) => asker,
        Entry::Waits(answer) => return Ok(answer),
    };
    let idempotency_key = idempotency_key.or_else(|| asker.ticket_key());
    let (home, permit) = match service.admit_write(asker, &name, &conditions, near).await? {
        Placed::Through(home, permit) => (home, permit),
        Placed::Waits(home) => return service.issue(&wish, what, home).await,
    };
    let request = Request {
        method: Method::POST,
        name: &name,
        headers: &headers,
        request_id: &request_id,
        idempotency_key,
        layout: false,
        source: Some(&source),
    };
    if home.cluster != from.cluster {
        return service.copy_across(request, &source, (from, home), permit).await;
    }
    service.forwarder.send(request, home, Upload::Empty, Some(permit)).await
}

impl Service {
    /// Streams a file from one cluster into another one.
    async fn copy_across(
        &self,
        request: Request<'_>,
        source: &Source,
        (from, home): (Home, Home),
        mut permit: Permit,
    ) -> Result<Response, ApiError> {
        if source.moves {
            let detail =
                format!("'{}' and '{}' are clusters of their own, so nothing was moved", from.cluster, home.cluster);
            let hint = "copy the file, then delete the source with If-Match and the copy's ETag";
            return Err(Problem::new(Code::Conflict, detail).hint(hint).into());
        }
        let mut asked = HeaderMap::new();
        for value in request.headers.get_all(header::SOURCE_IF_MATCH) {
            asked.append(std_header::IF_MATCH, value.clone());
        }
        let read = Request {
            method: Method::GET,
            name: &source.name,
            headers: &asked,
            request_id: request.request_id,
            idempotency_key: None,
            layout: false,
            source: None,
        };
        // Without a permit of its own: one request that waits for two could wait for itself.
        let read = self.forwarder.send(read, from, Upload::Empty, None).await;
        let (parts, body) = permit.note(read.map_err(of_source))?.into_parts();
        let mut headers = request.headers.clone();
        for name in [std_header::CONTENT_TYPE, std_header::CONTENT_LENGTH] {
            if let Some(value) = parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let write = Request { method: Method::PUT, headers: &headers, source: None, ..request };
        let written = self.forwarder.send(write, home, Upload::Streamed(body), Some(permit)).await;
        written.map_err(|error| match error.code {
            // The body was not the client's.
            Code::BodyInvalid => {
                let detail = "the source broke off in the middle; nothing was changed";
                Problem::new(Code::UploadInterrupted, detail).retry_after_ms(500).into()
            }
            _ => error,
        })
    }
}

/// What the source's cluster said, to a client that asked about the target: the source's ETag is not the target's.
fn of_source(error: ApiError) -> ApiError {
    let mut problem = Problem::from(error);
    if let Some(etag) = problem.etag.take() {
        problem.detail = format!("the source has the ETag {etag}, which is not what was asked for");
    }
    problem.into()
}
