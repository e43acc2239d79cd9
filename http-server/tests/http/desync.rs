//! Requests that two readers could take differently get one 400 and nothing after it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::Request, routing::any};
use flotilla_http_server::{ApiError, Limits, problem::with_fallbacks, read_all};

use crate::common::{Server, edge};

/// Counts the requests that reach a handler.
fn start() -> (Server, Arc<AtomicUsize>) {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hits);
    let take = async move |request: Request| -> Result<String, ApiError> {
        counted.fetch_add(1, Ordering::Relaxed);
        let body = read_all(request.into_body(), 1 << 20).await?;
        Ok(format!("took {}", body.len()))
    };
    let router = edge().wrap(with_fallbacks(Router::new().route("/", any(take))));
    (Server::start(router, Limits::default()), hits)
}

const NEXT: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[track_caller]
fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

#[tokio::test(start_paused = true)]
async fn ambiguous_requests_get_one_400_and_the_connection_closes() {
    let heads = [
        "Host: a\r\nHost: a",
        "Host: a\r\nHost: b",
        "X: no host",
        "Host: a b",
        "Host: a\nContent-Length: 5",
        "Host: a\n\r\nGET /x HTTP/1.1\r\nHost: a",
        "Host: a\r\nTransfer-Encoding: chunked, chunked",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding: identity, chunked",
        "Host: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Host: a\r\nTransfer-Encoding: xchunked",
        "Host: a\r\nTransfer-Encoding:\x0bchunked",
        "Host: a\r\nTransfer-Encoding : chunked",
        "Host: a\r\n Transfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding:\r\n chunked",
        "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "Host: a\r\nCONTENT-LENGTH: 0\r\nTRANSFER-ENCODING: CHUNKED",
        "Host: a\r\nContent-Length: 5\r\nContent-Length: 6",
        "Host: a\r\nContent-Length: 5\r\nContent-Length: 5",
        "Host: a\r\nContent-Length: 5, 5",
        "Host: a\r\nContent-Length: +5",
        "Host: a\r\nContent-Length: -5",
        "Host: a\r\nContent-Length: 0x5",
        "Host: a\r\nContent-Length: 5 5",
        "Host: a\r\nContent-Length:",
        "Host: a\r\nContent-Length : 5",
        "Host: a\r\nContent-Length: 99999999999999999999",
    ];
    let (server, hits) = start();
    for head in heads {
        let text = server.talk(format!("PUT / HTTP/1.1\r\n{head}\r\n\r\n0\r\n\r\n{NEXT}").as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{head:?}: {text}");
        assert_eq!(answers(&text), 1, "{head:?}: {text}");
    }
    let old = server.talk(b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.1 400 ") || old.starts_with("HTTP/1.0 400 "), "{old}");
    let line = "PUT http://b/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let text = server.talk(format!("{line}{NEXT}").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 400 ") && answers(&text) == 1, "{text}");
    assert_eq!(hits.load(Ordering::Relaxed), 0, "no handler saw any of them");
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_request_behind_a_good_one_spoils_only_itself() {
    let (server, hits) = start();
    let bad = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let text = server.talk(format!("{NEXT}{bad}{NEXT}").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!((answers(&text), text.matches("HTTP/1.1 400 ").count()), (2, 1), "{text}");
    assert_eq!(hits.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn broken_chunked_bodies_are_body_invalid() {
    let (server, _) = start();
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\r\n-1\r\n",
        "ffffffffffffffffff\r\nabc",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
    ] {
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let text = server.talk(format!("{head}{body}{NEXT}").as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{body:?}: {text}");
        assert!(text.contains(r#""code":"body_invalid""#), "{body:?}: {text}");
        assert_eq!(answers(&text), 1, "{body:?}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn plain_requests_of_every_framing_share_a_connection() {
    let (server, hits) = start();
    let sized = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunked =
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = server.talk(format!("{sized}{chunked}{NEXT}{sized}{last}").as_bytes()).await;
    let took: Vec<_> = text.split("took ").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(took, ["5", "7", "0", "5", "0"], "{text}");
    assert_eq!(hits.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn odd_targets_are_answered_without_a_5xx() {
    let (server, _) = start();
    for line in ["OPTIONS *", "CONNECT a:80", "GET http://other/x", "GET //", "GET /%", "BREW /"] {
        let text = server.talk(format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(answers(&text), 1, "{line}: {text}");
        assert!(!text.starts_with("HTTP/1.1 5"), "{line}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_over_the_limit_is_431() {
    let (server, hits) = start();
    let text =
        server.talk(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40 << 10)).as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    let many: String = (0..101).map(|at| format!("X{at}: 1\r\n")).collect();
    let text = server.talk(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    assert_eq!(hits.load(Ordering::Relaxed), 0);
}
