//! How credits are split between supernodes.

use std::collections::BTreeMap;

use super::{
    super::{Want, split, unheard, whole},
    model::Random,
};

fn wants(counts: &[u32]) -> BTreeMap<String, Want> {
    let want = |count: &u32| Want { small: *count, ..Want::default() };
    counts.iter().enumerate().map(|(n, count)| (n.to_string(), want(count))).collect()
}

fn shares(total: u32, direct: u32, counts: &[u32]) -> Vec<u32> {
    split(total, direct, &wants(counts)).into_values().collect()
}

#[test]
fn credits_are_split_by_what_is_wanted() {
    assert_eq!(shares(30, 0, &[0, 0, 0]), [10, 10, 10]);
    assert_eq!(shares(32, 0, &[4, 0, 0]), [13, 10, 9], "what nobody wants is shared equally");
    assert_eq!(shares(30, 0, &[200, 80, 20]), [20, 8, 2]);
    assert_eq!(shares(30, 10, &[200, 80, 20]), [14, 5, 1], "the nodes' own clients come first");
    assert_eq!(shares(30, 100, &[200, 80, 20]), [10, 4, 1]);
    assert_eq!(shares(2, 0, &[5, 5, 5]), [1, 1, 1]);
    assert_eq!(shares(9, 0, &[1]), [9]);
    assert_eq!(split(9, 0, &BTreeMap::new()), BTreeMap::new());
}

#[test]
fn splits_give_everything_away_and_follow_demand() {
    let mut random = Random(7);
    let mut below = |most: f64| whole(random.unit() * most);
    for _ in 0..2000 {
        let (total, counts) = (4 + below(200.0), [below(2000.0), below(400.0), below(20.0)]);
        let shares = shares(total, 0, &counts);
        assert_eq!(shares.iter().sum::<u32>(), total, "{counts:?}");
        let wanted: u32 = counts.iter().sum();
        for (share, count) in shares.into_iter().zip(counts) {
            assert!(share >= 1, "{total} between {counts:?}");
            let exact = f64::from(total) * f64::from(count) / f64::from(wanted.max(1));
            // A tenth, and two where whole ones and the least one count.
            let off = (f64::from(share) - exact).abs();
            assert!(wanted <= total || off <= 2.0 + f64::from(total) / 10.0, "{share} of {total} between {counts:?}");
        }
    }
}

#[test]
fn slow_clients_of_the_nodes_take_half_at_most() {
    assert_eq!(shares(30, 10, &[200, 80, 20]).iter().sum::<u32>(), 20);
    assert_eq!(shares(30, 100, &[200, 80, 20]).iter().sum::<u32>(), 15);
    assert_eq!(shares(4, 100, &[200]), [2]);
}

#[test]
fn big_requests_that_wait_take_no_share_that_they_can_not_use() {
    let bulk = Want { big: 215, big_in_flight: 8, ..Want::default() };
    let small = Want { small: 16, ..Want::default() };
    let split = split(32, 0, &BTreeMap::from([("a".to_owned(), bulk), ("b".to_owned(), small)]));
    assert_eq!((split["a"], split["b"]), (16, 16));
}

#[test]
fn small_requests_go_on_beside_big_ones_that_are_more_than_the_share() {
    let after_a_fall = |share, big_in_flight| {
        let want = Want { small: 100, big: 100, big_in_flight };
        split(share, 0, &BTreeMap::from([("a".to_owned(), want)]))["a"]
    };
    assert_eq!(after_a_fall(4, 16), 20);
    assert_eq!(after_a_fall(20, 16), 32);
    assert_eq!(after_a_fall(1, 1), 2);
    for (share, big) in (1..40).flat_map(|share| (0..40).map(move |big| (share, big))) {
        let given = after_a_fall(share, big);
        assert!(given / 2 <= big.max(share / 2), "{given} let more than {big} big ones begin");
        assert!(given - big >= share.min(big), "{given} leave small ones too little beside {big}");
    }
}

#[test]
fn one_that_was_not_heard_may_begin_with_some() {
    assert_eq!(
        [(32, 1), (32, 3), (4, 3), (1000, 3), (12, 0)].map(|(total, count)| unheard(total, count)),
        [8, 5, 1, 8, 6]
    );
}
