//! Whom every cluster would refuse is refused at once, and nobody else is.

use super::*;
use crate::admission::engine::early::STANDS_MAX;

/// Fills a lane with the requests of one principal until one is refused; gives why.
fn flood(lab: &mut Lab, principal: &str, class: Class) -> Refusal {
    loop {
        let (waiter, actions) = lab.arrive(principal, class, home("a"));
        if let [(refused, why)] = refusals(&actions)[..] {
            assert_eq!(refused, waiter);
            return why;
        }
        assert!(lab.engine.waiting.len() < 2000, "nobody is refused");
    }
}

/// A cluster without a free credit.
fn busy(credits: u32) -> Lab {
    let mut lab = Lab::new();
    lab.offered("a", credits);
    for _ in 0..credits {
        lab.granted(small(), home("a"));
    }
    lab
}

#[test]
fn a_flood_is_refused_at_once_and_nobody_else_is() {
    let mut lab = busy(2);
    assert_eq!(lab.early("p", small()), None);
    assert_eq!(flood(&mut lab, "p", small()), Refusal::Hopeless);
    assert_eq!(lab.engine.shut_until(Lane::Small), Some(lab.now + STANDS_MAX));
    assert_eq!(lab.engine.shut_until(Lane::Big), None);
    let waiting = lab.engine.waiting.len();
    let (why, first) = lab.early("p", small()).expect("it is refused");
    let (_, second) = lab.early("p", small()).expect("it is refused");
    assert_eq!((why, lab.engine.waiting.len()), (Refusal::Hopeless, waiting));
    let apart = second.checked_sub(first).expect("later ones come later").as_secs_f64();
    assert!((apart - 0.01).abs() < 1e-4, "{apart}: a hundredth at 100 a second");
    assert_eq!(lab.early("q", small()), None, "its line is short");
    assert_eq!(lab.early("p", big(1)), None, "the other lane");
    // What was said at once is what is said wherever it asks.
    for place in [home("a"), Place::Any] {
        let (waiter, actions) = lab.arrive("p", small(), place);
        assert_eq!(refusals(&actions), [(waiter, Refusal::Hopeless)]);
    }
    lab.now += STANDS_MAX;
    assert_eq!(lab.early("p", small()), None, "it is looked at anew");
}

#[test]
fn a_cluster_that_would_take_it_keeps_the_lane_open() {
    let mut lab = busy(2);
    lab.offered("b", 1);
    assert_eq!(flood(&mut lab, "p", small()), Refusal::Hopeless);
    assert_eq!(lab.early("p", small()), None, "another cluster is idle");
    lab.granted(small(), home("b"));
    flood(&mut lab, "p", small());
    assert_eq!(lab.early("p", small()), None, "its queue is empty");
}

#[test]
fn a_full_queue_shuts_out_those_that_have_their_part_of_it() {
    let mut lab = busy(2);
    lab.engine.bounds.queue = 20;
    assert_eq!(flood(&mut lab, "p", small()), Refusal::Full);
    assert_eq!(lab.early("p", small()).map(|(why, _)| why), Some(Refusal::Full));
    assert_eq!(lab.early("q", small()), None);
}

#[test]
fn smaller_requests_are_looked_at() {
    let mut lab = busy(2);
    flood(&mut lab, "p", big(64));
    assert!(lab.early("p", big(64)).is_some());
    assert_eq!(lab.early("p", big(1)), None);
}

#[test]
fn one_that_is_refused_at_once_is_explained() {
    let mut lab = busy(2);
    flood(&mut lab, "p", small());
    let (why, after) = lab.early("p", small()).expect("it is refused");
    let told = lab.engine.explain(&request(WaiterId(lab.next)), lab.now).expect("it is remembered");
    assert_eq!((told.principal.as_str(), told.status), ("p", Some(429)));
    let steps: Vec<What> = told.steps.into_iter().map(|step| step.what).collect();
    assert_eq!(steps, [What::Refused { why, again_ms: after.as_millis() as u64 }]);
}

#[test]
fn how_many_are_shut_out_is_bounded() {
    let mut lab = busy(2);
    lab.engine.bounds.lines = 2;
    for principal in ["p", "q", "r", "s"] {
        flood(&mut lab, principal, small());
    }
    let shut = ["p", "q", "r", "s"].map(|principal| lab.early(principal, small()).is_some());
    assert_eq!(shut.iter().filter(|shut| **shut).count(), 2, "{shut:?}");
}
