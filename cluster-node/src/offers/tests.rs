//! What supernodes are told by a leader that is new, and by one that goes on.

use flotilla_api::{
    NodeId,
    peer::{Answered, NodeStats},
};

use super::*;

/// A clock that is moved by hand.
#[derive(Debug)]
struct Hand(Mutex<Instant>);

impl Clock for Hand {
    fn now(&self) -> Instant {
        *self.0.lock().expect("nobody panics with it")
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

struct Leader {
    offers: Offers,
    clock: Arc<Hand>,
    term: u64,
    node: NodeStats,
    supernodes: usize,
}

impl Leader {
    fn new(supernodes: usize) -> Self {
        let clock = Arc::new(Hand(Mutex::new(flotilla_env::clock::system().now())));
        Self { offers: Offers::new(clock.clone()), clock, term: 1, node: NodeStats::default(), supernodes }
    }

    /// Half a second later it looks.
    fn look(&self) {
        *self.clock.0.lock().expect("nobody panics with it") += Duration::from_millis(500);
        let node = |id, alive| NodeReport {
            id: NodeId(id),
            peer: String::new(),
            public: String::new(),
            zone: None,
            alive,
            stats: self.node.clone(),
        };
        self.offers.look(self.term, &[node(1, true), node(2, false)], self.supernodes);
    }

    fn shares(&self, supernodes: &[&str]) -> Vec<Option<u32>> {
        supernodes.iter().map(|name| self.offers.to(name).map(|offer| offer.credits)).collect()
    }
}

/// A supernode that has so many requests under way and as many that wait.
fn busy(count: u32) -> Felt {
    Felt { window_ms: 500, in_flight_milli: 1000 * count, saturated_ms: 500, waiting_small: count, ..Felt::default() }
}

fn offered(total: u32) -> Option<Offer> {
    Some(Offer { credits: total / 3, total, read_us: None, write_us: Some(1000), strain_milli: 2000 })
}

#[test]
fn a_new_leader_splits_what_was_offered_as_soon_as_it_has_heard_all() {
    let mut leader = Leader::new(3);
    for term in [1, 2] {
        leader.term = term;
        leader.look();
        assert_eq!(leader.offers.to("a"), None, "nothing is known of term {term} yet");
        for name in ["a", "b", "c"] {
            leader.offers.felt(name, Felt { offer: offered(60), ..busy(20) });
        }
        leader.look();
        assert_eq!(leader.shares(&["a", "b", "c"]), [Some(20); 3]);
        assert_eq!(leader.offers.to("a").and_then(|offer| offer.write_us), Some(1000));
    }
}

#[test]
fn what_was_felt_under_another_leader_is_not_judged() {
    let leader = Leader::new(1);
    leader.look();
    leader.offers.felt("a", Felt { failed: 1000, offer: offered(60), ..busy(20) });
    leader.look();
    leader.offers.felt("a", Felt { writes: Answered { count: 100, us: 200_000 }, ..busy(20) });
    leader.look();
    assert!(leader.shares(&["a"])[0] >= Some(60), "nothing failed since");
}

#[test]
fn the_first_leader_begins_with_the_first_credits() {
    let leader = Leader::new(2);
    leader.look();
    ["a", "b"].into_iter().for_each(|name| leader.offers.felt(name, busy(8)));
    leader.look();
    assert_eq!(leader.shares(&["a", "b"]), [Some(16); 2]);
}

#[test]
fn a_supernode_that_is_not_heard_holds_up_nobody_and_may_begin() {
    let leader = Leader::new(2);
    for _ in 0..4 {
        assert_eq!(leader.offers.to("a"), None);
        leader.offers.felt("a", Felt { offer: offered(60), ..busy(40) });
        leader.look();
    }
    assert_eq!(leader.shares(&["a", "never heard"]), [Some(60), Some(8)]);
    leader.offers.felt("b", busy(40));
    leader.look();
    assert_eq!(leader.shares(&["a", "b"]), [Some(30); 2]);
    for _ in 0..4 {
        leader.offers.felt("a", Felt { window_ms: 0, ..busy(40) });
        leader.look();
    }
    assert_eq!(leader.shares(&["a", "b"]), [Some(60), Some(8)], "b is silent for two seconds");
}

#[test]
fn clients_of_the_nodes_have_their_part_and_streams_take_none() {
    let mut leader = Leader::new(1);
    leader.node.requests = 500;
    leader.look();
    for (direct, share) in [(0, 60), (20, 40), (500, 30)] {
        leader.node.direct = direct;
        leader.offers.felt("a", Felt { window_ms: 0, offer: offered(60), ..busy(40) });
        leader.look();
        assert_eq!(leader.shares(&["a"]), [Some(share)], "{direct} of a node that is alive");
    }
}

#[test]
fn what_waits_and_is_big_is_told_apart() {
    let felt = Felt { in_flight_big_milli: 2500, waiting_big: 7, ..busy(10) };
    assert_eq!(want(&felt), Want { small: 17, big: 10, big_in_flight: 3 });
}
