//! The SDK's operations: what goes out, what is read back, and how wrong bodies fail.

use std::io;

use axum::{body::Body as AxumBody, extract::Request};
use bytes::Bytes;
use flotilla_api::{Code, Problem};
use flotilla_client::{ByteRange, Client, Error, FileInfo, Kind, ListQuery, Options, PutBody, PutOptions};
use flotilla_env::{clock, entropy};
use futures::{StreamExt, TryStreamExt};
use http::{Method, Response, StatusCode};

use crate::{
    service::{HOST, Seen, client, created, file, name, network, on_loopback, refuse, router, tcp_client},
    transport::raw,
};

fn source(frames: Vec<io::Result<Bytes>>, length: Option<u64>) -> PutBody {
    PutBody::Stream { stream: futures::stream::iter(frames).boxed(), length }
}

fn ok(text: &'static str) -> io::Result<Bytes> {
    Ok(Bytes::from_static(text.as_bytes()))
}

/// A service that stores whole bodies, over TCP.
async fn storing() -> (Client, Seen<Bytes>) {
    let seen = Seen::new();
    let service = seen.clone();
    let address = on_loopback(router(move |r: Request| {
        let service = service.clone();
        async move {
            match axum::body::to_bytes(r.into_body(), 1 << 20).await {
                Ok(bytes) => {
                    service.add(bytes);
                    created()
                }
                Err(_) => refuse(Code::BodyInvalid),
            }
        }
    }))
    .await;
    (tcp_client(&address, 0), seen)
}

#[tokio::test]
async fn bytes_and_streams_arrive_whole_over_tcp() {
    let (client, seen) = storing().await;
    let large = Bytes::from((0..700_000_u32).map(|i| i as u8).collect::<Vec<_>>());
    let bodies = [
        PutBody::Bytes(large.clone()),
        PutBody::Bytes(Bytes::new()),
        source(vec![ok("ab"), ok(""), ok("c"), ok("")], Some(3)),
        source(vec![ok("ab"), ok("c")], None),
        source(vec![], None),
        source(vec![ok("")], Some(0)),
    ];
    for body in bodies {
        client.put(&name(), body, &PutOptions::default()).await.expect("stored");
    }
    assert_eq!(seen.all(), [large, "".into(), "abc".into(), "abc".into(), "".into(), "".into()]);
}

#[tokio::test]
async fn a_source_that_fails_or_is_of_another_length_stores_nothing() {
    let (client, seen) = storing().await;
    let broken = || Err(io::Error::other("the disk is gone"));
    let bodies = [
        (source(vec![ok("ab"), broken()], Some(3)), io::ErrorKind::Other),
        (source(vec![ok("ab"), broken()], None), io::ErrorKind::Other),
        (source(vec![ok("ab")], Some(3)), io::ErrorKind::InvalidData),
        (source(vec![ok("abc"), ok("d")], Some(3)), io::ErrorKind::InvalidData),
        (source(vec![ok("abcd")], Some(3)), io::ErrorKind::InvalidData),
        (source(vec![ok("a")], Some(0)), io::ErrorKind::InvalidData),
    ];
    for (body, kind) in bodies {
        let text = format!("{body:?}");
        match client.put(&name(), body, &PutOptions::default()).await {
            Err(Error::Source(e)) => assert_eq!(e.kind(), kind, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(seen.all().is_empty(), "{:?}", seen.all());
}

#[tokio::test]
async fn a_request_carries_token_name_and_conditions() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |r: Request| {
            let header = |name: &str| r.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
            service.add([
                r.method().to_string(),
                r.uri().path().to_owned(),
                header("authorization"),
                header("content-length"),
                header("if-match"),
                header("if-none-match"),
            ]);
            async { created() }
        }),
    );
    let options = PutOptions { if_match: Some("e0".into()), if_none_match: Some("*".into()), ..PutOptions::default() };
    client(&network, &[HOST], 0).put(&name(), Bytes::from_static(b"abc").into(), &options).await.expect("stored");
    let expect = ["PUT", "/v1/files/demo/a/%C3%A4%20b%25.txt", "Bearer secret", "3", "\"e0\"", "*"];
    assert_eq!(seen.all(), [expect.map(str::to_owned)]);
}

