//! Logs: one line per request, with its id and the route's pattern, and never a secret, a key or a query value.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    routing::{any, get},
};
use flotilla_api::{
    Code, header,
    peer::auth::{FleetSecret, sign},
};
use flotilla_env::{Clock as _, clock};
use flotilla_http_server::{ApiError, PeerAuth, credentials, peers, problem::with_fallbacks};
use http::Method;
use tracing_subscriber::fmt::MakeWriter;

use crate::common::{ask, authenticator, edge};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Captured {
    fn install(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(self.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text")
    }
}

fn routes() -> Router {
    let show = async |request: Request| {
        let (head, _) = request.into_parts();
        tracing::info!(?head, "handler");
        "shown"
    };
    with_fallbacks(
        Router::new()
            .route("/show/{*key}", any(show))
            .route("/fail", get(async || ApiError::new(Code::Internal, "sentence")))
            .route("/panic", get(async || -> String { panic!("planted") })),
    )
}

#[tokio::test]
async fn one_line_per_request_names_the_route_and_not_the_address() {
    let captured = Captured::default();
    let _guard = captured.install();
    let router = edge().wrap(routes());
    for uri in ["/fail?q=canary", "/nowhere/canary", "/panic?canary"] {
        let request = Request::get(uri).header("x-request-id", "id-1").body(Body::empty()).expect("valid request");
        ask(&router, request).await;
    }
    let text = captured.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("flotilla::access")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, parts) in lines.iter().zip([
        ["route=\"/fail\"", "status=500"],
        ["route=\"-\"", "status=404"],
        ["route=\"/panic\"", "status=500"],
    ]) {
        for part in parts.iter().chain(&["method=GET", "request_id=id-1", "whole=true"]) {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn secrets_are_in_no_log_and_no_debug_output() {
    let captured = Captured::default();
    let _guard = captured.install();
    let public = edge().wrap(credentials::require(routes(), credentials::Guard::tokens(authenticator())));
    for token in ["good", "CANARY-TOKEN"] {
        let request = Request::get("/show/a")
            .header("authorization", format!("Bearer {token}"))
            .header("cookie", "CANARY-COOKIE")
            .body(Body::empty())
            .expect("valid request");
        ask(&public, request).await;
    }

    let secret = "CANARY-SECRET";
    let auth = PeerAuth::new(FleetSecret::new(secret), "t", clock::system());
    let shown = format!("{auth:?}");
    let peer = edge().wrap(peers::require(routes(), auth));
    let mut macs = Vec::new();
    for secret in [secret, "CANARY-OTHER"] {
        let mut request = Request::get("/show/a").body(Body::empty()).expect("valid request");
        let fleet = FleetSecret::new(secret);
        let value = sign(&fleet, &Method::GET, "/show/a", request.headers(), "c", "t", clock::System.wall_ms(), (1, 1));
        macs.extend(value.rsplit(' ').next().map(str::to_owned));
        request.headers_mut().insert(header::PEER, value.parse().expect("a header value"));
        ask(&peer, request).await;
    }
    let text = captured.text() + &shown;
    assert_eq!(text.matches("handler").count(), 2, "both handlers wrote their request's head: {text}");
    for hidden in ["CANARY", "Bearer", &macs[0], &macs[1]] {
        assert!(!text.contains(hidden), "{hidden} is in {text}");
    }
}
