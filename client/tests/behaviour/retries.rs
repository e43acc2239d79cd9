//! The SDK's tries: which requests are sent again, under which key, when and where, and what is claimed in the end.

use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use flotilla_api::{Code, Problem};
use flotilla_client::{DeleteOptions, Error, Kind, PutBody, PutOptions};
use futures::StreamExt;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::service::{
    CALLER, HOST, Seen, client, created, file, key_of, name, network, on_loopback, problem, refuse, router, tcp_client,
};

fn bytes() -> PutBody {
    PutBody::Bytes(Bytes::from_static(b"abc"))
}

/// Three frames of one byte.
fn stream() -> PutBody {
    let frames = futures::stream::iter(["a", "b", "c"].map(|b| Ok(Bytes::from_static(b.as_bytes()))));
    PutBody::Stream { stream: frames.boxed(), length: Some(3) }
}

async fn drain(request: Request) -> Option<Bytes> {
    axum::body::to_bytes(request.into_body(), 1 << 20).await.ok()
}

#[tokio::test(start_paused = true)]
async fn all_tries_of_a_change_have_the_same_key_and_the_same_bytes() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |r: Request| {
            let service = service.clone();
            async move {
                let key = key_of(&r);
                let count = service.add((key, drain(r).await));
                if count < 3 { refuse(Code::NoLeader) } else { created() }
            }
        }),
    );
    let put = client(&network, &[HOST], 6).put(&name(), bytes(), &PutOptions::default()).await.expect("the third try");
    assert!(put.created);
    assert_eq!(put.answer.etag, "e1");
    let tries = seen.all();
    assert_eq!(tries.len(), 3);
    assert_eq!(tries[0].0.len(), 32);
    assert!(tries.iter().all(|one| *one == (tries[0].0.clone(), Some(Bytes::from_static(b"abc")))), "{tries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_callers_is_used() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |r: Request| {
            service.add(key_of(&r));
            async { StatusCode::NO_CONTENT }
        }),
    );
    let key = Some("mine-1".parse().expect("an id"));
    let options = DeleteOptions { idempotency_key: key, ..DeleteOptions::default() };
    client(&network, &[HOST], 6).delete(&name(), &options).await.expect("deleted");
    assert_eq!(seen.all(), ["mine-1"]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    for in_header in [true, false] {
        let (network, seen) = (network(), Seen::new());
        let service = seen.clone();
        network.serve(
            HOST,
            router(move |_: Request| {
                let count = service.add(Instant::now());
                async move {
                    if count > 1 {
                        return created();
                    }
                    let asked = Problem::new(Code::QueueFull, "later");
                    let mut response = problem(&if in_header { asked } else { asked.retry_after_ms(7000) });
                    if in_header {
                        response.headers_mut().insert("retry-after", "7".parse().expect("a header"));
                    }
                    response
                }
            }),
        );
        client(&network, &[HOST], 1).put(&name(), bytes(), &PutOptions::default()).await.expect("the second try");
        let times = seen.all();
        let waited = times[1] - times[0];
        assert!(waited >= Duration::from_secs(7) && waited < Duration::from_secs(8), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tries_are_bounded_and_end_with_the_problem() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |_: Request| {
            service.add(());
            async { refuse(Code::ReplicasUnavailable) }
        }),
    );
    let e = client(&network, &[HOST], 2).put(&name(), bytes(), &PutOptions::default()).await.expect_err("never");
    assert_eq!(e.problem().map(|p| p.code), Some(Code::ReplicasUnavailable));
    assert_eq!(e.kind(), Kind::Unavailable);
    assert_eq!(seen.all().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_succeed_is_not_tried_again() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |_: Request| {
            service.add(());
            async { refuse(Code::PreconditionFailed) }
        }),
    );
    let e = client(&network, &[HOST], 6).put(&name(), bytes(), &PutOptions::default()).await.expect_err("refused");
    assert_eq!(e.kind(), Kind::Precondition);
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_begun_is_not_sent_again() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |mut r: Request| {
            let service = service.clone();
            async move {
                let first = r.body_mut().frame().await.expect("a frame").expect("a good one");
                service.add(first.into_data().expect("data"));
                refuse(Code::NoLeader)
            }
        }),
    );
    let e = client(&network, &[HOST], 6).put(&name(), stream(), &PutOptions::default()).await.expect_err("refused");
    assert_eq!(e.kind(), Kind::Unavailable);
    assert_eq!(seen.all(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_not_begun_is_sent_again() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |r: Request| {
            let service = service.clone();
            async move {
                if service.add(()) == 1 {
                    return refuse(Code::QueueFull);
                }
                assert_eq!(drain(r).await.expect("the whole body"), "abc");
                created()
            }
        }),
    );
    let put = client(&network, &["gone:1", HOST], 6).put(&name(), stream(), &PutOptions::default()).await;
    put.expect("the third try");
    assert_eq!(seen.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_address_that_answered_is_kept() {
    let network = network();
    let serve = |host: &'static str| {
        let seen = Seen::new();
        let service = seen.clone();
        network.serve(
            host,
            router(move |_: Request| {
                service.add(());
                async { created() }
            }),
        );
        seen
    };
    let second = serve("s2:7400");
    let client = client(&network, &["s1:7400", "s2:7400"], 0);
    let begin = Instant::now();
    client.put(&name(), bytes(), &PutOptions::default()).await.expect("the second address");
    assert_eq!(begin.elapsed(), Duration::ZERO, "going on to the next address needs no wait");
    let first = serve("s1:7400");
    client.clone().put(&name(), bytes(), &PutOptions::default()).await.expect("still the second");
    assert_eq!((first.all().len(), second.all().len()), (0, 2));
    network.remove("s2:7400");
    client.put(&name(), bytes(), &PutOptions::default()).await.expect("the first one again");
    assert_eq!(first.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_server_at_all_is_unreachable_after_bounded_tries() {
    let e = client(&network(), &["s1:1", "s2:1"], 6).put(&name(), bytes(), &PutOptions::default()).await;
    let e = e.expect_err("nobody is there");
    assert!(matches!(e, Error::Unreachable { .. }), "{e:?}");
    assert_eq!(e.kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_end_as_indeterminate_under_one_key() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |r: Request| {
            let service = service.clone();
            async move {
                service.add(key_of(&r));
                drain(r).await;
                created()
            }
        }),
    );
    network.cut(HOST, CALLER);
    let e = client(&network, &[HOST], 6).put(&name(), bytes(), &PutOptions::default()).await.expect_err("no answer");
    assert_eq!(e.kind(), Kind::Indeterminate);
    let keys = seen.all();
    assert_eq!(keys.len(), 4, "one try and three that ask again");
    let Error::Indeterminate { key, .. } = e else { panic!("{e:?}") };
    assert!(keys.iter().all(|one| *one == key.to_string()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_a_lost_one_settles_the_outcome() {
    let (network, seen) = (network(), Seen::new());
    let (service, links) = (seen.clone(), network.clone());
    network.serve(
        HOST,
        router(move |r: Request| {
            let (service, links) = (service.clone(), links.clone());
            async move {
                drain(r).await;
                match service.add(()) {
                    1 => {
                        links.cut(HOST, CALLER);
                        created()
                    }
                    2 => {
                        links.heal_all();
                        refuse(Code::Indeterminate)
                    }
                    _ => created(),
                }
            }
        }),
    );
    client(&network, &[HOST], 6).put(&name(), bytes(), &PutOptions::default()).await.expect("the third try");
    assert_eq!(seen.all().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_answer_is_still_indeterminate() {
    let (network, seen) = (network(), Seen::new());
    let (service, links) = (seen.clone(), network.clone());
    network.serve(
        HOST,
        router(move |r: Request| {
            let (service, links) = (service.clone(), links.clone());
            async move {
                drain(r).await;
                if service.add(()) == 1 {
                    links.cut(HOST, CALLER);
                    return created();
                }
                links.heal_all();
                let mut refusal = Problem::new(Code::PreconditionFailed, "it exists");
                refusal.etag = Some("\"e1\"".into());
                problem(&refusal)
            }
        }),
    );
    let options = PutOptions { if_none_match: Some("*".into()), ..PutOptions::default() };
    let e = client(&network, &[HOST], 6).put(&name(), bytes(), &options).await.expect_err("maybe it was us");
    assert_eq!(e.kind(), Kind::Indeterminate);
    assert_eq!(e.problem().and_then(|p| p.etag.as_deref()), Some("\"e1\""));
}

#[tokio::test(start_paused = true)]
async fn an_upload_cut_before_its_end_is_not_indeterminate() {
    let network = network();
    let links = network.clone();
    network.serve(
        HOST,
        router(move |mut r: Request| {
            let links = links.clone();
            async move {
                assert!(r.body_mut().frame().await.is_some());
                links.cut(HOST, CALLER);
                created()
            }
        }),
    );
    let e = client(&network, &[HOST], 6).put(&name(), stream(), &PutOptions::default()).await.expect_err("cut");
    assert!(matches!(e, Error::Interrupted { .. }), "{e:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_reads_are_asked_again() {
    let (network, seen) = (network(), Seen::new());
    let (service, links) = (seen.clone(), network.clone());
    network.serve(
        HOST,
        router(move |_: Request| {
            if service.add(()) == 1 {
                links.cut(HOST, CALLER);
            } else {
                links.heal_all();
            }
            async { file(StatusCode::OK).header("content-length", 3).body(axum::body::Body::empty()).expect("good") }
        }),
    );
    let info = client(&network, &[HOST], 6).head(&name()).await.expect("the second try");
    assert_eq!((info.size, seen.all().len()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_is_left_and_a_slow_source_is_waited_for() {
    let network = network();
    network.serve(HOST, router(|_| std::future::pending::<String>()));
    let begin = Instant::now();
    let client = client(&network, &[HOST], 0);
    let e = client.put(&name(), stream(), &PutOptions::default()).await.expect_err("never answers");
    assert!(matches!(e, Error::Interrupted { .. }), "not begun, so surely not done: {e:?}");
    assert_eq!(begin.elapsed(), Duration::from_secs(60));

    network.serve(
        HOST,
        router(|r: Request| async move {
            assert_eq!(drain(r).await.expect("the whole body"), "abc");
            created()
        }),
    );
    let hour = Duration::from_secs(3600);
    let slow = futures::stream::iter(["a", "b", "c"]).then(move |b| async move {
        tokio::time::sleep(hour).await;
        Ok(Bytes::from_static(b.as_bytes()))
    });
    let body = PutBody::Stream { stream: slow.boxed(), length: None };
    client.put(&name(), body, &PutOptions::default()).await.expect("slow, not stuck");
    assert!(begin.elapsed() > 3 * hour);
}

#[tokio::test]
async fn a_refusal_of_a_large_body_over_tcp_never_looks_indeterminate() {
    let address = on_loopback(router(|_| async { refuse(Code::ReplicasUnavailable) })).await;
    let body = PutBody::Bytes(vec![0; 32 << 20].into());
    let upload = tokio::spawn(async move { tcp_client(&address, 0).put(&name(), body, &PutOptions::default()).await });
    let e = upload.await.expect("no panic").expect_err("refused");
    assert_eq!(e.kind(), Kind::Unavailable, "{e:?}");
}
