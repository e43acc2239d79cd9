//! Requests that leave the queue that they wait in for another cluster.

use flotilla_api::explain::Verdict;

use super::*;
use crate::admission::{
    limits::{CREDITS_BEFORE_OFFERS, FRESH_FOR},
    stealing::steal,
};

#[test]
fn an_idle_cluster_takes_new_keys_and_never_homes() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    lab.granted(small(), Place::Any);
    let (at_home, movable) = (lab.waits("p", small(), home("a")), lab.waits("p", small(), Place::Any));
    let actions = lab.offered("b", 4);
    assert_eq!(grants(&actions), [(movable, Some("b"), Routed::Stolen)]);
    let Action::Grant { stolen_from, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(stolen_from.as_ref(), Some(&cluster("a")));
    assert!(lab.engine.waiting.contains_key(&at_home));
    let counts = |name: &str| lab.engine.counts(&cluster(name), lab.now).expect("it is known");
    assert_eq!((counts("a").given, counts("a").taken, counts("b").given, counts("b").taken), (1, 0, 0, 1));
    let steps = lab.steps(movable);
    let [What::Queued { .. }, What::Stolen { seen, verdict }, What::Granted { .. }] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!((steal(seen), matches!(verdict, Verdict::Take { .. })), (verdict.clone(), true), "as recorded");
}

#[test]
fn what_others_took_says_nothing_of_how_fast_a_cluster_is() {
    let mut lab = Lab::new();
    lab.offered("a", 8);
    for _ in 0..8 {
        lab.granted(small(), home("a"));
    }
    let at_home = lab.waits("p", small(), home("a"));
    for _ in 0..50 {
        lab.waits("p", small(), Place::Any);
    }
    assert_eq!(grants(&lab.offered("b", 100)).len(), 50, "all of them are stolen");
    for _ in 0..10 {
        lab.pass(Duration::from_millis(100));
    }
    let rate = lab.engine.side(&Door::Cluster(cluster("a"))).queue(Lane::Small).per_second();
    assert!(lab.engine.waiting.contains_key(&at_home) && rate < 50.0, "nobody was served for a second: {rate}");
}

#[test]
fn nothing_is_taken_where_that_is_switched_off_or_own_work_waits() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    lab.granted(small(), Place::Any);
    lab.waits("p", small(), Place::Any);
    for _ in 0..CREDITS_BEFORE_OFFERS {
        lab.granted(small(), home("b"));
    }
    let own = lab.waits("p", small(), home("b"));
    assert_eq!(lab.offered("b", CREDITS_BEFORE_OFFERS), []);
    assert_eq!(grants(&lab.offered("b", CREDITS_BEFORE_OFFERS + 1)), [(own, Some("b"), Routed::Home)]);
    lab.engine.settings.stealing = false;
    assert_eq!(lab.offered("b", 32), []);
}

#[test]
fn who_waits_for_a_cluster_that_is_gone_goes_elsewhere() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    lab.granted(small(), Place::Any);
    let waiting = [lab.waits("p", small(), Place::Any), lab.waits("p", small(), Place::Any)];
    let at_home = lab.waits("p", small(), home("a"));
    for _ in 0..2 {
        lab.granted(small(), home("b"));
    }
    lab.now += FRESH_FOR;
    assert_eq!(grants(&lab.reported("b", 3, true)), [(waiting[0], Some("b"), Routed::New)]);
    assert_eq!(lab.engine.waiting[&waiting[1]].door, Door::Cluster(cluster("b")));
    assert_eq!(lab.engine.waiting[&at_home].door, Door::Cluster(cluster("a")));
    assert!(lab.steps(waiting[1]).contains(&What::Rehoused { from: cluster("a") }));
}

#[test]
fn a_cluster_that_retires_serves_its_homes_and_gets_no_new_keys() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    let held = lab.granted(small(), Place::Any);
    let (at_home, movable) = (lab.waits("p", small(), home("a")), lab.waits("p", small(), Place::Any));
    assert_eq!(lab.apply(Event::Retires(cluster("a"), true)), [], "where else should they go");
    assert_eq!(grants(&lab.end(held)), [(at_home, Some("a"), Routed::Home)]);
    assert_eq!(grants(&lab.offered("b", 8)), [(movable, Some("b"), Routed::New)], "it is rehoused");
    lab.end(PermitId(at_home.0));
    lab.offered("a", 32);
    for _ in 0..2 {
        let (new, actions) = lab.arrive("p", small(), Place::Any);
        assert_eq!(grants(&actions), [(new, Some("b"), Routed::New)], "whatever it offers");
    }
    let at_home = lab.granted(small(), home("a"));
    assert_eq!(lab.apply(Event::Retires(cluster("a"), false)), []);
    lab.end(at_home);
    let (new, actions) = lab.arrive("p", small(), Place::Any);
    assert_eq!(grants(&actions), [(new, Some("a"), Routed::New)], "less is under way there");
}
