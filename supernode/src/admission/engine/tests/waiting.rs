//! Who waits, for how long, and what people are told of it.

use super::*;
use crate::admission::{
    class,
    engine::AWAY_FOR,
    limits::{CREDITS_BEFORE_OFFERS, FRESH_FOR},
};

#[test]
fn a_request_waits_only_while_there_is_no_credit() {
    let mut lab = Lab::new();
    lab.offered("a", 2);
    let first = lab.granted(small(), Place::Any);
    lab.granted(small(), home("a"));
    let (one, two) = (lab.waits("p", small(), Place::Any), lab.waits("p", small(), home("a")));
    lab.now += Duration::from_millis(300);
    let actions = lab.end(first);
    assert_eq!(grants(&actions), [(one, Some("a"), Routed::New)]);
    let Action::Grant { waited, permit, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((*waited, *permit), (Duration::from_millis(300), PermitId(one.0)));
    assert_eq!(grants(&lab.offered("a", 3)), [(two, Some("a"), Routed::Home)]);
}

#[test]
fn homes_are_served_before_any_report_and_new_keys_after_one() {
    let mut lab = Lab::new();
    for _ in 0..CREDITS_BEFORE_OFFERS {
        lab.granted(small(), home("a"));
    }
    lab.waits("p", small(), home("a"));
    let (waiter, actions) = lab.arrive("p", small(), Place::Any);
    assert_eq!(actions, [Action::Refuse { to: waiter, why: Refusal::NoCluster, after: AWAY_FOR }]);
    assert!(!lab.engine.takes_new(lab.now));
    lab.reported("b", 4, false);
    assert!(!lab.engine.takes_new(lab.now), "it has no space");
    lab.offered("b", 4);
    lab.granted(small(), Place::Any);
    assert!(lab.engine.takes_new(lab.now) && !lab.engine.takes_new(lab.now + FRESH_FOR));
}

#[test]
fn small_ones_wait_for_no_more_than_one_big_one_in_eight() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let mut held = lab.granted(small(), home("a"));
    for _ in 0..40 {
        lab.waits("p", small(), home("a"));
        lab.waits("p", big(1), home("a"));
    }
    let mut lanes = String::new();
    while let [(waiter, ..)] = grants(&lab.end(held))[..] {
        held = PermitId(waiter.0);
        lanes.push(if lab.engine.held[&held].lane == Lane::Big { 'B' } else { 's' });
    }
    let (with_small, bigs) = lanes.split_at(lanes.rfind('s').expect("there are small ones") + 1);
    assert!(
        with_small.as_bytes().windows(8).all(|eight| eight.iter().filter(|lane| **lane == b'B').count() == 1),
        "{lanes}"
    );
    assert!(bigs.len() > 30 && bigs.bytes().all(|lane| lane == b'B'), "{lanes}");
}

#[test]
fn a_queue_that_stands_is_cut_down_and_a_burst_is_not() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let mut held = lab.granted(small(), home("a"));
    // Each tenth of a second one is served, and so many come.
    let mut serve = |lab: &mut Lab, come: usize| {
        let served = grants(&lab.end(held))[0].0;
        let mut refused = 0;
        for _ in 0..come {
            refused += refusals(&lab.arrive("p", small(), home("a")).1).len();
        }
        lab.offered("a", 1);
        refused += refusals(&lab.pass(Duration::from_millis(100))).len();
        held = PermitId(served.0);
        refused
    };
    for _ in 0..60 {
        lab.arrive("p", small(), home("a"));
    }
    for _ in 0..49 {
        assert_eq!(serve(&mut lab, 0), 0, "a burst may take the time that it has");
    }
    let refused: usize = (0..100).map(|_| serve(&mut lab, 2)).sum();
    let oldest = lab.engine.status(lab.now)[1].lanes[0].oldest_ms;
    assert!(
        refused > 90 && (500..=1100).contains(&oldest),
        "{refused} refused, {oldest} ms of 5 s: it stood for longer"
    );
}

#[test]
fn big_ones_leave_half_of_the_credits_to_small_ones() {
    let mut lab = Lab::new();
    lab.offered("a", 4);
    let held = [lab.granted(big(8), home("a")), lab.granted(big(8), home("a"))];
    let waiting = lab.waits("p", big(8), home("a"));
    lab.granted(small(), home("a"));
    let other = lab.granted(small(), home("a"));
    assert_eq!(lab.end(other), [], "the half for big ones is in use");
    assert_eq!(grants(&lab.end(held[0])), [(waiting, Some("a"), Routed::Home)]);
}

#[test]
fn lists_have_places_of_their_own() {
    let mut lab = Lab::new();
    let held: Vec<PermitId> = (0..32).map(|_| lab.granted(class::list(), Place::Everywhere)).collect();
    let waiting = lab.waits("p", class::list(), Place::Everywhere);
    lab.granted(small(), home("a"));
    assert_eq!(grants(&lab.end(held[0])), [(waiting, None, Routed::List)]);
}

