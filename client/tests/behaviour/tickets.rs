//! The SDK's tickets: waited for, used under one key, replaced when they are lost, and told to the caller.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{body::Body as AxumBody, extract::Request};
use bytes::Bytes;
use flotilla_api::{Code, TicketAnswer, TicketId, TicketState};
use flotilla_client::{Error, Network, PutBody, PutOptions, Queue};
use futures::StreamExt;
use http::{HeaderValue, Method, Response, StatusCode, header::RETRY_AFTER};
use tokio::time::{Instant, sleep};

use crate::service::{HOST, Seen, client, created, key_of, name, network, refuse, router};

fn answer(status: StatusCode, number: u64, state: TicketState) -> Response<AxumBody> {
    let id = TicketId { number, secret: 7 };
    let position = (state == TicketState::Waiting).then_some(2);
    let ticket = TicketAnswer { id, state, position, wait_ms: None, cluster: None, granted: None };
    let body = serde_json::to_vec(&ticket).expect("strings and numbers");
    Response::builder().status(status).body(body.into()).expect("the parts are good")
}

/// What was asked: the method, the ticket in the header or the path, and whether a ticket was asked for.
fn asked(r: &Request) -> (Method, String, bool) {
    let header = |name: &str| r.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let ticket = match r.uri().path().strip_prefix("/v1/tickets/") {
        Some(id) => id.to_owned(),
        None => header("flotilla-ticket"),
    };
    (r.method().clone(), ticket, header("prefer") == "respond-async")
}

/// A service that issues a ticket for a PUT without one; `looks` answers the looks at it.
fn serve(
    network: &Network,
    looks: impl Fn(usize) -> Response<AxumBody> + Clone + Send + Sync + 'static,
) -> (Seen<(Method, String, bool)>, Seen<String>) {
    let (seen, keys) = (Seen::new(), Seen::new());
    let (service, put_keys, looked) = (seen.clone(), keys.clone(), Seen::new());
    network.serve(
        HOST,
        router(move |r: Request| {
            let (method, ticket, wants) = asked(&r);
            service.add((method.clone(), ticket.clone(), wants));
            let answer = if method == Method::GET {
                looks(looked.add(()))
            } else {
                let puts = put_keys.add(key_of(&r)) as u64;
                match ticket.is_empty() {
                    true => answer(StatusCode::ACCEPTED, puts, TicketState::Waiting),
                    false => created(),
                }
            };
            async move { answer }
        }),
    );
    (seen, keys)
}

