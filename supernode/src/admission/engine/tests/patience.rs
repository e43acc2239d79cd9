//! Requests that wait longer or shorter than others do: those that would rather have a ticket, tickets, and requests that were let
//! through under one.

use super::*;
use crate::admission::{class, engine::AWAY_FOR};

#[test]
fn who_does_not_want_to_wait_is_told_so_at_once() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let (first, actions) = lab.arrive_with(Patience::AtOnce, small(), home("a"));
    assert_eq!(grants(&actions), [(first, Some("a"), Routed::Home)]);
    let (second, actions) = lab.arrive_with(Patience::AtOnce, small(), home("a"));
    assert_eq!(actions, [Action::Refuse { to: second, why: Refusal::WouldWait, after: Duration::ZERO }]);
    assert!(lab.engine.waiting.is_empty());
    assert_eq!(lab.engine.records.explain(&request(second), lab.now).expect("remembered").status, None);
}

#[test]
fn a_ticket_waits_as_long_as_it_takes_and_others_do_not() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let held = lab.granted(small(), home("a"));
    for _ in 0..2000 {
        lab.arrive("p", small(), home("a"));
    }
    let (ticket, actions) = lab.arrive_with(Patience::Ticket, small(), home("a"));
    assert!(refusals(&actions).iter().all(|(to, why)| (*to, *why) != (ticket, Refusal::Hopeless)), "{actions:?}");
    lab.now += Duration::from_secs(3);
    lab.offered("a", 1);
    let away: Vec<WaiterId> = refusals(&lab.pass(Duration::from_secs(3))).iter().map(|(to, _)| *to).collect();
    assert!(!away.is_empty() && !away.contains(&ticket), "{away:?}");
    assert_eq!(lab.engine.waiting.len(), 1);
    assert_eq!(grants(&lab.end(held)), [(ticket, Some("a"), Routed::Home)]);
}

#[test]
fn a_ticket_waits_in_no_queue_of_a_cluster_that_is_lost() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    lab.granted(small(), home("a"));
    let (ticket, actions) = lab.arrive_with(Patience::Ticket, small(), home("a"));
    assert_eq!(actions, []);
    let refused = [Action::Refuse { to: ticket, why: Refusal::Lost, after: AWAY_FOR }];
    assert_eq!(lab.pass(Duration::from_secs(5)), refused, "the desk has it stand there again");
}

#[test]
fn a_ticket_keeps_its_place_whatever_else_its_principal_asks_for() {
    let mut lab = Lab::new();
    lab.engine.bounds.queue = 4;
    lab.offered("a", 1);
    lab.granted(small(), home("a"));
    let mut many: Vec<WaiterId> = (0..3).map(|_| lab.waits("p", small(), home("a"))).collect();
    let (ticket, actions) = lab.arrive_with(Patience::Ticket, small(), home("a"));
    assert_eq!(actions, []);
    for principal in ["q", "r"] {
        let (_, actions) = lab.arrive(principal, small(), home("a"));
        assert_eq!(refusals(&actions), [(many.pop().expect("there are three"), Refusal::Displaced)]);
    }
    assert!(lab.engine.waiting.contains_key(&ticket));
}

#[test]
fn tickets_of_huge_uploads_do_not_push_each_other_out() {
    let mut lab = Lab::new();
    lab.engine.bounds.bytes = 3 << 30;
    lab.offered("a", 2);
    lab.granted(big(64), home("a"));
    let huge = class::class(&http::Method::PUT, Some(u64::MAX), false);
    for ticket in 0..5 {
        let (_, actions) = lab.arrive_with(Patience::Ticket, huge, home("a"));
        assert_eq!(actions, [], "{ticket}");
    }
    assert_eq!(lab.engine.waiting.len(), 5);
}

#[test]
fn who_was_let_through_elsewhere_passes_and_is_counted() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let held = lab.granted(small(), home("a"));
    let waiting = lab.waits("p", small(), home("a"));
    let (due, actions) = lab.arrive_with(Patience::Due, big(3), home("a"));
    assert_eq!((grants(&actions), lab.in_flight("a")), (vec![(due, Some("a"), Routed::Home)], 2));
    assert_eq!(lab.end(held), [], "its credit is used");
    assert_eq!(grants(&lab.end(PermitId(due.0))), [(waiting, Some("a"), Routed::Home)]);
}

#[test]
fn a_place_that_is_held_for_a_ticket_does_not_wait_for_the_directory() {
    let mut lab = Lab::new();
    lab.offered("a", 4);
    for _ in 0..2 {
        let (ticket, actions) = lab.arrive_with(Patience::Ticket, small(), Place::Any);
        assert_eq!(grants(&actions), [(ticket, Some("a"), Routed::New)]);
    }
    lab.granted(small(), Place::Any);
    lab.granted(small(), Place::Any);
    assert_eq!(lab.in_flight("a"), 4);
}
