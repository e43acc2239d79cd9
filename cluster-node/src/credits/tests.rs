//! The controller, rule by rule; its modules have it on a model.

mod mixed;
mod model;
mod shares;
mod small;

use flotilla_api::peer::{Answered, Felt};
use model::{MINUTE, WINDOW_MS};

use super::*;

/// A window of one supernode: small writes that took so long each, and whether more were wanted.
fn told(count: u32, each_us: u64, in_flight: u64, saturated: bool) -> Window {
    Window {
        span_ms: WINDOW_MS,
        supernodes: 1,
        small: [Answered::default(), Answered { count, us: u64::from(count) * each_us }],
        in_flight_milli: in_flight * 1000,
        saturated_ms: if saturated { WINDOW_MS } else { 0 },
        ..Window::default()
    }
}

/// The control after so many windows like this one.
fn after(control: Control, windows: usize, window: &Window, load: Load) -> Control {
    (0..windows).fold(control, |control, _| next(&control, window, load))
}

/// A control that knows how long writes take alone: a millisecond.
fn measured() -> Control {
    Control::resume(&[Offer { credits: 0, total: 32, read_us: None, write_us: Some(1000), strain_milli: 1000 }])
}

#[test]
fn where_nobody_wants_more_credits_stay() {
    let begun = measured();
    assert_eq!(next(&begun, &Window::default(), Load::default()), begun, "nobody told anything");
    let slow_but_few = after(begun, 100, &told(20, 9000, 2, false), Load::default());
    assert_eq!(slow_but_few.offered(), 32, "a few slow answers on an idle cluster");
    let quick_and_many = after(begun, 100, &told(200, 1000, 30, false), Load::default());
    assert_eq!(quick_and_many.offered(), 32);
    assert!(next(&begun, &told(200, 1000, 32, true), Load::default()).offered() > 32);
    let short = Load { memory_short: true, ..Load::default() };
    assert_eq!(after(begun, 100, &told(200, 1000, 32, true), short).offered(), 32, "memory is short");
}

#[test]
fn a_cluster_that_fails_or_hangs_is_asked_for_less() {
    let failing = Window { failed: 20, ..told(200, 1000, 32, true) };
    assert!(after(measured(), 20, &failing, Load::default()).offered() < 20);
    let hanging = told(0, 0, 32, true);
    assert!(after(measured(), 60, &hanging, Load::default()).offered() < 5);
    let swallowing = Window { bytes: 1 << 20, ..hanging };
    assert!(after(measured(), 60, &swallowing, Load::default()).offered() < 5, "bodies of small ones, and no answer");
    assert_eq!(after(measured(), 60, &told(0, 0, 32, false), Load::default()).offered(), 32, "nobody waits");
}

/// A window of big ones alone, which move.
fn bulk() -> Window {
    Window { bytes: 1 << 20, in_flight_big_milli: 16_000, ..told(0, 0, 16, true) }
}

#[test]
fn big_requests_alone_get_more_while_processors_and_memory_last() {
    let more = after(measured(), 400, &bulk(), Load::default());
    assert_eq!(more.offered(), whole(BULK_MAX));
    for load in [Load { busiest_cpu: 0.95, memory_short: false }, Load { busiest_cpu: 0.2, memory_short: true }] {
        assert_eq!(after(measured(), 400, &bulk(), load).offered(), 32, "{load:?}");
    }
}

/// The same for two seconds.
fn long(window: Window) -> Window {
    Window { span_ms: 2000, saturated_ms: 4 * window.saturated_ms, ..window }
}

#[test]
fn a_few_small_answers_do_not_rule_big_requests() {
    let few = long(told(3, 50_000, 16, true));
    let beside = Window { small: few.small, ..long(bulk()) };
    assert!(after(measured(), 40, &beside, Load::default()).offered() > 32);
    assert!(after(measured(), 40, &few, Load::default()).offered() < 5, "a slow cluster");
}

#[test]
fn big_requests_are_cut_by_the_share_that_fails() {
    let looks = |failed, others| {
        let window = Window { failed, others, ..bulk() };
        after(measured(), 40, &window, Load::default()).offered()
    };
    assert!(looks(0, 0) > 32);
    assert!(looks(1, 20) > 32, "4 of 84 in a look");
    assert!(looks(4, 20) < 10);
    let one = Window { failed: 1, ..long(bulk()) };
    assert!(after(measured(), 10, &one, Load::default()).offered() > 32, "one client alone");
}

