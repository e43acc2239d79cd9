//! The rule of stealing, case by case and for any sight of the clusters.

use flotilla_api::ClusterName;
use proptest::prelude::*;

use super::*;

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a good name")
}

/// A cluster with free credits and an empty queue.
fn idle(name: &str, score_milli: u32) -> Seen {
    Seen {
        cluster: cluster(name),
        fresh: true,
        age_ms: Some(100),
        takes_new: true,
        free_small: 4,
        free_big: 2,
        waiting_small: 0,
        waiting_big: 0,
        movable_small: 0,
        movable_big: 0,
        units: 0,
        oldest_movable_ms: 0,
        under_way_small_ms: None,
        score_milli,
    }
}

/// A cluster without credits for which small requests wait, all of them movable.
fn stuck(name: &str, waiting_small: u32) -> Seen {
    let units = u64::from(waiting_small);
    let counts = Seen { waiting_small, movable_small: waiting_small, units, ..idle(name, 100) };
    Seen { free_small: 0, free_big: 0, ..counts }
}

fn take(thief: &str, from: &str, lane: Lane) -> Verdict {
    Verdict::Take { thief: cluster(thief), from: cluster(from), lane }
}

#[test]
fn the_best_idle_one_takes_from_the_longest_queue() {
    let seen = [stuck("a", 3), idle("b", 500), stuck("c", 9), idle("d", 700)];
    assert_eq!(steal(&seen), take("d", "c", Lane::Small));
    let ties = [stuck("c", 3), idle("e", 500), stuck("a", 3), idle("d", 500)];
    assert_eq!(steal(&ties), take("d", "a", Lane::Small), "ties go by name");
}

#[test]
fn nobody_takes_what_would_be_done_sooner_where_it_is() {
    let after = |ms, side: Seen| Seen { under_way_small_ms: Some(ms), ..side };
    let slow = after(370, idle("c", 900));
    assert_eq!(steal(&[after(60, stuck("a", 9)), slow.clone()]), Verdict::Nothing(Why::NobodyIsSooner));
    let fast = after(60, idle("b", 100));
    assert_eq!(steal(&[after(60, stuck("a", 9)), fast.clone(), slow.clone()]), take("b", "a", Lane::Small));
    // The longest queue is not the only one that is looked at.
    let slower = after(400, stuck("d", 2));
    assert_eq!(steal(&[after(60, stuck("a", 9)), slower.clone(), slow.clone()]), take("c", "d", Lane::Small));
    // It has nothing under way.
    assert_eq!(steal(&[after(0, stuck("a", 9)), idle("c", 1)]), take("c", "a", Lane::Small));
    // Its only credit is held by a big one.
    assert_eq!(steal(&[stuck("a", 9), slow.clone()]), take("c", "a", Lane::Small));
    // What is left of big ones is not known.
    let big = Seen { movable_small: 0, waiting_big: 1, movable_big: 1, ..after(60, stuck("a", 9)) };
    assert_eq!(steal(&[big, slow]), take("c", "a", Lane::Big));
}

#[test]
fn a_small_one_goes_before_a_big_one() {
    let big = Seen { waiting_big: 2, movable_big: 2, ..stuck("a", 3) };
    assert_eq!(steal(&[big.clone(), idle("b", 1)]), take("b", "a", Lane::Small));
    let big = Seen { movable_small: 0, ..big };
    assert_eq!(steal(&[big.clone(), idle("b", 1)]), take("b", "a", Lane::Big));
    let full_of_big = Seen { free_big: 0, ..idle("b", 1) };
    assert_eq!(steal(&[big.clone(), full_of_big]), Verdict::Nothing(Why::NobodyIsIdle));
    // Its big ones may wait because of the half that they may use, while it still has credits for small ones.
    let half = Seen { waiting_small: 0, free_small: 3, ..big };
    assert_eq!(steal(&[half, idle("b", 1)]), take("b", "a", Lane::Big));
}

