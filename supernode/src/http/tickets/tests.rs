//! What a ticket is for and what it opens, on plain values; looks at one, at a supernode that leads alone.

use std::{pin::pin, sync::Arc};

use flotilla_api::{
    NodeId,
    keys::KeyId,
    peer::{Document, Documents, Principal, auth::FleetSecret},
};
use flotilla_client::{Network, PeerClient};
use flotilla_env::{clock, entropy};
use flotilla_http_server::{DocumentCache, Sealer};
use futures::FutureExt as _;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::*;
use crate::{
    admission::{Settings, class::class, gate::Gate},
    clusters::Clusters,
    directory::testing::{ALONE, form_alone, unformed},
    http::{Forwarder, KEPT_BUDGET_BYTES, Others, Polls, Tallies},
    membership::Roster,
    tickets::Seen,
};

/// How long the looks of these tests ask to wait.
const WAIT: Duration = Duration::from_secs(20);

fn hash(key: &str) -> [u8; 32] {
    *blake3::hash(key.as_bytes()).as_bytes()
}

/// Documents with principals that are called as their keys are.
fn documents(revision: u64, keys: &[&str]) -> Documents {
    let of = |key: &&str| {
        let name = key.parse().expect("a good name");
        Document::Principal(Principal { name, key_hash: hash(key), root: false, created_ms: 1 })
    };
    Documents { revision, entries: keys.iter().map(of).collect(), ..Documents::default() }
}

fn principal_p() -> PrincipalName {
    "p".parse().expect("a good name")
}

/// A supernode that leads alone and knows the principal `p`; who holds the sender tells it when tickets change.
async fn door() -> (Service, watch::Sender<Seen>) {
    let (directory, known, clock, entropy) =
        (unformed().await, DocumentCache::default(), clock::system(), entropy::seeded(2));
    form_alone(&directory).await;
    known.replace(documents(1, &["p"]));
    let (secret, transport) = (FleetSecret::new("of the test"), Network::new(entropy.clone()).transport(ALONE));
    let peers = PeerClient::new(secret.clone(), ALONE, clock.clone(), &*entropy, transport);
    let settings = Settings { queue_wait: Duration::from_secs(5), stealing: true };
    let (turns, seen) = watch::channel(Seen::default());
    let service = Service {
        forwarder: Forwarder {
            directory: directory.clone(),
            clusters: Clusters::new(clock.clone(), entropy.clone()),
            peers: peers.clone(),
            entropy: entropy.clone(),
            gate: Gate::new(settings, known.clone(), clock.clone(), entropy.clone()),
            clock: clock.clone(),
        },
        others: Others::new(directory.group().clone(), peers),
        roster: Roster::new(NodeId(1), directory, clock.clone(), entropy),
        documents: known.clone(),
        sealer: Sealer::new(secret, clock.clone(), Duration::from_secs(60), known),
        kept: Arc::new(Semaphore::new(KEPT_BUDGET_BYTES)),
        tallies: Tallies::default(),
        clock,
        turns: seen,
        polls: Polls::default(),
        ticket_hold: Duration::from_secs(10),
    };
    (service, turns)
}

/// Issues a ticket to `p`.
async fn ticket(service: &Service) -> TicketId {
    let weight = Weight { big: false, units: 1, bytes: 0 };
    let issue = Issue { secret: 9, principal: principal_p(), what: [7; 16], weight, home: None };
    let answer = service.directory().issue_ticket(1, issue).await.expect("it leads");
    let Answer::Ticket(Told::Issued(number)) = answer else { panic!("{answer:?}") };
    TicketId { number, secret: 9 }
}

