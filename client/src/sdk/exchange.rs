//! One request, tried until it has an answer or there is no point in trying; knows routes and headers only as text.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use flotilla_api::{RequestId, route};
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH},
};
use serde::de::DeserializeOwned;

use super::{
    client::{Client, Inner},
    content::Content,
    error::Error,
    nodes::Asked,
    retry::{Failure, Step, Tries},
};
use crate::{
    body::{self, Body, BoxError, CollectError},
    problem::{self, Unread},
    transport::{self, Lane},
};

/// A server that takes and gives nothing for so long is taken for lost; requests wait in a server's queue for less.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// The longest JSON answer: 1,000 files of a list, each with a key of 1 KiB in escapes, are below one half of it.
pub(super) const ANSWER_MAX_BYTES: usize = 16 << 20;

/// A request, whole but for its body.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) lane: Lane,
    pub(super) route: String,
    pub(super) headers: HeaderMap,
    /// The Idempotency-Key, on requests that change something.
    pub(super) key: Option<RequestId>,
}

impl Call {
    /// Whether it is about one file, whose cluster can serve it as well.
    fn is_of_file(&self) -> bool {
        let name = self.route.strip_prefix(route::FILES).and_then(|rest| rest.strip_prefix('/'));
        name.is_some_and(|name| name.split('?').next().is_some_and(|path| path.contains('/')))
    }
}