fn id(number: u64) -> String {
    TicketId { number, secret: 7 }.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_waited_for_and_used_under_the_same_key() {
    let network = network();
    let (seen, keys) = serve(&network, |look| {
        answer(StatusCode::OK, 1, if look < 3 { TicketState::Waiting } else { TicketState::Granted })
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let queue = Queue::Told(Arc::new(move |ticket: &TicketAnswer| {
        tell.lock().expect("nobody panics").push((ticket.state, ticket.position));
    }));
    let options = PutOptions { queue, ..PutOptions::default() };
    let put = client(&network, &[HOST], 0).put(&name(), Bytes::from_static(b"abc").into(), &options).await;
    assert!(put.expect("stored").created);
    let look = || (Method::GET, id(1), false);
    let expect = [(Method::PUT, String::new(), true), look(), look(), look(), (Method::PUT, id(1), true)];
    assert_eq!(seen.all(), expect);
    let keys = keys.all();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
    let waiting = (TicketState::Waiting, Some(2));
    assert_eq!(*told.lock().expect("nobody panics"), [waiting, waiting, waiting, (TicketState::Granted, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_is_lost_is_replaced_and_not_for_ever() {
    let network = network();
    let (seen, keys) = serve(&network, |_| refuse(Code::TicketLost));
    let options = PutOptions { queue: Queue::Ticket, ..PutOptions::default() };
    let put = client(&network, &[HOST], 0).put(&name(), Bytes::from_static(b"abc").into(), &options).await;
    let Err(Error::Problem(problem)) = put else { panic!("{put:?}") };
    assert_eq!(problem.code, Code::TicketLost);
    let puts: Vec<_> = seen.all().into_iter().filter(|(method, ..)| *method == Method::PUT).collect();
    assert_eq!(puts, vec![(Method::PUT, String::new(), true); 4], "anew each time");
    assert!(keys.all().windows(2).all(|pair| pair[0] == pair[1]), "and always the same change");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_can_not_be_waited_for_is_given_back() {
    let network = network();
    let (seen, _) = serve(&network, |_| refuse(Code::Forbidden));
    let options = PutOptions { queue: Queue::Ticket, ..PutOptions::default() };
    let put = client(&network, &[HOST], 0).put(&name(), Bytes::from_static(b"abc").into(), &options).await;
    assert!(matches!(&put, Err(Error::Problem(problem)) if problem.code == Code::Forbidden), "{put:?}");
    let expect = [(Method::PUT, String::new(), true), (Method::GET, id(1), false), (Method::DELETE, id(1), false)];
    assert_eq!(seen.all(), expect);
}

#[tokio::test(start_paused = true)]
async fn the_turn_that_comes_between_two_looks_at_a_crowded_server_is_not_missed() {
    let (turn, hold) = (Duration::from_secs(23), Duration::from_secs(10));
    let told = || Queue::Told(Arc::new(|_: &TicketAnswer| {}));
    for (queue, retry_after, most_ms) in
        [(Queue::Ticket, Some("5"), 5000), (told(), Some("5"), 2000), (Queue::Ticket, None, 2000)]
    {
        let (network, begun, looks) = (network(), Instant::now(), Seen::new());
        let looked = looks.clone();
        let (seen, _) = serve(&network, move |_| {
            let after = begun.elapsed();
            looked.add(after);
            if after >= turn + hold {
                return refuse(Code::TicketLost);
            }
            let waits = after < turn;
            let mut response =
                answer(StatusCode::OK, 1, if waits { TicketState::Waiting } else { TicketState::Granted });
            if let Some(seconds) = retry_after.filter(|_| waits) {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
            }
            response
        });
        let options = PutOptions { queue, ..PutOptions::default() };
        let put = client(&network, &[HOST], 0).put(&name(), Bytes::from_static(b"abc").into(), &options).await;
        assert!(put.expect("stored").created);
        let changes: Vec<_> = seen.all().into_iter().filter(|(method, ..)| *method != Method::GET).collect();
        assert_eq!(changes, [(Method::PUT, String::new(), true), (Method::PUT, id(1), true)], "one ticket, kept");
        // The clock of a paused runtime goes by whole milliseconds.
        let (least, most) = (Duration::from_millis(most_ms / 2), Duration::from_millis(most_ms + 2));
        let between: Vec<Duration> = looks.all().windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(between.iter().all(|gap| (least..=most).contains(gap)), "{retry_after:?}: {between:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_waits_is_looked_at_again_at_once() {
    let (network, begun, looks) = (network(), Instant::now(), Seen::new());
    let looked = looks.clone();
    network.serve(
        HOST,
        router(move |r: Request| {
            let ((method, ticket, _), looked) = (asked(&r), looked.clone());
            async move {
                if method == Method::PUT {
                    let waits = ticket.is_empty();
                    return if waits { answer(StatusCode::ACCEPTED, 1, TicketState::Waiting) } else { created() };
                }
                let granted = looked.add(begun.elapsed()) == 3;
                if granted {
                    return answer(StatusCode::OK, 1, TicketState::Granted);
                }
                sleep(Duration::from_secs(20)).await;
                let mut response = answer(StatusCode::OK, 1, TicketState::Waiting);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                response
            }
        }),
    );
    let options = PutOptions { queue: Queue::Ticket, ..PutOptions::default() };
    let put = client(&network, &[HOST], 0).put(&name(), Bytes::from_static(b"abc").into(), &options).await;
    assert!(put.expect("stored").created);
    let between: Vec<u128> = looks.all().windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(between.len() == 2 && between.iter().all(|ms| (20_000..20_500).contains(ms)), "{between:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_given_up_unless_it_was_used() {
    let network = network();
    network.serve(
        HOST,
        router(|r: Request| async move {
            let (method, ticket, _) = asked(&r);
            assert_eq!(method, Method::DELETE);
            let given_up = Response::builder().status(StatusCode::NO_CONTENT).body(AxumBody::empty());
            if ticket == id(1) { given_up.expect("the parts are good") } else { refuse(Code::Conflict) }
        }),
    );
    let client = client(&network, &[HOST], 0);
    client.cancel_ticket(TicketId { number: 1, secret: 7 }).await.expect("it waits");
    let used = client.cancel_ticket(TicketId { number: 2, secret: 7 }).await;
    assert!(matches!(&used, Err(Error::Problem(problem)) if problem.code == Code::Conflict), "{used:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_begun_is_given_back_with_its_ticket() {
    let network = network();
    network.serve(
        HOST,
        router(|r: Request| async move {
            let (method, ticket, _) = asked(&r);
            if method == Method::GET {
                return answer(StatusCode::OK, 1, TicketState::Granted);
            }
            axum::body::to_bytes(r.into_body(), 1 << 20).await.expect("a whole body");
            if ticket.is_empty() { answer(StatusCode::ACCEPTED, 1, TicketState::Waiting) } else { created() }
        }),
    );
    let stream =
        || PutBody::Stream { stream: futures::stream::iter([Ok(Bytes::from_static(b"abc"))]).boxed(), length: Some(3) };
    let client = client(&network, &[HOST], 0);
    let options = PutOptions { queue: Queue::Ticket, ..PutOptions::default() };
    let error = client.put(&name(), stream(), &options).await.expect_err("it can't be sent again");
    let Error::Granted { ticket } = error else { panic!("{error:?}") };
    let options = PutOptions { ticket: Some(ticket), ..options };
    assert!(client.put(&name(), stream(), &options).await.expect("stored").created);
}