#[test]
fn nothing_moves_without_a_reason() {
    let check = |seen: &[Seen], why| assert_eq!(steal(seen), Verdict::Nothing(why), "{seen:?}");
    check(&[], Why::NothingIsStuck);
    check(&[idle("a", 1), idle("b", 1)], Why::NothingIsStuck);
    check(&[Seen { movable_small: 0, ..stuck("a", 3) }, idle("b", 1)], Why::NothingIsStuck);
    check(&[Seen { free_small: 1, ..stuck("a", 3) }, idle("b", 1)], Why::NothingIsStuck);
    check(&[stuck("a", 3), stuck("b", 1)], Why::NobodyIsIdle);
    check(&[stuck("a", 3), Seen { waiting_big: 1, ..idle("b", 1) }], Why::NobodyIsIdle);
    check(&[stuck("a", 3), Seen { takes_new: false, ..idle("b", 1) }], Why::NobodyIsIdle);
    check(&[stuck("a", 3), Seen { fresh: false, ..idle("b", 1) }], Why::NobodyIsIdle);
    check(&[Seen { fresh: false, ..stuck("a", 3) }, idle("b", 1)], Why::NothingIsStuck);
    check(&[Seen { takes_new: false, ..stuck("a", 3) }, idle("b", 1)], Why::NothingIsStuck);
}

fn any_seen() -> impl Strategy<Value = Vec<Seen>> {
    let flags = (prop::bool::weighted(0.8), prop::bool::weighted(0.8));
    let counts = (0..3u32, 0..3u32, 0..4u32, 0..4u32, 0..4u32, 0..4u32);
    let one = (flags, counts, 0..3u32, prop::option::of(0..3u64)).prop_map(
        |((fresh, takes_new), counts, score_milli, ms)| {
            let (free_small, free_big, movable_small, movable_big, homes_small, homes_big) = counts;
            let (waiting_small, waiting_big) = (movable_small + homes_small, movable_big + homes_big);
            let units = u64::from(waiting_small + 5 * waiting_big);
            let idle = Seen { under_way_small_ms: ms, ..idle("a", score_milli) };
            let counts = Seen { waiting_small, waiting_big, movable_small, movable_big, units, ..idle };
            Seen { fresh, takes_new, free_small: free_small.max(free_big), free_big, ..counts }
        },
    );
    prop::collection::vec(one, 0..5).prop_map(|mut seen| {
        for (n, side) in seen.iter_mut().enumerate() {
            side.cluster = cluster(&format!("c{n}"));
        }
        seen
    })
}

proptest! {
    #[test]
    fn no_verdict_moves_what_it_should_not(mut seen in any_seen()) {
        let total = |seen: &[Seen]| seen.iter().map(|side| side.units).sum::<u64>();
        let credits = |seen: &[Seen]| seen.iter().map(|side| u64::from(side.free_small)).sum::<u64>();
        let (begun, mut moved) = (credits(&seen), 0);
        while let Verdict::Take { thief, from, lane } = steal(&seen) {
            let again = take(thief.as_str(), from.as_str(), lane);
            prop_assert_eq!(steal(&seen), again, "the same sight, the same verdict");
            prop_assert_ne!(&thief, &from);
            for side in seen.iter().filter(|side| side.cluster == thief || side.cluster == from) {
                prop_assert!(side.fresh && side.takes_new, "{:?}", side);
            }
            let side = |name: &ClusterName| seen.iter().find(|side| side.cluster == *name).expect("it was seen");
            let under_way = [side(&thief), side(&from)].map(|side| side.under_way_small_ms);
            let later = matches!(under_way, [Some(thief), Some(from)] if thief > from);
            prop_assert!(lane == Lane::Big || !later, "it is done later there");
            let before = total(&seen);
            for side in &mut seen {
                if side.cluster == from {
                    // None of those whose home it is.
                    let (waiting, movable, units) = match lane {
                        Lane::Small => (&mut side.waiting_small, &mut side.movable_small, 1),
                        Lane::Big => (&mut side.waiting_big, &mut side.movable_big, 5),
                    };
                    prop_assert!(*movable > 0);
                    *movable -= 1;
                    *waiting -= 1;
                    side.units -= units;
                }
                if side.cluster == thief {
                    prop_assert!(side.waiting_small + side.waiting_big == 0, "{:?} has work of its own", side);
                    prop_assert!(side.free_small > 0 && (lane == Lane::Small || side.free_big > 0));
                    side.free_small -= 1;
                    side.free_big = side.free_big.min(side.free_small);
                }
            }
            prop_assert!(total(&seen) < before);
            moved += 1;
            prop_assert!(moved <= begun, "no more than there are credits");
        }
    }
}
