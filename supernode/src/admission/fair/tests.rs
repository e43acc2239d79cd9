//! The fair queue against a plain list, and its promises for principals that always wait.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::*;

/// A queue of numbers that come one after the other.
struct Lab {
    fair: Fair<u64>,
    start: Instant,
    next: u64,
}

impl Lab {
    fn new(lines_max: usize) -> Self {
        Self { fair: Fair::new(lines_max), start: Instant::now(), next: 0 }
    }

    fn push(&mut self, principal: &str, units: u32) -> u64 {
        self.next += 1;
        self.push_at(principal, units, self.next)
    }

    /// Pushes one that came as the one of that number did.
    fn push_at(&mut self, principal: &str, units: u32, came: u64) -> u64 {
        self.next += 1;
        let at = self.start + Duration::from_millis(came);
        self.fair.push(Item { what: self.next, principal: principal.into(), units, bytes: 10, at });
        self.next
    }

    fn pop(&mut self) -> Option<(String, u64)> {
        self.fair.pop(|_| true).map(|item| (item.principal.to_string(), item.what))
    }

    fn principals(&mut self, count: usize) -> String {
        (0..count).filter_map(|_| self.pop()).map(|(principal, _)| principal).collect()
    }
}

#[test]
fn turns_are_of_four_units() {
    let mut lab = Lab::new(8);
    for _ in 0..6 {
        lab.push("a", 1);
        lab.push("b", 2);
    }
    lab.push("c", 9);
    assert_eq!(lab.principals(13), "aaaabbaabbbbc", "c has saved up for its 9 units in the third round");
    assert_eq!((lab.pop(), lab.fair.is_empty(), lab.fair.units(), lab.fair.bytes()), (None, true, 0, 0));
}

#[test]
fn a_line_that_was_empty_has_saved_nothing() {
    let mut lab = Lab::new(8);
    lab.push("a", 1);
    let big = lab.push("a", 64);
    lab.push("b", 1);
    assert_eq!(lab.principals(2), "ab");
    lab.fair.remove("a", &big);
    for _ in 0..8 {
        lab.push("b", 1);
        lab.push("a", 1);
    }
    assert_eq!(lab.principals(9), "bbbbaaaab");
}

#[test]
fn who_comes_again_stands_where_it_stood() {
    let mut lab = Lab::new(8);
    let (first, second) = (lab.push("a", 1), lab.push("a", 1));
    let again = lab.push_at("a", 1, 0);
    let between = lab.push_at("a", 1, first);
    let order: Vec<u64> = std::iter::from_fn(|| lab.pop()).map(|(_, what)| what).collect();
    assert_eq!(order, [again, first, between, second]);
}

#[test]
fn a_line_with_nothing_that_fits_keeps_its_turn() {
    let mut lab = Lab::new(8);
    for _ in 0..4 {
        lab.push("a", 1);
        lab.push("b", 1);
    }
    assert_eq!(lab.principals(1), "a");
    for _ in 0..2 {
        let item = lab.fair.pop(|what| what.is_multiple_of(4)).expect("b has some");
        assert_eq!(&*item.principal, "b");
    }
    assert_eq!(lab.principals(5), "aaabb");
    lab.push("a", 1);
    assert_eq!(lab.fair.pop(|_| false), None);
    assert_eq!(lab.fair.len(), 1);
}

#[test]
fn the_longest_line_gives_its_newest() {
    let mut lab = Lab::new(8);
    lab.push("a", 1);
    let [older, newest] = [lab.push("b", 1), lab.push("b", 1)];
    assert_eq!(lab.fair.longest(Measure::Count), Some(("b", 2)));
    assert_eq!(lab.fair.longest(Measure::Bytes), Some(("b", 20)));
    assert_eq!(lab.fair.drop_newest("b", |what| *what == newest).map(|item| item.what), Some(older), "it is spared");
    assert_eq!((lab.fair.line_length("b", Measure::Count), lab.fair.line_length("c", Measure::Count)), (1, 0));
    assert_eq!(lab.fair.drop_newest("b", |_| true).map(|item| item.what), Some(newest), "there is no other");
    assert_eq!(lab.fair.drop_newest("c", |_| false), None);
}

#[test]
fn those_without_a_line_of_their_own_share_one_in_order() {
    let mut lab = Lab::new(2);
    let mut order = Vec::new();
    for principal in ["a", "b", "c", "d"] {
        order.push(lab.push(principal, 4));
    }
    assert_eq!(lab.fair.line_length("e", Measure::Count), 2, "of c and d");
    assert!(lab.fair.remove("a", &order[0]).is_some());
    // There is room for a line now, but who stands in the shared one goes on there: else it would pass itself.
    let last = lab.push("c", 4);
    assert_eq!(lab.fair.line_length("d", Measure::Count), 3);
    let served: Vec<u64> = std::iter::from_fn(|| lab.pop()).map(|(_, what)| what).collect();
    assert_eq!(served, [order[1], order[2], order[3], last]);
    lab.push("c", 1);
    assert_eq!(lab.fair.longest(Measure::Count), Some(("c", 1)));
}