#[tokio::test]
async fn a_download_gives_what_is_known_and_the_bytes() {
    let network = network();
    network.serve(
        HOST,
        router(|r: Request| async move {
            let range = r.headers().get("range").map(|v| v.to_str().expect("text").to_owned());
            match range.as_deref() {
                None => file(StatusCode::OK).header("last-modified", "then").body(AxumBody::from("0123456789")),
                Some("bytes=2-4") => file(StatusCode::PARTIAL_CONTENT)
                    .header("content-range", "bytes 2-4/10")
                    .body(AxumBody::from_stream(futures::stream::iter([ok("2"), ok("34")]))),
                Some("bytes=7-") | Some("bytes=-3") => file(StatusCode::PARTIAL_CONTENT)
                    .header("content-range", "bytes 7-9/10")
                    .body(AxumBody::from("789")),
                Some(other) => panic!("{other}"),
            }
            .expect("good")
        }),
    );
    let client = client(&network, &[HOST], 0);
    let info = |modified: Option<&str>| FileInfo {
        size: 10,
        etag: "e1".into(),
        version: "0".repeat(32),
        cluster: "a".parse().expect("a name"),
        epoch: "7".parse().expect("a number"),
        modified: modified.map(str::to_owned),
        request_id: "r1".into(),
    };
    let cases = [
        (None, None, "0123456789"),
        (Some(ByteRange::Span { first: 2, last: Some(4) }), Some((2, 4)), "234"),
        (Some(ByteRange::Span { first: 7, last: None }), Some((7, 9)), "789"),
        (Some(ByteRange::Suffix(3)), Some((7, 9)), "789"),
    ];
    for (range, granted, text) in cases {
        let download = client.get(&name(), range).await.expect("an answer");
        assert_eq!(download.info, info(range.is_none().then_some("then")));
        assert_eq!(download.range, granted);
        let bytes: Vec<Bytes> = download.body.try_collect().await.expect("the whole body");
        assert_eq!(bytes.concat(), text.as_bytes());
    }
    assert_eq!(client.head(&name()).await.expect("an answer"), info(Some("then")));
}

