//! The peer client: signatures, bounds, and what its errors claim.

use std::{sync::Arc, time::Duration};

use axum::extract::Request;
use bytes::Bytes;
use flotilla_api::{
    Code, Problem, codec, header,
    peer::auth::{self, FleetSecret, Refusal},
};
use flotilla_client::{
    Http, Lane, PeerClient, Transport, body,
    peer::{ANSWER_MAX_BYTES, Error, Executed},
};
use flotilla_env::{Clock, clock, entropy};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;

use crate::service::{CALLER, HOST, Seen, network, on_loopback, problem, refuse, router};

const SECOND: Duration = Duration::from_secs(1);

fn secret() -> FleetSecret {
    FleetSecret::new("the fleet's secret")
}

fn peer(transport: Arc<dyn Transport>) -> PeerClient {
    PeerClient::new(secret(), "c1:7500", clock::system(), &*entropy::seeded(3), transport)
}

/// A service that checks signatures for `target` and answers with the nonce it saw.
fn verifying(secret: FleetSecret, target: &str, seen: Seen<Result<(u64, u64), Refusal>>) -> axum::Router {
    let target = target.to_owned();
    router(move |r: Request| {
        let route = r.uri().path_and_query().map_or("", |p| p.as_str());
        let signature = auth::verify(&secret, r.method(), route, r.headers(), &target, clock::System.wall_ms());
        seen.add(signature.map(|s| {
            assert_eq!(s.caller, "c1:7500");
            (s.boot, s.counter)
        }));
        async { "ok" }
    })
}

async fn ask(client: &PeerClient, target: &str) {
    let mut headers = HeaderMap::new();
    headers.insert(header::NAME, "demo/a%20b".parse().expect("a header"));
    headers.insert(header::EPOCH, "7".parse().expect("a header"));
    let body = Bytes::from_static(b"message");
    let answer = client.call(Lane::Control, Method::PUT, target, "/peer/v1/file?x=1", headers, body, 10 * SECOND).await;
    assert_eq!(answer.expect("an answer").1, "ok");
}

#[tokio::test]
async fn every_request_is_signed_over_its_headers_and_route() {
    let seen = Seen::new();
    let network = network();
    network.serve(HOST, verifying(secret(), HOST, seen.clone()));
    let in_memory = peer(network.transport(CALLER));
    ask(&in_memory, HOST).await;
    ask(&in_memory.clone(), HOST).await;
    let nonces: Vec<_> = seen.all().into_iter().map(|s| s.expect("a valid signature")).collect();
    assert_eq!(nonces[0].0, nonces[1].0, "one process start");
    assert_ne!(nonces[0].1, nonces[1].1, "clones never repeat a nonce");

    // Over TCP the target is only known once the service runs, so a second service checks for it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("bound").to_string();
    listener.set_nonblocking(true).expect("a socket can be set so");
    let seen = Seen::new();
    let router = verifying(secret(), &address, seen.clone());
    let listener = tokio::net::TcpListener::from_std(listener).expect("a good socket");
    tokio::spawn(async move { axum::serve(listener, router).await });
    ask(&peer(Arc::new(Http::new())), &address).await;
    assert!(matches!(seen.all()[..], [Ok(_)]), "{:?}", seen.all());
}

#[tokio::test]
async fn another_secret_or_target_does_not_verify() {
    for (secret, target, refusal) in
        [(FleetSecret::new("another"), HOST, Refusal::Mac), (secret(), "s2:7400", Refusal::Target)]
    {
        let seen = Seen::new();
        let network = network();
        network.serve(HOST, verifying(secret, target, seen.clone()));
        ask(&peer(network.transport(CALLER)), HOST).await;
        assert_eq!(seen.all(), [Err(refusal)]);
    }
}

async fn answered_with(router: axum::Router) -> Result<(HeaderMap, Bytes), Error> {
    let network = network();
    network.serve(HOST, router);
    let client = peer(network.transport(CALLER));
    client.call(Lane::Control, Method::GET, HOST, "/peer/v1/list", HeaderMap::new(), Bytes::new(), SECOND).await
}

#[tokio::test]
async fn a_problem_says_whether_the_request_can_have_had_an_effect() {
    for code in Code::ALL.iter().copied() {
        let e = answered_with(router(move |_| async move { refuse(code) })).await.expect_err("refused");
        assert_eq!(e.code(), Some(code));
        let open = matches!(code, Code::Indeterminate | Code::DurabilityNotReached | Code::Internal);
        assert_eq!(e.executed() == Executed::Maybe, open, "{code}");
    }
}

#[tokio::test]
async fn retry_after_in_a_header_reaches_the_problem() {
    let e = answered_with(router(|_| async {
        let mut response = refuse(Code::RateLimited);
        response.headers_mut().insert("retry-after", "3".parse().expect("a header"));
        response
    }))
    .await
    .expect_err("refused");
    assert_eq!(e.problem().and_then(|p| p.retry_after_ms), Some(3000));
}

#[tokio::test]
async fn a_refusal_that_is_not_ours_is_malformed() {
    let e = answered_with(router(|_| async { (StatusCode::BAD_REQUEST, "what?") })).await.expect_err("refused");
    assert!(matches!(e, Error::Malformed { .. }), "{e:?}");
    assert_eq!(e.executed(), Executed::Maybe);
}