#[test]
fn those_that_leave_leave_nothing() {
    let mut lab = Lab::new(8);
    for principal in ["b", "a", "b", "c"] {
        lab.push(principal, 3);
    }
    let gone: Vec<u64> = lab.fair.drain(|item| item.what <= 4).iter().map(|item| item.what).collect();
    assert_eq!(gone, [2, 4], "in the order in which they came");
    assert_eq!((lab.fair.len(), lab.fair.units(), lab.fair.bytes()), (2, 6, 20));
    assert_eq!(lab.fair.oldest(|_| true), Some(lab.start + Duration::from_millis(5)));
    assert_eq!(lab.principals(3), "bc");
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, u32, u64),
    Pop(u64),
    Remove(usize),
    Drain(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize, 1..20u32, 0..5u64).prop_map(|(principal, units, back)| Step::Push(principal, units, back)),
        3 => (1..4u64).prop_map(Step::Pop),
        1 => (0..50usize).prop_map(Step::Remove),
        1 => (2..9u64).prop_map(Step::Drain),
    ]
}

proptest! {
    /// Nothing is lost or made up, and each principal's are served in the order in which they came.
    #[test]
    fn the_queue_holds_what_a_list_holds(lines_max in 1..6usize, steps in prop::collection::vec(step(), 0..200)) {
        let mut lab = Lab::new(lines_max);
        let mut list: Vec<Item<u64>> = Vec::new();
        for step in steps {
            match step {
                Step::Push(principal, units, back) => {
                    lab.next += 1;
                    let at = lab.start + Duration::from_millis(lab.next.saturating_sub(back));
                    let principal: Arc<str> = ["a", "b", "c", "d"][principal].into();
                    let item = Item { what: lab.next, principal, units, bytes: u64::from(units), at };
                    lab.fair.push(item.clone());
                    list.push(item);
                }
                Step::Pop(kind) => {
                    let popped = lab.fair.pop(|what| what.is_multiple_of(kind));
                    let fit = |item: &&Item<u64>| item.what.is_multiple_of(kind);
                    prop_assert_eq!(popped.is_some(), list.iter().any(|item| fit(&item)));
                    if let Some(popped) = popped {
                        let mut same = list.iter().filter(fit).filter(|item| item.principal == popped.principal);
                        prop_assert!(same.all(|item| popped.at <= item.at));
                        prop_assert!(list.contains(&popped));
                        list.retain(|item| item.what != popped.what);
                    }
                }
                Step::Remove(nth) => {
                    if let Some(item) = list.get(nth).cloned() {
                        prop_assert!(lab.fair.before(&item.principal, &item.what).is_some());
                        prop_assert_eq!(lab.fair.remove(&item.principal, &item.what), Some(item.clone()));
                        prop_assert_eq!(lab.fair.remove(&item.principal, &item.what), None);
                        list.remove(nth);
                    }
                }
                Step::Drain(kind) => {
                    let gone = lab.fair.drain(|item| item.what.is_multiple_of(kind));
                    prop_assert!(gone.is_sorted_by_key(|item| item.at));
                    let gone: BTreeSet<u64> = gone.iter().map(|item| item.what).collect();
                    let (left, stay): (Vec<_>, Vec<_>) =
                        list.into_iter().partition(|item| item.what.is_multiple_of(kind));
                    prop_assert_eq!(gone, left.iter().map(|item| item.what).collect::<BTreeSet<u64>>());
                    list = stay;
                }
            }
            let units: u64 = list.iter().map(|item| u64::from(item.units)).sum();
            prop_assert_eq!((lab.fair.len(), lab.fair.units(), lab.fair.bytes()), (list.len(), units, units));
            prop_assert_eq!(lab.fair.oldest(|_| true), list.iter().map(|item| item.at).min());
            prop_assert!(lab.fair.lines.len() <= lines_max + 1 && lab.fair.lines.len() == lab.fair.ring.len());
        }
        let served = std::iter::from_fn(|| lab.pop()).count();
        prop_assert_eq!(served, list.len());
    }

    /// The bound of deficit round robin, whatever the sizes.
    #[test]
    fn principals_that_always_wait_are_served_alike(units in prop::collection::vec(1..65u32, 200), count in 2..5usize) {
        let mut lab = Lab::new(8);
        let most = units.iter().max().copied().expect("there are 200");
        let names = &["a", "b", "c", "d"][..count];
        for (n, units) in units.iter().enumerate() {
            lab.push(names[n % count], *units);
        }
        let mut served = BTreeMap::new();
        loop {
            let item = lab.fair.pop(|_| true).expect("all wait");
            *served.entry(item.principal.to_string()).or_insert(0) += item.units;
            if names.iter().any(|name| lab.fair.line_length(name, Measure::Count) == 0) {
                break;
            }
            let of = |name: &&str| served.get(*name).copied().unwrap_or(0);
            let (least, best) = (names.iter().map(of).min(), names.iter().map(of).max());
            prop_assert!(best <= least.map(|least| least + QUANTUM + most), "{:?}", served);
        }
    }

    /// What is told to be ahead of a request is about what is served before it.
    #[test]
    fn what_is_ahead_is_served_first(
        before in prop::collection::vec((0..5usize, 1..65u32), 0..60),
        popped in 0..10usize,
        own in (0..5usize, 1..65u32),
    ) {
        let mut lab = Lab::new(8);
        let names = ["a", "b", "c", "d", "e"];
        for (principal, units) in before {
            lab.push(names[principal], units);
        }
        (0..popped).for_each(|_| drop(lab.pop()));
        let told = lab.fair.ahead(names[own.0], own.1);
        let mine = lab.push(names[own.0], own.1);
        prop_assert_eq!(lab.fair.before(names[own.0], &mine), Some(told));
        let others = lab.fair.lines.len() as u64 - 1;
        let mut served = 0;
        while let Some(item) = lab.fair.pop(|_| true).filter(|item| item.what != mine) {
            served += u64::from(item.units);
        }
        prop_assert!(served.abs_diff(told.units) <= 2 * others * u64::from(QUANTUM + 64), "{} and {:?}", served, told);
    }
}
