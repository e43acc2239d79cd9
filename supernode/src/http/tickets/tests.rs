//! What a ticket is for, what it opens, and when to look at it again.

use super::*;
use crate::admission::class::class;

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
    let told = [Crowd::Own, Crowd::All].map(|crowd| crowded(crowd, hold));
    assert!(told.iter().all(|told| (told.status, told.retry_after_ms) == (429, Some(5000))), "{told:?}");
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