impl Client {
    /// Sends a request until `read` makes something of the answer, or until trying again is of no use.
    pub(super) async fn run<T, F, Fut>(&self, call: &Call, content: &Content, read: F) -> Result<T, Error>
    where
        F: Fn(Response<Body>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Failure>> + Send,
    {
        self.run_at(call, content, read).await.map(|(value, _)| value)
    }

    /// As [`Client::run`]; gives the address that answered as well.
    pub(super) async fn run_at<T, F, Fut>(&self, call: &Call, content: &Content, read: F) -> Result<(T, String), Error>
    where
        F: Fn(Response<Body>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Failure>> + Send,
    {
        let inner = &*self.0;
        let of_file = call.is_of_file();
        let mut tries = Tries::new(call.key.is_some(), inner.addresses.count(), inner.retries_max);
        let (mut left, mut followed) = (0, false);
        // A stream can be begun once: better not where a request has just failed, if the file's own cluster can be found.
        if of_file && content.is_stream() && inner.nodes.is_api_away(inner.clock.now()) {
            match Box::pin(self.ask_nodes(call, content, &read, &mut tries, &[])).await {
                Asked::Answered(value, node) => return Ok((value, node)),
                Asked::Refused(failure, node) => return Err(verdict(failure, &tries, call, &node)),
                Asked::Nobody(_) => {}
            }
        }
        loop {
            let address = inner.addresses.current();
            let answer = match inner.once(address.as_str(), call, content).await {
                Ok(response) => read(response).await,
                Err(failure) => Err(failure),
            };
            let failure = match answer {
                Ok(value) => {
                    inner.nodes.api_answered();
                    if of_file {
                        self.learn_nodes(&address).await;
                    }
                    return Ok((value, address.to_string()));
                }
                Err(failure) => failure,
            };
            let (elsewhere, step) = tries.after(&failure, inner.entropy.u64());
            if elsewhere {
                inner.addresses.leave(&address);
                inner.nodes.api_failed(inner.clock.now());
                left += 1;
            }
            // All addresses of the API had their turn, or the one that was asked knows a better one, which is believed once.
            let all = left >= inner.addresses.count();
            let told: &[String] = if followed { &[] } else { failure.told_home() };
            followed |= !told.is_empty();
            let mut of_node = None;
            if of_file && (all || !told.is_empty()) && content.reopens() && !tries.is_spent() {
                match Box::pin(self.ask_nodes(call, content, &read, &mut tries, told)).await {
                    Asked::Answered(value, node) => return Ok((value, node)),
                    Asked::Refused(failure, node) => return Err(verdict(failure, &tries, call, &node)),
                    Asked::Nobody(failure) => of_node = failure,
                }
            }
            left = if all { 0 } else { left };
            match step {
                Step::Again(wait) if content.reopens() => {
                    tracing::debug!(route = call.route, %address, ?failure, wait_ms = wait.as_millis(), "trying again");
                    tokio::time::sleep(wait).await;
                }
                Step::Again(_) | Step::GiveUp => {
                    // What a node of the file's own cluster says tells more than that the API is away.
                    let (failure, address) = of_node.unwrap_or_else(|| (failure, address.to_string()));
                    return Err(verdict(failure, &tries, call, &address));
                }
            }
        }
    }

    /// Sends a request without a body and reads its JSON answer.
    pub(super) async fn run_json<T: DeserializeOwned + Send>(&self, call: &Call, limit: usize) -> Result<T, Error> {
        let content = Content::none(self.0.clock.clone());
        self.run(call, &content, |response| async move { json(whole(response, limit).await?.1) }).await
    }
}

impl Inner {
    pub(super) async fn once(&self, address: &str, call: &Call, content: &Content) -> Result<Response<Body>, Failure> {
        let request = self.request(address, call, content)?;
        let sent = tokio::select! {
            biased;
            sent = self.transport.send(call.lane, request) => sent,
            () = content.stalled(STALL) => return Err(lost(content, format!("no progress for {STALL:?}").into())),
        };
        let response = match sent {
            Ok(response) if is_answer(&call.method, response.status()) => return Ok(response),
            other => match content.take_failure() {
                Some(e) => return Err(Failure::Source(e)),
                None => other.map_err(|e| match e {
                    transport::Error::Unreachable { source, .. } => Failure::Unreachable(source),
                    transport::Error::Interrupted { source, .. } => lost(content, source),
                    transport::Error::Invalid(source) => Failure::Invalid(source.to_string()),
                })?,
            },
        };
        Err(refusal(response, call.method == Method::HEAD).await)
    }

    fn request(&self, address: &str, call: &Call, content: &Content) -> Result<Request<Body>, Failure> {
        let uri = format!("http://{address}{}", call.route);
        let mut request = Request::new(content.open());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.parse().map_err(|e| Failure::Invalid(format!("'{uri}': {e}")))?;
        let mut headers = call.headers.clone();
        if let Some(token) = &self.authorization {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(length) = content.length().filter(|length| *length > 0 || call.method == Method::PUT) {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        if let Some(key) = &call.key {
            headers.insert(flotilla_api::header::IDEMPOTENCY_KEY, header_value(key.as_str())?);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Whether a status is what was asked for: also that a file has not changed, which only a read asks.
fn is_answer(method: &Method, status: StatusCode) -> bool {
    status.is_success() || (method == Method::GET && status == StatusCode::NOT_MODIFIED)
}

fn lost(content: &Content, source: BoxError) -> Failure {
    if content.is_complete() { Failure::Lost(source) } else { Failure::Cut(source) }
}

/// Says what went wrong for good; once a change may have been made, nothing but an answer to it is called an outcome.
fn verdict(failure: Failure, tries: &Tries, call: &Call, address: &str) -> Error {
    let open = call.key.clone().filter(|_| tries.is_open());
    let address = address.to_owned();
    match (failure, open) {
        // A server that has not been given the whole body has stored nothing, in this try or in an earlier one.
        (Failure::Source(e), _) => Error::Source(e),
        (Failure::Problem(problem), Some(key)) => {
            Error::Indeterminate { key, why: problem.to_string(), problem: Some(problem) }
        }
        (Failure::Unreachable(e) | Failure::Cut(e) | Failure::Lost(e), Some(key)) => {
            Error::Indeterminate { key, why: e.to_string(), problem: None }
        }
        (Failure::Malformed(why) | Failure::Invalid(why), Some(key)) => {
            Error::Indeterminate { key, why, problem: None }
        }
        (Failure::Problem(problem), None) => Error::Problem(problem),
        (Failure::Unreachable(source), None) => Error::Unreachable { address, source },
        (Failure::Cut(source) | Failure::Lost(source), None) => Error::Interrupted { address, source },
        (Failure::Malformed(why), None) => Error::Malformed(why),
        (Failure::Invalid(why), None) => Error::Invalid(why),
    }
}

async fn refusal(response: Response<Body>, head: bool) -> Failure {
    let status = response.status();
    if head {
        return match problem::of_head(status, response.headers()) {
            Some(problem) => Failure::Problem(Box::new(problem)),
            None => foreign(status, format!("status {status}")),
        };
    }
    match problem::read(response).await {
        Ok(problem) => Failure::Problem(Box::new(problem)),
        Err(Unread::Foreign(why)) => foreign(status, why),
        Err(Unread::Lost(source)) => Failure::Lost(source),
    }
}

/// A gateway of someone else's (an ingress, say) that can't reach a server says so with one of three statuses.
fn foreign(status: StatusCode, why: String) -> Failure {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Failure::Lost(why.into())
        }
        _ => Failure::Malformed(why),
    }
}

/// Reads a whole answer, of which `limit` bytes are kept at most.
pub(super) async fn whole(response: Response<Body>, limit: usize) -> Result<(http::response::Parts, Bytes), Failure> {
    let (parts, body) = response.into_parts();
    match tokio::time::timeout(STALL, body::collect(body, limit)).await {
        Ok(Ok(bytes)) => Ok((parts, bytes)),
        Ok(Err(CollectError::Broken(e))) => Err(Failure::Lost(e.into_inner())),
        Ok(Err(e @ CollectError::TooLarge(_))) => Err(Failure::Malformed(e.to_string())),
        Err(_) => Err(Failure::Lost(format!("no answer body within {STALL:?}").into())),
    }
}

pub(super) fn json<T: DeserializeOwned>(bytes: Bytes) -> Result<T, Failure> {
    serde_json::from_slice(&bytes).map_err(|e| Failure::Malformed(e.to_string()))
}

pub(super) fn header_value(text: &str) -> Result<http::HeaderValue, Failure> {
    http::HeaderValue::try_from(text).map_err(|_| Failure::Invalid(format!("no header takes '{text}'")))
}
