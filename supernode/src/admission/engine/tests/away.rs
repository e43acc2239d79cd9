//! What admission does about clusters that are not heard, directories that do not answer, and requests that went elsewhere.

use flotilla_api::{Epoch, explain::Claimed};

use super::*;
use crate::admission::{engine::AWAY_FOR, limits::FRESH_FOR};

#[test]
fn new_keys_that_wait_for_the_directory_leave_room_to_others() {
    let mut lab = Lab::new();
    lab.offered("a", 5);
    let claiming = [0; 3].map(|_| lab.granted(small(), Place::Any));
    let new = lab.waits("p", small(), Place::Any);
    lab.granted(small(), home("a"));
    let claimed = Claimed { cluster: cluster("a"), epoch: Epoch(1), granted: true };
    let actions = lab.apply(Event::Claimed(claiming[0], claimed.clone()));
    assert_eq!(grants(&actions), [(new, Some("a"), Routed::New)]);
    assert_eq!(lab.apply(Event::Claimed(claiming[0], claimed)), [], "it was told before");
    let new = lab.waits("p", small(), Place::Any);
    let actions = lab.apply(Event::Ended(claiming[1], Outcome::Gone));
    assert_eq!(grants(&actions), [(new, Some("a"), Routed::New)], "whoever goes waits for the directory no more");
}

#[test]
fn a_lost_cluster_serves_what_it_can_and_nobody_waits_for_it() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    lab.granted(small(), home("a"));
    lab.now += Duration::from_secs(1);
    let waiting = lab.waits("p", small(), home("a"));
    let refused = |to| Action::Refuse { to, why: Refusal::Lost, after: AWAY_FOR };
    assert_eq!(lab.pass(Duration::from_secs(4)), [refused(waiting)]);
    let (late, actions) = lab.arrive("p", small(), home("a"));
    assert_eq!(actions, [refused(late)]);
    lab.offered("a", 2);
    lab.granted(small(), home("a"));
    lab.waits("p", small(), home("a"));
}

#[test]
fn new_keys_wait_for_the_cluster_that_was_heard_last() {
    let mut lab = Lab::new();
    lab.offered("a", 4);
    lab.now += Duration::from_millis(100);
    lab.offered("b", 4);
    lab.now += FRESH_FOR;
    let waiting = lab.waits("p", small(), Place::Any);
    assert_eq!(lab.engine.waiting[&waiting].door, Door::Cluster(cluster("b")));
    assert_eq!(grants(&lab.offered("a", 4)), [(waiting, Some("a"), Routed::New)], "the first one that is there again");
    lab.reported("a", 4, false);
    lab.reported("b", 4, false);
    let (full, actions) = lab.arrive("p", small(), Place::Any);
    assert_eq!(actions, [Action::Refuse { to: full, why: Refusal::NoCluster, after: AWAY_FOR }]);
}

#[test]
fn a_redirect_holds_nothing_and_routing_knows_of_it() {
    let mut lab = Lab::new();
    lab.offered("a", 4);
    lab.offered("b", 4);
    for _ in 0..40 {
        let sent = lab.granted(small(), home("a"));
        lab.apply(Event::Ended(sent, Outcome::Answered(307)));
    }
    assert_eq!(lab.in_flight("a"), 0);
    let (new, actions) = lab.arrive("p", small(), Place::Any);
    assert_eq!(grants(&actions), [(new, Some("b"), Routed::New)]);
    lab.end(PermitId(new.0));
    lab.reported("b", 4, false);
    lab.offered("a", 4);
    let (new, actions) = lab.arrive("p", small(), Place::Any);
    assert_eq!(grants(&actions), [(new, Some("a"), Routed::New)]);
}

#[test]
fn one_that_stops_serves_what_need_not_wait() {
    let mut lab = Lab::new();
    lab.offered("a", 1);
    assert_eq!(lab.apply(Event::Closing), []);
    let served = lab.granted(small(), home("a"));
    let (late, actions) = lab.arrive("p", small(), home("a"));
    assert_eq!(actions, [Action::Refuse { to: late, why: Refusal::Closing, after: AWAY_FOR }]);
    assert_eq!(lab.end(served), []);
}