/// Has `p` look at a ticket.
async fn looked(service: &Service, id: TicketId) -> Result<Response, ApiError> {
    let late = Late::default();
    late.set(service.clone());
    let caller = Caller { principal: principal_p().to_string(), root: false, key: Some(KeyId::of(&hash("p"))) };
    let asked = Asked { wait: Some(WAIT.as_secs()) };
    look(State(late), Extension(caller), Path(id.to_string()), Query(asked)).await
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_no_room_to_wait_is_told_at_once_how_its_ticket_stands() {
    let (service, _turns) = door().await;
    let id = ticket(&service).await;
    let mut others: Vec<_> = std::iter::from_fn(|| service.polls.begin(&principal_p())).collect();

    let begun = Instant::now();
    let answer = looked(&service, id).await.expect("its ticket is good");
    assert!(begun.elapsed() < WAIT / 10, "{:?}", begun.elapsed());
    assert_eq!((answer.status(), &answer.headers()[RETRY_AFTER]), (StatusCode::OK, &HeaderValue::from_static("5")));
    let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.expect("it is in memory");
    let told: TicketAnswer = serde_json::from_slice(&body).expect("a ticket's answer");
    assert_eq!((told.id, told.state, told.position), (id, TicketState::Waiting, Some(1)));

    others.pop();
    let begun = Instant::now();
    let answer = looked(&service, id).await.expect("its ticket is good");
    assert!(begun.elapsed() >= WAIT, "{:?}: there is room again", begun.elapsed());
    assert_eq!(answer.status(), StatusCode::OK);
}

/// How the wait of a look ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Its time is over.
    Time,
    /// Something is written of tickets.
    Change,
    /// The supernode stops.
    Stop,
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_revoked_while_a_look_waited_is_told_nothing_of_the_ticket() {
    for end in [End::Time, End::Change, End::Stop] {
        for revoked in [false, true] {
            let (service, turns) = door().await;
            let id = ticket(&service).await;
            let mut look = pin!(looked(&service, id));
            assert!(look.as_mut().now_or_never().is_none(), "it waits");
            if revoked {
                service.documents.replace(documents(2, &["q"]));
            }
            if end == End::Change {
                turns.send_modify(|seen| seen.revision += 1);
            }
            let turns = (end != End::Stop).then_some(turns);
            let answer = look.await.map(|answer| answer.status()).map_err(|error| error.code);
            let expect = if revoked { Err(Code::Unauthenticated) } else { Ok(StatusCode::OK) };
            assert_eq!(answer, expect, "{end:?}");
            drop(turns);
        }
    }
}

fn name(key: &str) -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: key.parse().expect("a good key") }
}

#[test]
fn a_ticket_is_for_one_method_file_and_source() {
    let source = |key, moves| Source { name: name(key), moves };
    let all = [
        what(&Method::PUT, &name("a"), None),
        what(&Method::PATCH, &name("a"), None),
        what(&Method::PUT, &name("b"), None),
        what(&Method::POST, &name("a"), Some(&source("b", false))),
        what(&Method::POST, &name("a"), Some(&source("b", true))),
        what(&Method::POST, &name("a"), Some(&source("c", false))),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(!all[at + 1..].contains(one), "{at}");
    }
    assert_eq!(all[0], what(&Method::PUT, &name("a"), None));
}

#[test]
fn a_ticket_opens_the_door_three_times_and_for_nothing_larger() {
    let put = |bytes| weight(class(&Method::PUT, bytes, false));
    let (small, big) = (put(Some(1000)), put(Some(5 << 20)));
    assert!(opens(1, small, put(Some(64 << 10))), "as much of a place as any small one");
    assert!(opens(OPENS_MAX, big, big) && opens(1, big, small));
    assert!(!opens(OPENS_MAX + 1, big, big));
    assert!(!opens(1, small, put(Some(100 << 10))), "it streams");
    assert!(!opens(1, big, put(Some(6 << 20))) && !opens(1, big, put(None)));
    let cluster: ClusterName = "a".parse().expect("a good name");
    let used = |times| rows::TicketState::Used { cluster: cluster.clone(), turn: 1, times };
    assert!(!is_spent(&rows::TicketState::Granted { cluster: cluster.clone(), turn: 1 }));
    assert!(!is_spent(&used(OPENS_MAX - 1)) && is_spent(&used(OPENS_MAX)), "it opens so often, and then no more");
}

#[test]
fn who_looks_again_when_it_is_told_to_misses_no_turn() {
    let (hold, secs) = (Duration::from_secs(10), Duration::from_secs);
    let told = [None, Some(secs(0)), Some(secs(3)), Some(secs(29)), Some(Duration::MAX)];
    assert_eq!(told.map(|wait| again_s(wait, hold)), [5, 1, 3, 5, 5]);
    assert_eq!([1, 3, 60].map(|hold| again_s(None, secs(hold))), [1, 1, 30]);
}

#[test]
fn a_request_names_its_ticket_in_one_header() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::TICKET, HeaderValue::from_str(text).expect("ASCII"));
        of_request(&headers).map_err(|error| error.code)
    };
    assert_eq!(of_request(&HeaderMap::new()).expect("nothing to read"), None);
    let id = TicketId { number: 7, secret: 8 };
    assert_eq!(read(&id.to_string()), Ok(Some(id)));
    assert_eq!(read("7"), Err(Code::HeaderInvalid));
}
