//! What is wrong with a key, and the order in which pages are compared.

use flotilla_api::peer::Home;
use proptest::prelude::*;

use super::{
    super::testing::{cluster, home, name},
    *,
};

fn held(home: Home, unused: bool) -> Option<Held> {
    Some(Held { home, unused })
}

fn record(by: &str, epoch: u64, state: RecordState) -> (ClusterName, Epoch, RecordState) {
    (cluster(by), Epoch(epoch), state)
}

fn what(held: Option<Held>, records: &[(ClusterName, Epoch, RecordState)]) -> Option<What> {
    match (Sight { held, records: records.to_vec() }).judge(&name("k")) {
        Found::Used | Found::Unused => None,
        Found::Wrong(finding) => Some(finding.what),
    }
}

#[test]
fn both_sides_agree_or_it_is_told_how_they_differ() {
    use RecordState::{Closed, Open, Sealed};
    let open = |by, epoch| record(by, epoch, Open);
    assert_eq!(what(held(home("a", 1), false), &[open("a", 1)]), None);
    assert_eq!(what(held(home("a", 1), true), &[record("a", 1, Sealed)]), None, "not confirmed yet");
    assert_eq!(what(held(home("a", 1), true), &[]), None, "a claim that nobody has used");
    assert_eq!(what(held(home("a", 1), false), &[record("a", 1, Closed)]), None, "a home that ends");
    assert_eq!(what(None, &[record("a", 1, Closed)]), None, "one that has ended");
    assert_eq!(what(held(home("b", 2), false), &[record("a", 1, Closed), open("b", 2)]), None, "one that moved");
    assert_eq!(what(None, &[open("a", 1)]), Some(What::Unknown));
    assert_eq!(what(held(home("b", 2), true), &[open("a", 1)]), Some(What::Other));
    assert_eq!(what(held(home("a", 2), false), &[open("a", 1)]), Some(What::Other));
    assert_eq!(what(held(home("a", 2), false), &[record("a", 1, Closed)]), Some(What::Lost));
    assert_eq!(what(held(home("a", 1), false), &[]), Some(What::Lost));
    assert_eq!(what(held(home("a", 1), false), &[open("a", 1), open("b", 2)]), Some(What::Twice));
    let Found::Wrong(finding) =
        (Sight { held: held(home("b", 2), false), records: vec![open("a", 1)] }).judge(&name("k"))
    else {
        panic!("they differ")
    };
    assert_eq!((finding.key.as_deref(), finding.clusters), (Some("demo/k"), vec![cluster("a"), cluster("b")]));
}

fn key(n: u8) -> FileName {
    name(&format!("k{n:03}"))
}

fn next<T: Clone>(all: &[(FileName, T)], side: &mut Side<T>, page: usize) {
    let after = side.last().cloned();
    let rows: Vec<_> = all.iter().filter(|(name, _)| after.as_ref().is_none_or(|last| name > last)).collect();
    let ended = rows.len() < page;
    side.fill(rows.into_iter().take(page).cloned().collect(), ended);
}

proptest! {
    /// Every key is seen once, with all that any side has of it, however long the pages are.
    #[test]
    fn pages_of_all_sides_are_one_sequence(
        directory in prop::collection::btree_set(0u8..60, 0..40),
        a in prop::collection::btree_set(0u8..60, 0..40),
        b in prop::collection::btree_set(0u8..60, 0..40),
        pages in (1usize..7, 1usize..7, 1usize..7),
    ) {
        let rows = |keys: &std::collections::BTreeSet<u8>| -> Vec<(FileName, (Epoch, RecordState))> {
            keys.iter().map(|n| (key(*n), (Epoch(1), RecordState::Open))).collect()
        };
        let homes: Vec<(FileName, Held)> =
            directory.iter().map(|n| (key(*n), Held { home: home("a", 1), unused: false })).collect();
        let (in_a, in_b) = (rows(&a), rows(&b));
        let mut sides = Sides::default();
        sides.clusters.insert(cluster("a"), Side::default());
        sides.clusters.insert(cluster("b"), Side::default());
        let mut seen: Vec<(FileName, Sight)> = Vec::new();
        loop {
            if sides.directory.is_hungry() {
                next(&homes, &mut sides.directory, pages.0);
            }
            for (name, all, page) in [("a", &in_a, pages.1), ("b", &in_b, pages.2)] {
                let side = sides.clusters.get_mut(&cluster(name)).expect("it is there");
                if side.is_hungry() {
                    next(all, side, page);
                }
            }
            let taken = sides.take();
            if taken.is_empty() {
                break;
            }
            seen.extend(taken);
        }
        let all: Vec<u8> = directory.union(&a).copied().collect::<std::collections::BTreeSet<u8>>().union(&b).copied().collect();
        prop_assert_eq!(seen.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), all.iter().map(|n| key(*n)).collect::<Vec<_>>());
        for (n, (_, sight)) in all.iter().zip(&seen) {
            prop_assert_eq!(sight.held.is_some(), directory.contains(n));
            prop_assert_eq!(sight.records.len(), usize::from(a.contains(n)) + usize::from(b.contains(n)));
        }
    }
}
