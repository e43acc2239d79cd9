//! Every error is a problem document, whoever made it.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request},
    http::{Method, StatusCode},
    routing::{any, get as on_get, put},
};
use bytes::Bytes;
use flotilla_api::{Code, Problem};
use flotilla_http_server::{ApiError, problem::with_fallbacks, read_all};
use http::header;
use http_body_util::BodyExt as _;

use crate::common::{ask, edge, get, problem};

fn served(routes: Router) -> Router {
    edge().wrap(with_fallbacks(routes))
}

fn request(method: Method, uri: &str, body: impl Into<Body>) -> Request {
    Request::builder().method(method).uri(uri).body(body.into()).expect("valid request")
}

#[tokio::test]
async fn every_code_is_answered_as_a_problem_document() {
    let fail = async |Path(at): Path<usize>| ApiError::new(Code::ALL[at], "it went wrong");
    let router = served(Router::new().route("/{at}", on_get(fail)));
    for (at, code) in Code::ALL.iter().enumerate() {
        let response = get(&router, &format!("/{at}")).await;
        assert_eq!(response.status(), code.status(), "{code}");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], "sandbox");
        let document: serde_json::Value = serde_json::from_slice(response.body()).expect("json");
        assert_eq!(document["type"], format!("urn:flotilla:{code}"));
        assert_eq!(document["status"], code.status().as_u16());
        let problem = problem(&response);
        assert_eq!((problem.code, problem.retryable, &*problem.detail), (*code, code.retryable(), "it went wrong"));
        assert_eq!(response.headers()["x-request-id"], problem.request_id);
        assert!(!problem.request_id.is_empty());
        let shed = matches!(code.status().as_u16(), 429 | 503);
        assert_eq!(response.headers().contains_key(header::RETRY_AFTER), shed, "{code}");
    }
}

#[tokio::test]
async fn retry_after_is_in_seconds_and_rounded_up() {
    let fail = async |Path(ms): Path<u64>| ApiError::from(Problem::new(Code::NoLeader, "x").retry_after_ms(ms));
    let router = served(Router::new().route("/{ms}", on_get(fail)));
    for (ms, seconds) in [(0, "0"), (1, "1"), (1000, "1"), (1001, "2")] {
        let response = get(&router, &format!("/{ms}")).await;
        assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        assert_eq!(problem(&response).retry_after_ms, Some(ms));
    }
}

#[tokio::test]
async fn a_range_outside_the_file_carries_its_length() {
    let fail = async || {
        let mut problem = Problem::new(Code::RangeInvalid, "x");
        problem.size = Some(42);
        ApiError::from(problem)
    };
    let response = get(&served(Router::new().route("/", on_get(fail))), "/").await;
    assert_eq!(response.headers()[header::CONTENT_RANGE], "bytes */42");
}

