//! Client credentials: a bearer token becomes a caller, before a byte of the body is taken.
//!
//! It must not know how tokens are kept or what a caller may do.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use flotilla_api::{Code, Problem, keys::KeyId};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{capabilities::Capabilities, problem::ApiError};

/// Who sent a request; an extension of every request behind [`require`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal's name.
    pub principal: String,
    /// Whether it may do everything.
    pub root: bool,
    /// The key that it showed; none if it came with a capability, which is good for nothing but the request itself.
    pub key: Option<KeyId>,
}

/// Knows the principals.
pub trait Authenticator: Send + Sync {
    /// Finds the caller that a token belongs to. Compares hashes of the token, so that time tells nothing.
    fn authenticate(&self, token: &str) -> Option<Caller>;

    /// Whether the principals are known yet. Until then every token that is not known answers 503 `not_ready`: a process that has
    /// just started, or a directory that is not whole, must not tell a good client that its token is bad.
    fn is_ready(&self) -> bool {
        true
    }
}

/// The principal's name of a request that came with a capability.
const REDIRECTED: &str = "redirected";

/// Who may be served: callers with a token, and where there is a check for them, requests with a capability.
#[derive(Clone)]
pub struct Guard {
    authenticator: Arc<dyn Authenticator>,
    capabilities: Option<Arc<Capabilities>>,
}

impl Guard {
    /// Makes a guard that knows tokens alone.
    #[must_use]
    pub fn tokens(authenticator: Arc<dyn Authenticator>) -> Self {
        Self { authenticator, capabilities: None }
    }

    /// Takes capabilities too.
    #[must_use]
    pub fn or(self, capabilities: Arc<Capabilities>) -> Self {
        Self { capabilities: Some(capabilities), ..self }
    }
}

/// Puts a router behind credentials, its fallbacks too.
///
/// A capability in the query decides alone, whatever token stands beside it: the client was sent here to do that one thing. The
/// body is not polled here, so a client that sent `Expect: 100-continue` sends nothing before it is known.
pub fn require(router: Router, guard: Guard) -> Router {
    router.layer(from_fn_with_state(guard, check))
}

async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let capability = guard.capabilities.as_ref().and_then(|known| known.check(request.method(), request.uri()));
    if let Some(checked) = capability {
        return match checked {
            Ok(granted) => {
                request.extensions_mut().insert(granted);
                let caller = Caller { principal: REDIRECTED.to_owned(), root: false, key: None };
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
            Err(error) => error.into_response(),
        };
    }
    match caller(request.headers(), &*guard.authenticator) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            challenged(next.run(request).await)
        }
        Err(error) => refuse(error),
    }
}

/// Makes the answer, a 401 with its challenge.
pub(crate) fn refuse(error: ApiError) -> Response {
    challenged(error.into_response())
}

/// Puts the challenge on a 401: also where a handler found that the key was revoked meanwhile.
fn challenged(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Finds the caller of a request.
///
/// # Errors
/// 401 `unauthenticated`; the client must send another credential.
pub(crate) fn caller(headers: &HeaderMap, authenticator: &dyn Authenticator) -> Result<Caller, ApiError> {
    let error = |detail: &str| Err(unauthenticated(detail));
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return error("the request carries no credential"),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return error("the request carries more than one credential"),
    };
    let Some(token) = value.to_str().ok().and_then(bearer) else {
        return error("the credential is not a bearer token");
    };
    authenticator.authenticate(token).ok_or_else(|| unknown(authenticator))
}

/// The answer to a token that is not known, or not any more.
pub(crate) fn unknown(authenticator: &dyn Authenticator) -> ApiError {
    match authenticator.is_ready() {
        true => unauthenticated("the token is not known"),
        false => ApiError::new(Code::NotReady, "the server does not know all principals yet"),
    }
}

fn unauthenticated(detail: &str) -> ApiError {
    let hint = "send the header 'Authorization: Bearer TOKEN'; 'flotilla dev' writes the root token to DIR/root.key";
    Problem::new(Code::Unauthenticated, detail).hint(hint).into()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
