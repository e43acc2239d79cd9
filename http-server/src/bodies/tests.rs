//! Tests of bodies, on a paused clock.

use std::convert::Infallible;

use futures::{StreamExt as _, stream};

use super::*;

/// Bytes that count as progress here.
const STEP: u64 = 4;

type Item = Result<Bytes, axum::Error>;

fn frames(parts: &[&'static str]) -> Body {
    Body::from_stream(stream::iter(parts.to_vec()).map(|part| Ok::<_, Infallible>(Bytes::from_static(part.as_bytes()))))
}

fn idle(items: impl futures::Stream<Item = Item> + Send + 'static) -> (Body, Arc<AtomicU64>) {
    let counted = Arc::new(AtomicU64::new(0));
    let body = Idle::new(Body::from_stream(items), Duration::from_secs(30), STEP, Arc::clone(&counted));
    (Body::new(body), counted)
}

#[tokio::test]
async fn whole_bodies_are_read_up_to_the_limit_and_not_beyond() {
    assert_eq!(read_all(Body::empty(), 0).await, Ok(Bytes::new()));
    assert_eq!(read_all(frames(&["ab", "", "cd", "ef"]), 6).await, Ok(Bytes::from("abcdef")));
    let error = read_all(frames(&["ab", "cd", "ef"]), 5).await.expect_err("over the limit");
    assert_eq!(error.code, Code::TooLarge);
}

#[tokio::test]
async fn a_limited_body_ends_with_its_limit_or_fails() {
    let read = async |limit| read_all(limited(frames(&["ab", "cd"]), limit), 100).await;
    assert_eq!(read(4).await, Ok(Bytes::from("abcd")));
    let mut body = limited(frames(&["ab", "cd"]), 3);
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    let error = body.frame().await.expect("an error").expect_err("an error");
    assert_eq!((BodyFault::of(&error), BodyFault::TooLong.problem().code), (BodyFault::TooLong, Code::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_refused_request_is_read_if_it_is_small_and_on_its_way() {
    let read = async |length: Option<&'static str>, expect: bool, rests: bool| {
        let counted = Arc::new(AtomicU64::new(0));
        let head = stream::iter([Ok::<_, axum::Error>(Bytes::from_static(b"abcd"))]);
        let rest = stream::once(async move {
            if rests {
                std::future::pending::<()>().await;
            }
            Ok(Bytes::from_static(b"ef"))
        });
        let body = Idle::new(Body::from_stream(head.chain(rest)), Duration::from_secs(30), STEP, Arc::clone(&counted));
        let ended = body.ended();
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        if expect {
            headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        drain(&headers, Body::new(body)).await;
        (counted.load(Ordering::Relaxed), ended.load(Ordering::Relaxed))
    };
    assert_eq!(read(Some("6"), false, false).await, (6, true));
    assert_eq!(read(Some("65536"), false, true).await, (4, false), "it is not waited for long");
    assert_eq!(read(Some("65537"), false, false).await, (0, false));
    assert_eq!(read(None, false, false).await, (0, false));
    assert_eq!(read(Some("6"), true, false).await, (0, false), "the client waits to be asked for it");
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_refused_unread() {
    let untouched = stream::once(async { panic!("the body was read") }).map(|()| Ok::<_, Infallible>(Bytes::new()));
    let body = http_body_util::StreamBody::new(untouched.map(|data| data.map(Frame::data)));
    struct Announced<B>(B);
    impl<B: http_body::Body + Unpin> http_body::Body for Announced<B> {
        type Data = B::Data;
        type Error = B::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(7)
        }
    }
    let error = read_all(Body::new(Announced(Box::pin(body))), 6).await.expect_err("over the limit");
    assert_eq!(error.code, Code::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_resting_body_fails_as_stalled_and_then_ends() {
    let (body, counted) = idle(stream::iter([Ok(Bytes::from("ab"))]).chain(stream::pending()));
    let mut body = body;
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    let error = body.frame().await.expect("an error").expect_err("an error");
    assert_eq!(BodyFault::of(&error), BodyFault::Stalled);
    assert!(body.frame().await.is_none());
    assert_eq!(counted.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn slow_frames_and_slow_readers_are_no_stall() {
    let slow = stream::iter(0..5).then(|_| async {
        tokio::time::sleep(Duration::from_secs(29)).await;
        Ok(Bytes::from("abcd"))
    });
    let (mut body, _) = idle(slow);
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        frame.expect("29 s are within the limit");
        count += 1;
        tokio::time::sleep(Duration::from_secs(100)).await; // the reader's own time
    }
    assert_eq!(count, 5);
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_is_a_stall() {
    let begun = tokio::time::Instant::now();
    let drip = stream::iter(0..).then(|_| async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        Ok(Bytes::from("a"))
    });
    let (mut body, counted) = idle(drip);
    let fault = loop {
        match body.frame().await.expect("it never ends") {
            Ok(_) => tokio::time::sleep(Duration::from_secs(100)).await, // the reader's own time does not count
            Err(error) => break BodyFault::of(&error),
        }
    };
    assert_eq!((fault, counted.load(Ordering::Relaxed)), (BodyFault::Stalled, 3));
    assert_eq!(begun.elapsed().as_secs(), 30 + 3 * 100);
}

#[tokio::test(start_paused = true)]
async fn small_frames_that_make_steps_in_time_are_no_stall() {
    let slow = stream::iter(0..40).then(|_| async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        Ok(Bytes::from("a"))
    });
    let (mut body, counted) = idle(slow);
    while let Some(frame) = body.frame().await {
        frame.expect("four bytes come in 28 s");
    }
    assert_eq!(counted.load(Ordering::Relaxed), 40);
}

#[tokio::test]
async fn a_codec_value_comes_back_and_anything_else_is_body_invalid() {
    let answer = Coded::<_>(vec![1u32, 2, 3]).into_response();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], CODED_MEDIA_TYPE);
    let request = Request::new(answer.into_body());
    assert_eq!(Coded::from_request(request, &()).await, Ok(Coded::<_>(vec![1u32, 2, 3])));

    for bytes in ["", "\u{7}abc", "\u{1}"] {
        let result = Coded::<String>::from_request(Request::new(Body::from(bytes)), &()).await;
        assert_eq!(result.expect_err("not a value").code, Code::BodyInvalid, "{bytes:?}");
    }
    let result = Coded::<String, 3>::from_request(Request::new(Body::from("abcd")), &()).await;
    assert_eq!(result.expect_err("over the limit").code, Code::TooLarge);
}
