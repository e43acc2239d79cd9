//! Problems as answers: the one place where an error becomes a status, headers and a document.
//!
//! It must not know which error of which crate became the problem; the servers' `http/error.rs` does.

use std::{fmt, ops::Deref};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use flotilla_api::{Code, Problem, RequestId};
use http::{HeaderValue, StatusCode, header, response::Parts};

/// What a 429 or 503 without a better estimate says: about the time of an election or of a snapshot's last step.
pub const RETRY_AFTER_DEFAULT_MS: u64 = 1000;

/// A problem on its way to the client; boxed, so that results stay small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError(Box<Problem>);

impl ApiError {
    /// Makes an error from a code and a sentence for the client.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        *error.0
    }
}

impl Deref for ApiError {
    type Target = Problem;
    fn deref(&self) -> &Problem {
        &self.0
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ApiError {}

/// Lets the outermost layer write the document again with the request's id in it.
#[derive(Clone)]
struct Carried(ApiError);

impl IntoResponse for ApiError {
    /// # Shape
    /// `application/problem+json`; `Retry-After` in seconds, rounded up, on every 429 and 503 and where the problem says when;
    /// `ETag` and `Content-Range` where the problem has an ETag or a size.
    fn into_response(mut self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.retry_after_ms.is_none()
            && [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status)
        {
            self.0.retry_after_ms = Some(RETRY_AFTER_DEFAULT_MS);
        }
        let mut response = (status, document(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::MEDIA_TYPE));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, ms.div_ceil(1000).into());
        }
        if let Some(etag) = self.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(header::ETAG, etag);
        }
        if let Some(size) = self.size {
            let text = format!("bytes */{size}");
            headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(text).expect("numbers are ASCII"));
        }
        response.extensions_mut().insert(Carried(self));
        response
    }
}

fn document(problem: &Problem) -> Body {
    serde_json::to_vec(problem).expect("a problem is made of strings and numbers").into()
}

/// Adds the answers for unknown routes and wrong methods. Add all routes first.
pub fn with_fallbacks(routes: Router) -> Router {
    routes.fallback(route_not_found).method_not_allowed_fallback(method_not_allowed)
}

async fn route_not_found() -> ApiError {
    ApiError::new(Code::RouteNotFound, "this server has no such route")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(Code::MethodNotAllowed, "the header Allow lists the methods of this route")
}

/// Gives the answer its last shape: the request's id stands in every problem, and an error without a document gets one.
pub(crate) fn finish(response: Response, id: &RequestId) -> Response {
    let (mut parts, body) = response.into_parts();
    let error = match parts.extensions.remove::<Carried>() {
        Some(Carried(error)) => Some(error),
        None => bare_error(&parts),
    };
    let Some(mut error) = error else { return Response::from_parts(parts, body) };
    id.as_str().clone_into(&mut error.0.request_id);
    let kept = std::mem::take(&mut parts.headers);
    let mut response = error.into_response();
    response.extensions_mut().remove::<Carried>();
    for (name, value) in &kept {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// An error that the framework made (a refused extractor, say): without a document, or with plain text.
fn bare_error(parts: &Parts) -> Option<ApiError> {
    let text = match parts.headers.get(header::CONTENT_TYPE) {
        None => true,
        Some(media_type) => media_type.as_bytes().starts_with(b"text/plain"),
    };
    if !text || !(parts.status.is_client_error() || parts.status.is_server_error()) {
        return None;
    }
    let (code, detail) = match parts.status.as_u16() {
        401 => (Code::Unauthenticated, "a credential is needed"),
        403 => (Code::Forbidden, "the credential does not allow this"),
        404 => (Code::RouteNotFound, "this server has no such route"),
        405 => (Code::MethodNotAllowed, "the header Allow lists the methods of this route"),
        411 => (Code::LengthRequired, "send a Content-Length"),
        413 => (Code::TooLarge, "the body is over the route's limit"),
        416 => (Code::RangeInvalid, "the range lies outside the file"),
        422 => (Code::BodyInvalid, "the body does not have the route's form"),
        429 => (Code::RateLimited, "too many requests"),
        400..500 => (Code::HeaderInvalid, "a path segment, query parameter or header is not understood"),
        503 => (Code::NotReady, "the server can't answer now"),
        _ => (Code::Internal, "the server could not answer; its log has the request's id"),
    };
    Some(ApiError::new(code, detail))
}