#[test]
fn credits_come_back_unasked_while_all_is_well() {
    let fallen = after(measured(), 60, &told(0, 0, 32, true), Load::default());
    let idle = Window { span_ms: WINDOW_MS, supernodes: 1, ..Window::default() };
    for (window, back) in [
        (idle, 32),
        (told(20, 1000, 1, false), 32),
        (Window { saturated_ms: 0, ..bulk() }, 32),
        (told(0, 0, 3, false), 4),
        (told(20, 1800, 3, false), 32),
        (told(900, 1800, 3, false), 4),
        (Window { failed: 5, ..told(20, 1000, 1, false) }, 4),
    ] {
        assert_eq!(after(fallen, MINUTE, &window, Load::default()).offered(), back, "{window:?}");
        let short = Load { memory_short: true, ..Load::default() };
        assert_eq!(after(fallen, MINUTE, &window, short).offered(), 4, "{window:?}");
    }
}

/// How often it was probed and measured while windows were like this one.
fn probed(mut control: Control, windows: usize, window: &Window) -> (usize, usize, Control) {
    let (mut drained, mut measured) = (0, 0);
    for _ in 0..windows {
        control = next(&control, window, Load::default());
        drained += usize::from(matches!(control.phase, Phase::Draining { windows: 0, .. }));
        measured += usize::from(matches!(control.phase, Phase::Measuring { .. }));
    }
    (drained, measured, control)
}

#[test]
fn a_probe_does_not_wait_for_big_requests_and_is_not_misled_by_them() {
    let beside = Window { in_flight_big_milli: 16_000, bytes: 1, ..told(200, 9000, 20, true) };
    let (drained, measured, control) = probed(measured(), 4 * MINUTE, &beside);
    assert!(measured >= 3 && measured == drained, "{measured} of {drained}");
    assert_eq!(control.alone.us[1], Some(1000.0), "with more credits there would be more of them");
    let few = Window { in_flight_milli: 8000, in_flight_big_milli: 4000, ..beside };
    let alone_us = probed(control, 2 * MINUTE, &few).2.alone.us[1].expect("it was known");
    assert!(alone_us > 8000.0, "{alone_us}");
}

#[test]
fn a_probe_that_serves_as_much_as_before_is_followed_by_a_smaller_one() {
    // Ten are under way where none waits; a probe of six, and the next one would have five.
    let loaded = Control { rates: Some([0.0, 10_000.0]), ..measured() };
    let probing = Control { phase: Phase::Measuring { probe: 6.0 }, apart_ms: 60_000, ..loaded };
    let alone = next(&probing, &told(3000, 1000, 6, true), Load::default());
    assert_eq!((alone.phase, alone.apart_ms), (Phase::Settling, 60_000));
    let guess = Alone { us: [None, Some(3000.0)], guessed: true };
    let queue = next(&Control { alone: guess, ..probing }, &told(4900, 800, 6, true), Load::default());
    assert_eq!(queue.phase, Phase::Draining { probe: 4.0, windows: 0 });
    assert_eq!(queue.alone, Alone { us: [None, Some(800.0)], guessed: true });
    assert_eq!(queue.apart_ms, 5000, "a probe that found much is no reason to wait with the next one");
    let nobody = next(&Control { alone: guess, ..probing }, &long(told(0, 0, 0, false)), Load::default());
    assert_eq!((nobody.phase, nobody.alone), (Phase::Settling, guess), "all went away meanwhile");
}

#[test]
fn a_probe_that_small_requests_hold_up_is_given_up() {
    let (drained, measured, control) = probed(measured(), 4 * MINUTE, &told(200, 1500, 24, true));
    assert!((3..=5).contains(&drained), "{drained}");
    assert_eq!((measured, control.alone.us[1]), (0, Some(1000.0)));
}

#[test]
fn a_cluster_that_stays_slow_is_probed_ever_more_seldom() {
    let slow = told(20, 2_000_000, 4, true);
    let answered_alone = told(20, 1000, 1, true);
    let mut control = after(measured(), 40, &slow, Load::default());
    let mut probes = Vec::new();
    for at in 0..10 * MINUTE {
        let measuring = matches!(control.phase, Phase::Measuring { .. });
        control = next(&control, if measuring { &answered_alone } else { &slow }, Load::default());
        if matches!(control.phase, Phase::Draining { windows: 0, .. }) {
            probes.push(at);
        }
    }
    assert!((6..=14).contains(&probes.len()), "{probes:?}");
    let calm = Window { saturated_ms: 0, ..slow };
    assert_eq!(probed(control, 10 * MINUTE, &calm).0, 0, "nobody waits");
}

#[test]
fn how_long_answers_take_alone_is_followed_down_at_once_and_up_in_calm_alone() {
    let alone_us = |windows, window: &Window| after(measured(), windows, window, Load::default()).alone.us[1];
    assert_eq!(alone_us(1, &told(200, 300, 30, true)), Some(500.0), "as low as noise may make it");
    assert_eq!(alone_us(1, &told(200, 700, 30, true)), Some(1000.0));
    assert_eq!(alone_us(1, &long(told(8, 300, 30, true))), Some(1000.0), "too few of them");
    assert_eq!(alone_us(1, &told(16, 2000, 4, false)), Some(1050.0));
    assert_eq!(alone_us(9, &told(16, 2000, 5, false)), Some(1000.0), "more than that may wait for each other");
    let direct = Window { direct: 3, ..told(16, 2000, 2, false) };
    assert_eq!(alone_us(9, &direct), Some(1000.0), "the nodes have clients of their own");
}

