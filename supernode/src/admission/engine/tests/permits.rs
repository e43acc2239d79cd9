//! Every credit comes back once, whichever way its request goes.

use super::*;
use crate::admission::engine::STREAM_FROM_BYTES;

#[test]
fn a_permit_that_nobody_took_comes_back() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let held = lab.granted(small(), home("a"));
    let (one, two) = (lab.waits("p", small(), home("a")), lab.waits("p", small(), home("a")));
    assert_eq!(grants(&lab.end(held)), [(one, Some("a"), Routed::Home)]);
    assert_eq!(grants(&lab.apply(Event::Left(one))), [(two, Some("a"), Routed::Home)]);
    assert_eq!(lab.apply(Event::Left(one)), [], "it can only go once");
    assert_eq!(lab.end(PermitId(one.0)), []);
    assert_eq!(lab.in_flight("a"), 1);
    assert_eq!(lab.end(PermitId(two.0)), []);
    assert_eq!(lab.in_flight("a"), 0);
}

#[test]
fn streams_that_rest_and_long_answers_hold_no_credit() {
    let mut lab = Lab::new();
    lab.offered("a", 2);
    let upload = lab.granted(big(64), home("a"));
    let waiting = lab.waits("p", big(1), home("a"));
    assert_eq!(grants(&lab.apply(Event::Rested(upload))), [(waiting, Some("a"), Routed::Home)]);
    assert_eq!(lab.apply(Event::Rested(upload)), [], "it has given its credit back for good");
    let short = lab.granted(small(), home("a"));
    lab.apply(Event::Headed(short, Some(STREAM_FROM_BYTES)));
    let long = lab.granted(small(), home("a"));
    lab.apply(Event::Headed(long, None));
    let side = |lab: &Lab| {
        let account = &lab.engine.side(&Door::Cluster(cluster("a"))).account;
        (account.in_flight(), account.streams())
    };
    assert_eq!(side(&lab), (1, 2));
    [upload, short, long, PermitId(waiting.0)].into_iter().for_each(|permit| assert_eq!(lab.end(permit), []));
    assert_eq!(side(&lab), (0, 0));
}

#[test]
fn a_request_that_follows_its_key_waits_nowhere() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    lab.offered("b", 1);
    let moves = lab.granted(small(), home("a"));
    let stays = lab.granted(small(), home("b"));
    let (at_a, at_b) = (lab.waits("p", small(), home("a")), lab.waits("p", small(), home("b")));
    let actions = lab.apply(Event::Moved(moves, cluster("b")));
    assert_eq!(grants(&actions), [(at_a, Some("a"), Routed::Home)]);
    assert_eq!((lab.in_flight("a"), lab.in_flight("b")), (1, 2));
    assert_eq!(lab.end(stays), [], "there are still as many as there may be");
    assert_eq!(grants(&lab.end(moves)), [(at_b, Some("b"), Routed::Home)]);
}

#[test]
fn a_lost_claim_costs_no_place_in_the_line() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    lab.offered("b", 1);
    let held = lab.granted(small(), home("b"));
    let (first, actions) = lab.arrive("p", small(), Place::Any);
    assert_eq!(grants(&actions), [(first, Some("a"), Routed::New)]);
    let came = lab.now;
    lab.now += Duration::from_millis(5);
    let later = lab.waits("p", small(), home("b"));
    lab.now += Duration::from_millis(5);
    lab.apply(Event::Ended(PermitId(first.0), Outcome::LostClaim));
    let (again, actions) = lab.arrive_again("p", small(), home("b"), Some(came));
    assert_eq!(actions, []);
    assert_eq!(lab.engine.entry(&request(again), lab.now).expect("it waits").position, 1);
    assert_eq!(grants(&lab.end(held)), [(again, Some("b"), Routed::LostClaim)]);
    assert_eq!(grants(&lab.end(PermitId(again.0))), [(later, Some("b"), Routed::Home)]);
}
