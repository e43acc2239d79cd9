//! Credentials come before everything else.

use axum::{Extension, Router, body::Body, http::Request, routing::put};
use flotilla_api::Code;
use flotilla_http_server::{ApiError, Caller, Guard, credentials::require, problem::with_fallbacks};
use http::header;

use crate::common::{ask, authenticator, edge, problem};

fn router() -> Router {
    let who = async |Extension(caller): Extension<Caller>| caller.principal;
    edge().wrap(require(with_fallbacks(Router::new().route("/", put(who))), Guard::tokens(authenticator())))
}

async fn check(method: &str, uri: &str, credentials: &[&str]) -> http::Response<bytes::Bytes> {
    let untouched =
        Body::from_stream(futures::stream::poll_fn(|_| -> std::task::Poll<Option<std::io::Result<String>>> {
            panic!("the body was polled before the credential was checked")
        }));
    let mut request = Request::builder().method(method).uri(uri);
    for credential in credentials {
        request = request.header(header::AUTHORIZATION, *credential);
    }
    ask(&router(), request.body(untouched).expect("valid request")).await
}

#[tokio::test]
async fn a_known_token_gives_the_caller() {
    for credential in ["Bearer good", "bearer good"] {
        let response = check("PUT", "/", &[credential]).await;
        assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, &b"root"[..]));
    }
}

#[tokio::test]
async fn anything_else_is_unauthenticated_on_every_route_with_the_body_unread() {
    let wrong: &[&[&str]] =
        &[&[], &["Bearer bad"], &["Bearer "], &["Bearer"], &["good"], &["Basic good"], &["Bearer good", "Bearer good"]];
    for credentials in wrong {
        for (method, uri) in [("PUT", "/"), ("GET", "/"), ("GET", "/unknown")] {
            let response = check(method, uri, credentials).await;
            assert_eq!(response.status().as_u16(), 401, "{credentials:?}");
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
            let problem = problem(&response);
            assert_eq!(problem.code, Code::Unauthenticated);
            assert!(problem.hint.is_some_and(|hint| hint.contains("Authorization: Bearer")));
        }
    }
}

#[tokio::test]
async fn a_key_that_is_refused_later_is_challenged_as_one_that_is_refused_at_once() {
    let late = async || -> Result<(), ApiError> { Err(ApiError::new(Code::Unauthenticated, "it was revoked")) };
    let router = edge().wrap(require(Router::new().route("/", put(late)), Guard::tokens(authenticator())));
    let request = Request::put("/").header(header::AUTHORIZATION, "Bearer good").body(Body::empty());
    let response = ask(&router, request.expect("valid request")).await;
    assert_eq!(response.status().as_u16(), 401);
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    assert_eq!(problem(&response).code, Code::Unauthenticated);
}