#[test]
fn what_a_supernode_is_slow_with_is_no_load_of_the_cluster() {
    // Of twenty that are under way one is at the nodes, which were quicker when it was measured.
    for supernodes in [1, 3, 8] {
        let seen = |count| Window { supernodes, ..told(count, 9000, 20, false) };
        let (lagging, loaded) = (seen(50), seen(1100));
        assert_eq!(after(measured(), MINUTE, &lagging, Load::default()).offered(), 32);
        let fallen = after(measured(), MINUTE, &loaded, Load::default());
        assert_eq!(fallen.offered(), 4, "they are there");
        assert_eq!(after(fallen, MINUTE, &lagging, Load::default()).offered(), 32, "{supernodes} supernodes");
    }
}

#[test]
fn no_credits_come_back_while_the_nodes_have_more_of_their_own_clients() {
    let clogged = |direct| Window { direct, ..told(50, 9000, 20, false) };
    let fallen = after(measured(), MINUTE, &told(1100, 9000, 20, false), Load::default());
    assert_eq!(after(fallen, MINUTE, &clogged(48), Load::default()).offered(), 4);
    assert_eq!(after(fallen, MINUTE, &clogged(1), Load::default()).offered(), 32, "one client clogs nothing");
    assert_eq!(
        after(measured(), MINUTE, &clogged(48), Load::default()).offered(),
        32,
        "nor do supernodes pay for them"
    );
}

#[test]
fn one_slow_answer_in_a_probe_is_no_slower_disk() {
    let reads = Answered { count: 40, us: 40_000 };
    let mixed = |count, us| [reads, Answered { count, us }];
    let before = Alone { us: [Some(1000.0), Some(5000.0)], guessed: false };
    let learnt = |small| {
        let mut alone = before;
        (alone.learn(small, true), alone.us[1])
    };
    assert_eq!(learnt(mixed(1, 900_000)), (false, Some(5000.0)));
    assert_eq!(learnt(mixed(4, 80_000)), (true, Some(20_000.0)));
    assert_eq!(learnt(mixed(4, 28_000)), (false, Some(6000.0)), "a mean of both where they nearly agree");
    let mut guess = Alone { guessed: true, ..before };
    guess.learn(mixed(4, 28_000), true);
    assert_eq!(guess.us[1], Some(7000.0), "a guess weighs nothing");
}

#[test]
fn the_first_window_is_a_guess_that_the_next_load_has_measured() {
    let loaded = told(40, 12_000, 12, false);
    let begun = after(Control::default(), 3, &loaded, Load::default());
    assert_eq!(begun.alone, Alone { us: [None, Some(12_000.0)], guessed: true });
    let asked = next(&begun, &told(40, 12_000, 32, true), Load::default());
    assert!(matches!(asked.phase, Phase::Draining { .. }), "{:?}", asked.phase);
    let resumed = next(&measured(), &told(400, 1500, 32, true), Load::default());
    assert_eq!(resumed.phase, Phase::Free, "what another leader measured is none");
}

#[test]
fn a_new_leader_goes_on_from_what_was_offered() {
    let mut before = measured();
    before.credits = 200.0;
    let offers = [before.offer(100), before.offer(60), Control::default().offer(1)];
    let resumed = Control::resume(&offers);
    assert_eq!((resumed.offered(), resumed.alone.us), (200, before.alone.us));
    assert_eq!(Control::resume(&[]), Control::default());
}

#[test]
fn windows_are_added_up_and_put_behind_each_other() {
    let felt = Felt {
        window_ms: 500,
        in_flight_milli: 4000,
        in_flight_big_milli: 2000,
        saturated_ms: 100,
        bytes: 7,
        others: 2,
        ..Felt::default()
    };
    let (a, b) = (Window::of(&felt), Window { saturated_ms: 400, failed: 1, others: 1, ..told(3, 10, 2, false) });
    let both = Window::gather([a, b], 5);
    assert_eq!((both.span_ms, both.supernodes, both.saturated_ms, both.others), (500, 2, 400, 3));
    assert_eq!((both.in_flight_milli, both.in_flight_big_milli), (6000, 2000));
    assert_eq!((both.direct, both.bytes, both.failed), (5, 7, 1));
    let then = both.then(Window { span_ms: 1500, others: 4, ..told(1, 30, 2, false) });
    assert_eq!((then.span_ms, then.supernodes, then.saturated_ms, then.others), (2000, 1, 400, 7));
    assert_eq!((then.in_flight_milli, then.in_flight_big_milli, then.direct), (3000, 500, 0));
    assert_eq!(then.small[1], Answered { count: 4, us: 60 });
    assert_eq!(Window::default().then(both), both);
}
