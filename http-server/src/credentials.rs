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
use flotilla_api::{Code, Problem};
use http::{HeaderMap, HeaderValue, header};

use crate::problem::ApiError;

/// Who sent a request; an extension of every request behind [`require`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal's name.
    pub principal: String,
    /// Whether it may do everything.
    pub root: bool,
}

/// Knows the principals.
pub trait Authenticator: Send + Sync {
    /// Finds the caller that a token belongs to. Compares hashes of the token, so that time tells nothing.
    fn authenticate(&self, token: &str) -> Option<Caller>;

    /// Whether the principals are known yet. Until then every token answers 503 `not_ready`: a process that has just started must
    /// not tell a good client that its token is bad.
    fn is_ready(&self) -> bool {
        true
    }
}

/// Puts a router behind credentials, its fallbacks too.
///
/// The body is not polled here, so a client that sent `Expect: 100-continue` sends nothing before it is known.
pub fn require(router: Router, authenticator: Arc<dyn Authenticator>) -> Router {
    router.layer(from_fn_with_state(authenticator, check))
}

async fn check(State(authenticator): State<Arc<dyn Authenticator>>, mut request: Request, next: Next) -> Response {
    match caller(request.headers(), &*authenticator) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => refuse(error),
    }
}

/// Makes the answer, a 401 with its challenge.
pub(crate) fn refuse(error: ApiError) -> Response {
    if error.code != Code::Unauthenticated {
        return error.into_response();
    }
    ([(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], error).into_response()
}

/// Finds the caller of a request.
///
/// # Errors
/// 401 `unauthenticated`; the client must send another credential.
pub(crate) fn caller(headers: &HeaderMap, authenticator: &dyn Authenticator) -> Result<Caller, ApiError> {
    let error = |detail: &str| {
        let hint =
            "send the header 'Authorization: Bearer TOKEN'; 'flotilla dev' writes the root token to DIR/root.key";
        Err(Problem::new(Code::Unauthenticated, detail).hint(hint).into())
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return error("the request carries no credential"),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return error("the request carries more than one credential"),
    };
    let Some(token) = value.to_str().ok().and_then(bearer) else {
        return error("the credential is not a bearer token");
    };
    match authenticator.authenticate(token) {
        Some(caller) => Ok(caller),
        None if authenticator.is_ready() => error("the token is not known"),
        None => Err(ApiError::new(Code::NotReady, "the server is starting; it does not know the principals yet")),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