#[tokio::test]
async fn the_rest_of_a_content_is_never_mixed_with_another_one() {
    let network = network();
    network.serve(
        HOST,
        router(|r: Request| async move {
            let header = |name: &str| r.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
            match (header("if-range").as_str(), header("range").as_str()) {
                ("\"e1\"", "bytes=7-") => file(StatusCode::PARTIAL_CONTENT)
                    .header("content-range", "bytes 7-9/10")
                    .body(AxumBody::from("789")),
                // A server that does not keep to what it was asked for.
                ("\"e1\"", _) | ("\"e3\"", _) => file(StatusCode::PARTIAL_CONTENT)
                    .header("content-range", "bytes 6-9/10")
                    .body(AxumBody::from("6789")),
                _ => file(StatusCode::OK).body(AxumBody::from("0123456789")),
            }
            .expect("good")
        }),
    );
    let client = client(&network, &[HOST], 0);
    assert_eq!(client.get_rest(&name(), 7, "e1").await.expect("an answer").range, Some((7, 9)));
    let replaced = client.get_rest(&name(), 7, "e0").await.expect("an answer");
    assert_eq!((replaced.range, replaced.info.etag.as_str()), (None, "e1"));
    for (first, etag) in [(8, "e1"), (6, "e3")] {
        let error = client.get_rest(&name(), first, etag).await.expect_err("other bytes came");
        assert!(matches!(error, Error::Malformed(_)), "{error}");
    }
    assert!(matches!(client.get_rest(&name(), 1, "e\n").await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_an_error() {
    for (frames, got) in [(vec![ok("abc")], 3), (vec![ok("0123456789"), ok("x")], 11)] {
        let network = network();
        let frames = Seen::new_with(frames.into_iter().map(|f| f.expect("good")).collect());
        network.serve(
            HOST,
            router(move |_: Request| {
                let frames: Vec<io::Result<Bytes>> = frames.all().into_iter().map(Ok).collect();
                let body = AxumBody::from_stream(futures::stream::iter(frames));
                async move { file(StatusCode::OK).header("content-length", 10).body(body).expect("good") }
            }),
        );
        let download = client(&network, &[HOST], 6).get(&name(), None).await.expect("a head");
        let results: Vec<_> = download.body.collect().await;
        let last = results.last().expect("an end").as_ref().expect_err("not the announced length");
        assert!(matches!(last, Error::Length { expected_bytes: 10, got_bytes } if *got_bytes == got), "{last:?}");
        assert_eq!(last.kind(), Kind::Verification);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_over_tcp_is_an_error_to_try_again() {
    let address =
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"e\"\r\nflotilla-version: 0\r\nflotilla-cluster: a\r\n\
          flotilla-epoch: 1\r\n\r\nabc")
        .await;
    let download = tcp_client(&address, 0).get(&name(), None).await.expect("a head");
    let results: Vec<_> = download.body.collect().await;
    let last = results.last().expect("an end").as_ref().expect_err("7 bytes are missing");
    assert_eq!(last.kind(), Kind::Unavailable, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_is_an_error() {
    let network = network();
    network.serve(
        HOST,
        router(|_| async {
            let body = AxumBody::from_stream(futures::stream::iter([ok("abc")]).chain(futures::stream::pending()));
            file(StatusCode::OK).header("content-length", 10).body(body).expect("good")
        }),
    );
    let download = client(&network, &[HOST], 0).get(&name(), None).await.expect("a head");
    let results: Vec<_> = download.body.collect().await;
    assert!(matches!(results[..], [Ok(_), Err(Error::Interrupted { .. })]), "{results:?}");
}

#[tokio::test]
async fn an_answer_without_its_headers_or_over_its_bound_is_malformed() {
    let network = network();
    network.serve(
        HOST,
        router(|r: Request| async move {
            match r.method() == Method::PUT {
                true => Response::new(AxumBody::from(vec![b' '; (16 << 20) + 1])),
                false => Response::new(AxumBody::from("abc")),
            }
        }),
    );
    let client = client(&network, &[HOST], 6);
    assert!(matches!(client.get(&name(), None).await, Err(Error::Malformed(_))));
    let bucket = name().bucket;
    assert!(matches!(client.list(&bucket, &ListQuery::default()).await, Err(Error::Malformed(_))));
    // After a change, an answer that can't be read leaves the outcome open.
    let e = client.put(&name(), Bytes::new().into(), &PutOptions::default()).await.expect_err("over the bound");
    assert_eq!(e.kind(), Kind::Indeterminate);
}

#[tokio::test]
async fn a_list_query_is_encoded_once() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |r: Request| {
            service.add(r.uri().to_string());
            async { r#"{"items":[],"prefixes":["a/"],"next":"c2","incomplete":["b"]}"# }
        }),
    );
    let client = client(&network, &[HOST], 0);
    let bucket = name().bucket;
    let query = ListQuery {
        prefix: "a b&c=ä".into(),
        delimiter: Some("/".into()),
        limit: Some(5),
        cursor: Some("c+1".into()),
        partial: true,
    };
    let page = client.list(&bucket, &query).await.expect("a page");
    assert_eq!((page.next.as_deref(), page.prefixes.len(), page.incomplete.len()), (Some("c2"), 1, 1));
    client.list(&bucket, &ListQuery::default()).await.expect("a page");
    let base = format!("http://{HOST}/v1/files/demo");
    let long = "?prefix=a%20b%26c%3D%C3%A4&delimiter=%2F&limit=5&cursor=c%2B1&partial=true";
    assert_eq!(seen.all(), [format!("{base}{long}"), base]);
}

#[tokio::test]
async fn every_code_says_what_to_do_next() {
    for code in Code::ALL {
        let kind = Error::Problem(Box::new(Problem::new(*code, ""))).kind();
        let expect = match code.status().as_u16() {
            404 | 410 => Kind::NotFound,
            409 | 412 => Kind::Precondition,
            401 | 403 => Kind::Denied,
            421 | 423 | 429 | 503 => Kind::Unavailable,
            504 => Kind::Indeterminate,
            400..=499 => Kind::Invalid,
            _ => Kind::Other,
        };
        assert_eq!(kind, expect, "{code}");
    }
}

#[tokio::test]
async fn a_missing_file_is_not_found_by_get_and_head() {
    let network = network();
    network.serve(HOST, router(|_| async { refuse(Code::FileNotFound) }));
    let client = client(&network, &[HOST], 6);
    assert_eq!(client.get(&name(), None).await.expect_err("missing").kind(), Kind::NotFound);
    assert_eq!(client.head(&name()).await.expect_err("missing").kind(), Kind::NotFound);
}

#[test]
fn addresses_and_tokens_are_checked_at_once() {
    let make = |api: &[&str], token: &str| {
        let api = api.iter().map(|one| (*one).to_owned()).collect();
        let options = Options { api, token: token.into(), ..Options::default() };
        Client::new(options, clock::system(), entropy::seeded(1)).map(|_| ())
    };
    assert!(make(&["http://127.0.0.1:7400", "http://sn.local:7400/"], "").is_ok());
    for bad in [&[][..], &["https://h:1"], &["h:1"], &["http://h:1/v1"], &["http://u@h:1"], &["http://h:1?x"]] {
        assert!(matches!(make(bad, ""), Err(Error::Invalid(_))), "{bad:?}");
    }
    assert!(matches!(make(&["http://h:1"], "a\nb"), Err(Error::Invalid(_))));
}