#[test]
fn one_that_stops_sends_all_away() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let held = lab.granted(small(), home("a"));
    let waiting = [lab.waits("p", small(), home("a")), lab.waits("q", big(2), Place::Any)];
    let expect: Vec<Action> =
        waiting.iter().map(|to| Action::Refuse { to: *to, why: Refusal::Closing, after: AWAY_FOR }).collect();
    assert_eq!(lab.apply(Event::Closing), expect);
    let (late, actions) = lab.arrive("p", small(), home("a"));
    assert_eq!(actions, [Action::Refuse { to: late, why: Refusal::Closing, after: AWAY_FOR }]);
    assert_eq!(lab.end(held), []);
    assert_eq!((lab.in_flight("a"), lab.engine.held.len()), (0, 0));
}

#[test]
fn people_are_told_who_waits_where() {
    let mut lab = Lab::new();
    lab.offered("a", 2);
    lab.granted(small(), home("a"));
    lab.granted(small(), home("a"));
    let mine = lab.waits("p", small(), home("a"));
    lab.waits("q", big(4), Place::Any);
    lab.now += Duration::from_secs(1);
    let status = lab.engine.status(lab.now);
    assert_eq!(status.iter().map(|side| side.cluster.clone()).collect::<Vec<_>>(), [None, Some(cluster("a"))]);
    let (side, lanes) = (&status[1], &status[1].lanes);
    assert_eq!((side.fresh, side.credits, side.in_flight, side.streams), (true, 2, 2, 0));
    assert_eq!((lanes[0].waiting, lanes[0].units, lanes[0].oldest_ms), (1, 1, 1000));
    assert_eq!((lanes[1].waiting, lanes[1].units, lanes[1].bytes), (1, 4, 4 << 20));
    assert_eq!(lab.engine.entries(None, lab.now).len(), 2);
    let entries = lab.engine.entries(Some("p"), lab.now);
    assert_eq!((entries.len(), &entries[0].request, entries[0].waited_ms), (1, &request(mine), 1000));
    let felt = lab.engine.felt(&cluster("a"), lab.now);
    assert_eq!((felt.window_ms, felt.in_flight_milli, felt.saturated_ms), (1000, 2000, 1000));
    assert_eq!((felt.waiting_small, felt.waiting_big), (1, 1));
    assert_eq!(felt.offer.map(|offer| offer.credits), Some(2));
    let told = lab.engine.explain(&request(mine), lab.now).expect("it is remembered");
    assert_eq!((told.principal.as_str(), told.home, told.age_ms), ("p", Some(cluster("a")), 1000));
}

#[test]
fn the_last_one_of_a_queue_counts_for_its_rate() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let mut held = lab.granted(small(), home("a"));
    for _ in 0..200 {
        let waiter = lab.waits("p", small(), home("a"));
        lab.now += Duration::from_millis(10);
        assert_eq!(grants(&lab.end(held)).len(), 1);
        held = PermitId(waiter.0);
    }
    let rate = lab.engine.side(&Door::Cluster(cluster("a"))).queue(Lane::Small).per_second();
    assert!((90.0..110.0).contains(&rate), "one in 10 ms is {rate} a second");
}

#[test]
fn a_new_key_waits_where_it_is_served_soonest() {
    let mut lab = Lab::new();
    lab.offered("a", 8);
    lab.offered("b", 2);
    let mut next = lab.granted(small(), home("a"));
    for name in ["a", "a", "a", "a", "a", "a", "a", "b", "b"] {
        lab.granted(small(), home(name));
    }
    for _ in 0..50 {
        lab.waits("p", small(), Place::Any);
    }
    let waiting = |lab: &Lab, name: &str| lab.engine.side(&Door::Cluster(cluster(name))).waiting(Lane::Small);
    // As many for each credit.
    let (at_a, at_b) = (waiting(&lab, "a"), waiting(&lab, "b"));
    assert!((38..=42).contains(&at_a), "{at_a} wait for a, {at_b} for b");
    // What was measured counts more than what was offered.
    for _ in 0..20 {
        lab.pass(Duration::from_millis(100));
        let [(waiter, ..)] = grants(&lab.end(next))[..] else { panic!("somebody waits") };
        next = PermitId(waiter.0);
    }
    let before = (waiting(&lab, "a"), waiting(&lab, "b"));
    lab.waits("p", small(), Place::Any);
    assert_eq!((waiting(&lab, "a"), waiting(&lab, "b")), (before.0 + 1, before.1), "b has served nobody");
    let (waiter, _) = lab.arrive("p", small(), Place::Any);
    let told = lab.engine.records.explain(&request(waiter), lab.now).expect("it is remembered");
    let wait =
        |name: &str| told.candidates.iter().find(|one| one.cluster.as_str() == name).expect("it is told").wait_ms;
    assert!(wait("a") > 0 && wait("b") > wait("a"), "a {} ms, b {} ms", wait("a"), wait("b"));
}
