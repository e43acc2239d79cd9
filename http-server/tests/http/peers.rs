//! Peer requests are taken once, by the process they are for, as they were signed.

use std::sync::{Arc, atomic::AtomicU64};

use axum::{Extension, Router, body::Body, http::Request, routing::any};
use flotilla_api::{
    Code, header,
    peer::auth::{FleetSecret, WINDOW_MS, sign},
};
use flotilla_env::clock::FixedWall;
use flotilla_http_server::{PeerAuth, PeerCaller, peers::require, problem::with_fallbacks};
use http::Method;

use crate::common::{ask, edge, problem};

const SECRET: &str = "fleet secret";
const TARGET: &str = "127.0.0.1:7411";
const NOW_MS: u64 = 1_800_000_000_000;

fn router() -> Router {
    let auth = PeerAuth::new(FleetSecret::new(SECRET), TARGET, Arc::new(FixedWall(AtomicU64::new(NOW_MS))));
    let who = async |Extension(caller): Extension<PeerCaller>| caller.address;
    edge().wrap(require(with_fallbacks(Router::new().route("/peer/v1/chunk", any(who))), auth))
}

/// One request with everything right, to be spoiled.
struct Call {
    secret: &'static str,
    target: &'static str,
    time_ms: u64,
    counter: u64,
    signed_method: Method,
    signed_route: &'static str,
    method: Method,
    route: &'static str,
    chunk: &'static str,
    extra: Option<&'static str>,
}

impl Call {
    fn good(counter: u64) -> Self {
        Self {
            secret: SECRET,
            target: TARGET,
            time_ms: NOW_MS,
            counter,
            signed_method: Method::PUT,
            signed_route: "/peer/v1/chunk?a=1",
            method: Method::PUT,
            route: "/peer/v1/chunk?a=1",
            chunk: "signed",
            extra: None,
        }
    }

    async fn send(self, router: &Router) -> http::Response<bytes::Bytes> {
        let mut request =
            Request::builder().method(self.method).uri(self.route).header(header::CHUNK, "signed").body(Body::empty());
        let headers = request.as_mut().expect("valid request").headers_mut();
        let signature = sign(
            &FleetSecret::new(self.secret),
            &self.signed_method,
            self.signed_route,
            headers,
            "127.0.0.1:7421",
            self.target,
            self.time_ms,
            (7, self.counter),
        );
        headers.insert(header::PEER, signature.parse().expect("a header value"));
        headers.insert(header::CHUNK, self.chunk.parse().expect("a header value"));
        if let Some(epoch) = self.extra {
            headers.insert(header::EPOCH, epoch.parse().expect("a header value"));
        }
        ask(router, request.expect("valid request")).await
    }
}

#[tokio::test]
async fn a_signed_request_is_taken_and_names_its_caller() {
    let response = Call::good(1).send(&router()).await;
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, &b"127.0.0.1:7421"[..]));
}

#[tokio::test]
async fn a_replayed_request_is_refused_and_one_out_of_order_is_not() {
    let router = router();
    for counter in [10, 3, 12, 11] {
        assert_eq!(Call::good(counter).send(&router).await.status().as_u16(), 200, "{counter}");
    }
    for counter in [10, 3, 12, 11] {
        assert_eq!(Call::good(counter).send(&router).await.status().as_u16(), 401, "{counter}");
    }
}

#[tokio::test]
async fn a_request_that_differs_from_what_was_signed_is_refused() {
    let router = router();
    let wrong = [
        ("secret", Call { secret: "other", ..Call::good(1) }),
        ("target", Call { target: "127.0.0.1:7412", ..Call::good(1) }),
        ("method", Call { method: Method::GET, ..Call::good(1) }),
        ("route", Call { signed_route: "/peer/v1/list?a=1", ..Call::good(1) }),
        ("query", Call { route: "/peer/v1/chunk?a=2", ..Call::good(1) }),
        ("header", Call { chunk: "other", ..Call::good(1) }),
        ("added header", Call { extra: Some("9"), ..Call::good(1) }),
        ("late", Call { time_ms: NOW_MS - WINDOW_MS - 1, ..Call::good(1) }),
        ("early", Call { time_ms: NOW_MS + WINDOW_MS + 1, ..Call::good(1) }),
        ("unknown route", Call { route: "/x", ..Call::good(1) }),
    ];
    for (what, call) in wrong {
        let response = call.send(&router).await;
        assert_eq!(response.status().as_u16(), 401, "{what}");
        assert_eq!(problem(&response).code, Code::Unauthenticated, "{what}");
        assert_eq!(response.headers()["www-authenticate"], "Flotilla-Peer");
    }
    // None of these used up the nonce.
    assert_eq!(Call::good(1).send(&router).await.status().as_u16(), 200);
}

#[tokio::test]
async fn an_unsigned_request_is_refused() {
    let request = Request::put("/peer/v1/chunk").body(Body::empty()).expect("valid request");
    assert_eq!(ask(&router(), request).await.status().as_u16(), 401);
}