#[tokio::test]
async fn a_failed_precondition_carries_the_current_etag() {
    let fail = async || {
        let mut problem = Problem::new(Code::PreconditionFailed, "x");
        problem.etag = Some("\"abc\"".to_owned());
        ApiError::from(problem)
    };
    let response = get(&served(Router::new().route("/", on_get(fail))), "/").await;
    assert_eq!(response.headers()[header::ETAG], "\"abc\"");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_problems() {
    let router = served(Router::new().route("/a", on_get(async || "a").put(async || "a")));
    let unknown = get(&router, "/b").await;
    assert_eq!((unknown.status(), problem(&unknown).code), (StatusCode::NOT_FOUND, Code::RouteNotFound));

    let wrong = ask(&router, request(Method::DELETE, "/a", "")).await;
    assert_eq!((wrong.status(), problem(&wrong).code), (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed));
    assert_eq!(wrong.headers()[header::ALLOW], "GET,HEAD,PUT");
}

#[tokio::test]
async fn a_router_without_fallbacks_answers_problems_too() {
    let router = edge().wrap(Router::new().route("/a", on_get(async || "a")));
    assert_eq!(problem(&get(&router, "/b").await).code, Code::RouteNotFound);
    let wrong = ask(&router, request(Method::DELETE, "/a", "")).await;
    assert_eq!(problem(&wrong).code, Code::MethodNotAllowed);
    assert_eq!(wrong.headers()[header::ALLOW], "GET,HEAD");
}

#[tokio::test]
async fn an_error_to_head_has_no_body() {
    let fail = async || ApiError::new(Code::FileNotFound, "no such file");
    let router = served(Router::new().route("/a", on_get(fail)));
    let response = ask(&router, request(Method::HEAD, "/a", "")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(response.body().is_empty());
    let unknown = ask(&router, request(Method::HEAD, "/b", "")).await;
    assert_eq!((unknown.status(), unknown.body().len()), (StatusCode::NOT_FOUND, 0));
}

#[tokio::test]
async fn a_panic_is_an_internal_problem_that_quotes_nothing() {
    let router = served(Router::new().route("/", on_get(async || -> String { panic!("canary") })));
    let response = get(&router, "/").await;
    assert_eq!(problem(&response).code, Code::Internal);
    assert!(!String::from_utf8_lossy(response.body()).contains("canary"));
}

#[tokio::test]
async fn what_the_framework_refuses_becomes_a_problem() {
    #[derive(serde::Deserialize)]
    struct Page {
        #[serde(rename = "limit")]
        _limit: u32,
    }
    let routes = Router::new()
        .route("/page", on_get(async |_: Query<Page>| "page"))
        .route("/json", put(async |_: Json<u32>| "json"))
        .route("/bytes", put(async |_: Bytes| "bytes"));
    let router = served(routes);
    let refused = get(&router, "/page?limit=x").await;
    assert_eq!((refused.status().as_u16(), problem(&refused).code), (400, Code::HeaderInvalid));
    let refused = ask(&router, request(Method::PUT, "/json", "1")).await;
    assert_eq!((refused.status().as_u16(), problem(&refused).code), (400, Code::HeaderInvalid), "no media type");
    let refused = ask(&router, request(Method::PUT, "/bytes", vec![0; (1 << 20) + 1])).await;
    assert_eq!((refused.status().as_u16(), problem(&refused).code), (413, Code::TooLarge));
}

#[tokio::test]
async fn other_documents_keep_their_shape() {
    let json = async || (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({"ready": false})));
    let response = get(&served(Router::new().route("/", on_get(json))), "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.body().as_ref(), br#"{"ready":false}"#);
}

#[tokio::test]
async fn a_streamed_body_has_no_size_limit() {
    let count = async |request: Request| {
        let mut body = request.into_body();
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            count += frame.expect("in memory").into_data().map_or(0, |data| data.len());
        }
        count.to_string()
    };
    let parts = futures::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 18]))));
    let router = served(Router::new().route("/", put(count)));
    let response = ask(&router, request(Method::PUT, "/", Body::from_stream(parts))).await;
    assert_eq!(response.body().as_ref(), (16 << 20).to_string().as_bytes());
}

#[tokio::test]
async fn a_valid_request_id_is_kept_and_any_other_is_replaced() {
    let echo = async |request: Request| -> String {
        request.extensions().get::<flotilla_api::RequestId>().expect("an id").to_string()
    };
    let router = served(Router::new().route("/", any(echo)));
    let long = "a".repeat(65);
    for (sent, kept) in [("r-1.2:3_X", true), ("", false), ("a b", false), ("ä", false), (long.as_str(), false)] {
        let request = Request::get("/").header("x-request-id", sent).body(Body::empty()).expect("valid request");
        let response = ask(&router, request).await;
        let id = response.headers()["x-request-id"].to_str().expect("ascii").to_owned();
        assert_eq!(id == sent, kept, "{sent:?}");
        assert_eq!(response.body().as_ref(), id.as_bytes(), "the handler sees the same id");
    }
    let (one, two) = (get(&router, "/").await, get(&router, "/").await);
    assert_ne!(one.body(), two.body());
}

#[tokio::test]
async fn whole_bodies_over_the_limit_are_too_large() {
    let take = async |request: Request| -> Result<String, ApiError> {
        Ok(read_all(request.into_body(), 4).await?.len().to_string())
    };
    let router = served(Router::new().route("/", put(take)));
    assert_eq!(ask(&router, request(Method::PUT, "/", "abcd")).await.body().as_ref(), b"4");
    let refused = ask(&router, request(Method::PUT, "/", "abcde")).await;
    assert_eq!((refused.status().as_u16(), problem(&refused).code), (413, Code::TooLarge));
}
