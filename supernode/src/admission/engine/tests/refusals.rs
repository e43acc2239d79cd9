//! Who is refused, when it should come again, and who makes room for whom.

use super::*;
use crate::admission::class;

#[test]
fn nobody_waits_in_vain() {
    let mut lab = Lab::new();
    lab.offered("a", 2); // at 20 ms: 100 a second
    let held = [lab.granted(small(), home("a")), lab.granted(small(), home("a"))];
    let mut waiting = 0;
    let refused = loop {
        let (waiter, actions) = lab.arrive("p", small(), home("a"));
        if actions.is_empty() {
            waiting += 1;
        } else {
            break (waiter, refusals(&actions));
        }
    };
    assert_eq!(refused.1, [(refused.0, Refusal::Hopeless)]);
    assert!((449..=453).contains(&waiting), "{waiting}: 4.5 of 5 s at 100 a second");
    assert_eq!(lab.waits("q", small(), home("a")).0, lab.next, "whose line is short waits a short time");
    assert_eq!(refusals(&lab.pass(Duration::from_millis(4999))), []);
    assert_eq!(refusals(&lab.pass(Duration::from_millis(1))).len(), waiting + 1, "nothing was served");
    held.into_iter().for_each(|permit| assert_eq!(lab.end(permit), []));
}

#[test]
fn refused_ones_are_told_to_come_one_after_the_other() {
    let mut lab = Lab::new();
    lab.engine.bounds.queue = 200;
    lab.offered("a", 2);
    let _held = [lab.granted(small(), home("a")), lab.granted(small(), home("a"))];
    for _ in 0..200 {
        lab.waits("p", small(), home("a"));
    }
    let mut last: Option<Duration> = None;
    for _ in 0..20 {
        let (waiter, actions) = lab.arrive("p", small(), home("a"));
        let [Action::Refuse { to, why: Refusal::Full, after }] = actions[..] else { panic!("{actions:?}") };
        assert_eq!(to, waiter);
        let apart = last.map(|last| after.checked_sub(last).expect("later ones come later").as_secs_f64());
        assert!(apart.is_none_or(|apart| (apart - 0.01).abs() < 1e-4), "{apart:?}: a hundredth at 100 a second");
        assert!(last.is_some() || (after.as_secs_f64() - 2.0).abs() < 1e-3, "behind the 200 that wait: {after:?}");
        last = Some(after);
    }
}

#[test]
fn a_full_queue_makes_room_for_those_that_have_less_of_it() {
    let mut lab = Lab::new();
    lab.engine.bounds.queue = 4;
    lab.offered("a", 1);
    lab.granted(small(), home("a"));
    let many: Vec<WaiterId> = (0..4).map(|_| lab.waits("many", small(), home("a"))).collect();
    let (one, actions) = lab.arrive("few", small(), home("a"));
    assert_eq!(refusals(&actions), [(many[3], Refusal::Displaced)]);
    assert!(lab.engine.waiting.contains_key(&one));
    let (two, actions) = lab.arrive("few", big(4), home("a"));
    assert_eq!(refusals(&actions), [(many[2], Refusal::Displaced)], "lanes share the room");
    let (third, actions) = lab.arrive("few", small(), home("a"));
    assert_eq!(refusals(&actions), [(third, Refusal::Full)], "it would have more than it takes from");
    assert!(lab.engine.waiting.contains_key(&two));
}

#[test]
fn a_huge_upload_waits_and_leaves_room() {
    let mut lab = Lab::new();
    lab.engine.bounds.bytes = 3 << 30;
    lab.offered("a", 2);
    lab.granted(big(64), home("a"));
    let huge = class::class(&http::Method::PUT, Some(u64::MAX), false);
    let mut waiting: Vec<WaiterId> = (0..3).map(|_| lab.waits("p", huge, home("a"))).collect();
    let (refused, actions) = lab.arrive("p", big(4), home("a"));
    assert_eq!(refusals(&actions), [(refused, Refusal::Full)]);
    let (_, actions) = lab.arrive("q", big(4), home("a"));
    assert_eq!(refusals(&actions), [(waiting.pop().expect("there are three"), Refusal::Displaced)]);
}

#[test]
fn all_queues_together_are_bounded() {
    let mut lab = Lab::new();
    lab.engine.bounds.waiting = 4;
    lab.offered("a", 1);
    lab.offered("b", 1);
    lab.granted(small(), home("a"));
    lab.granted(small(), home("b"));
    let many: Vec<WaiterId> = (0..4).map(|_| lab.waits("many", small(), home("a"))).collect();
    let (_, actions) = lab.arrive("few", small(), home("b"));
    assert_eq!(refusals(&actions), [(many[3], Refusal::Displaced)], "the longest line of all clusters");
}