#[tokio::test]
async fn an_answer_over_the_bound_is_refused() {
    let of = |length: usize| answered_with(router(move |_| async move { vec![0; length] }));
    assert_eq!(of(ANSWER_MAX_BYTES).await.expect("at the bound").1.len(), ANSWER_MAX_BYTES);
    assert!(matches!(of(ANSWER_MAX_BYTES + 1).await, Err(Error::Malformed { .. })));
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_a_timeout_that_may_have_been_executed() {
    let e = answered_with(router(|_| std::future::pending::<String>())).await.expect_err("no answer");
    assert!(matches!(e, Error::Timeout { deadline: SECOND, .. }));
    assert_eq!(e.executed(), Executed::Maybe);
}

#[tokio::test]
async fn unreachable_means_not_executed_and_interrupted_maybe() {
    let network = network();
    network.serve(HOST, router(|_| async { "ok" }));
    let client = peer(network.transport(CALLER));
    let post = || client.post::<u32, u32>(Lane::Control, HOST, "/peer/v1/place", &1, SECOND);
    network.cut(HOST, CALLER);
    let e = post().await.expect_err("the answer is lost");
    assert!(matches!(e, Error::Interrupted { .. }));
    assert_eq!(e.executed(), Executed::Maybe);
    network.isolate(HOST);
    let e = post().await.expect_err("the way is cut");
    assert!(matches!(e, Error::Unreachable { .. }));
    assert_eq!(e.executed(), Executed::No);
}

#[tokio::test]
async fn an_upload_cut_before_its_end_was_not_executed() {
    for (frames, executed) in [(1, Executed::No), (3, Executed::Maybe)] {
        let network = network();
        let links = network.clone();
        network.serve(
            HOST,
            router(move |mut r: Request| {
                let links = links.clone();
                async move {
                    for _ in 0..frames {
                        assert!(r.body_mut().frame().await.is_some_and(|frame| frame.is_ok()));
                    }
                    links.cut(HOST, CALLER);
                    "ok"
                }
            }),
        );
        let body = || futures::stream::iter(["a", "b", "c"].map(|b| Ok::<_, std::io::Error>(Bytes::from(b))));
        let (client, route) = (peer(network.transport(CALLER)), "/peer/v1/chunk");
        let body = body::stream_of(body(), 3);
        let answer = client.stream(Lane::Data, Method::PUT, HOST, route, HeaderMap::new(), body, None).await;
        assert_eq!(answer.expect_err("cut").executed(), executed);
    }
}

#[tokio::test]
async fn messages_travel_in_the_codec() {
    let network = network();
    network.serve(
        HOST,
        router(|r: Request| async move {
            let bytes = axum::body::to_bytes(r.into_body(), 64).await.expect("a short body");
            match codec::decode::<(u32, String)>(&bytes) {
                Ok((0, _)) => b"not ours".to_vec(),
                Ok((number, text)) => codec::encode(&(text, number)),
                Err(e) => panic!("{e}"),
            }
        }),
    );
    let client = peer(network.transport(CALLER));
    let post = async |number: u32| {
        client.post::<_, (String, u32)>(Lane::Control, HOST, "/peer/v1/place", &(number, "a"), SECOND).await
    };
    assert_eq!(post(5).await.expect("an answer"), ("a".to_owned(), 5));
    assert!(matches!(post(0).await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn a_stream_passes_every_answer_below_400_and_no_refusal() {
    let network = network();
    network.serve(
        HOST,
        router(|r: Request| async move {
            let number: u16 = r.uri().query().and_then(|q| q.parse().ok()).expect("the test asks for a status");
            match number {
                404 | 503 if r.method() == Method::HEAD => {
                    Response::builder().status(number).body("".into()).expect("good")
                }
                404 => problem(&Problem::new(Code::BucketNotFound, "none").hint("make one")),
                _ => Response::builder().status(number).body("body".into()).expect("good"),
            }
        }),
    );
    let client = peer(network.transport(CALLER));
    let ask = |method: Method, status: u16| {
        let client = client.clone();
        async move {
            let route = format!("/peer/v1/file?{status}");
            client.stream(Lane::Data, method, HOST, &route, HeaderMap::new(), body::full("up"), Some(SECOND)).await
        }
    };
    for status in [200, 206, 304, 307] {
        assert_eq!(ask(Method::GET, status).await.expect("an answer").status().as_u16(), status);
    }
    let e = ask(Method::GET, 404).await.expect_err("a refusal");
    assert_eq!(e.problem().and_then(|p| p.hint.as_deref()), Some("make one"));
    assert_eq!(ask(Method::HEAD, 404).await.expect_err("a refusal").code(), Some(Code::FileNotFound));
    assert!(ask(Method::HEAD, 503).await.expect_err("a refusal").problem().is_some_and(|p| p.retryable));
}

#[tokio::test]
async fn a_chunk_streams_to_a_peer_over_tcp() {
    let address = on_loopback(router(|r: Request| async move {
        axum::body::to_bytes(r.into_body(), 1 << 20).await.map_or(0, |bytes| bytes.len()).to_string()
    }))
    .await;
    let frames = futures::stream::iter((0..16).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![7; 4096]))));
    let client = peer(Arc::new(Http::new()));
    let answer = client
        .stream(Lane::Data, Method::PUT, &address, "/peer/v1/chunk", HeaderMap::new(), body::stream(frames), None)
        .await
        .expect("an answer");
    assert_eq!(body::collect(answer.into_body(), 64).await.expect("a number"), "65536");
}
