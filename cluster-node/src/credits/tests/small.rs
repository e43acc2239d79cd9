//! The controller on a model whose clients ask for small files alone, and for more than can be done.

use super::{
    super::{Probing, half_of_unqueued},
    model::{MINUTE, Model, SEEDS, Seen, USUAL, alone_ms, mean_ms, of_bound, per_ms, recovered},
};

#[test]
fn a_cold_start_under_load_serves_and_learns_how_long_answers_take_alone() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (1.0, 1), (1.0, 3), (0.25, 1), (0.25, 3), (0.1, 1), (0.1, 3)] {
        for seed in 0..SEEDS {
            let mut model = Model::asked(seed, cores, count, 10.0);
            let log = model.log_of(6);
            let served = per_ms(&log) / cores * USUAL.0;
            assert!(served >= 0.55, "{served} in 3 s, {cores} cores, {count} supernodes, seed {seed}");
            let credits = log.iter().map(|seen| seen.credits).fold(0.0, f64::max);
            assert!(credits <= 48.0, "{credits} by a guess, {cores} cores, {count} supernodes, seed {seed}");
            model.run(9);
            let taken_ms = model.control.alone.us[1].expect("there were writes") / 1000.0;
            let alone_ms = alone_ms(USUAL, cores, count);
            let ratio = taken_ms / alone_ms;
            assert!((0.4..=2.0).contains(&ratio), "{ratio} with {cores} cores, {count} supernodes, seed {seed}");
        }
    }
}

#[test]
fn tenfold_demand_is_served_at_capacity_and_answers_stay_quick() {
    for cores in [3.0, 1.0, 0.25, 0.1] {
        for count in 1..=3 {
            let mut measured_twice = Vec::new();
            for seed in 0..SEEDS {
                let log = Model::asked(seed, cores, count, 10.0).log_of(20 + 2 * MINUTE);
                let served = per_ms(&log[20..]) / cores * USUAL.0;
                assert!(served >= 0.95, "{served} of {cores} cores, {count} supernodes, seed {seed}");
                measured_twice.extend_from_slice(&log[20 + MINUTE..]);
            }
            let of_bound = of_bound(&measured_twice, USUAL, cores, count);
            assert!(of_bound <= 1.0, "{of_bound} with {cores} cores, {count} supernodes");
        }
    }
}

#[test]
fn less_capacity_is_followed_within_ten_windows() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (1.0, 1), (1.0, 3), (0.25, 1), (0.25, 3)] {
        for seed in 0..SEEDS {
            let mut model = Model::asked(seed, cores, count, 10.0);
            model.run(40).cores *= 0.4;
            let log = model.log_of(50);
            let quick = |four: &[Seen]| of_bound(four, USUAL, 0.4 * cores, count) <= 1.0;
            let at = log.windows(4).position(quick);
            assert!(at.is_some_and(|at| at <= 10), "{at:?} with {cores} cores, {count} supernodes, seed {seed}");
            let served = per_ms(&log[10..]) / 0.4 / cores * USUAL.0;
            assert!(served >= 0.9, "{served} of {cores} cores, {count} supernodes, seed {seed}");
        }
    }
}

#[test]
fn more_capacity_is_used_within_twenty_windows() {
    for (cores, count) in [(1.0, 1), (1.0, 3), (0.25, 1), (0.25, 3), (0.1, 1), (0.1, 3)] {
        for seed in 0..SEEDS {
            let mut model = Model::asked(seed, cores, count, 25.0);
            model.run(40).cores *= 2.5;
            let at = recovered(&model.log_of(40), 2.5 * cores / USUAL.0);
            assert!(at.is_some_and(|at| at <= 20), "{at:?} with {cores} cores, {count} supernodes, seed {seed}");
        }
    }
}

/// The window from which on a disk that is eight times slower serves as much as before; it may come right after a
/// probe.
fn slower_disk(seed: u64, cores: f64, count: usize, probing: Probing) -> Option<usize> {
    let mut model = Model::asked(seed, cores, count, 10.0);
    model.probing = probing;
    model.run(30 + 3 * seed as usize).kinds = [(USUAL.0, 8.0 * USUAL.1); 3];
    recovered(&model.log_of(80), cores / USUAL.0)
}

#[test]
fn a_slower_disk_is_told_from_more_load() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (1.0, 1), (1.0, 3)] {
        for seed in 0..SEEDS {
            let at = slower_disk(seed, cores, count, half_of_unqueued);
            assert!(at.is_some_and(|at| at <= 40), "{at:?} with {cores} cores, {count} supernodes, seed {seed}");
        }
    }
    for count in [1, 3] {
        assert_eq!(slower_disk(0, 3.0, count, |_| None), None, "without a probe {count} supernodes starve");
    }
}

/// How long answers take in minutes 9 to 11 of an overload, compared with minutes 3 to 5, and as a share of what is
/// promised.
fn drift(cores: f64, count: usize, probing: Probing) -> (f64, f64) {
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let mut model = Model::asked(seed, cores, count, 10.0);
        model.probing = probing;
        let log = model.log_of(11 * MINUTE);
        early.extend_from_slice(&log[2 * MINUTE..5 * MINUTE]);
        late.extend_from_slice(&log[8 * MINUTE..]);
    }
    (mean_ms(&late) / mean_ms(&early), of_bound(&late, USUAL, cores, count))
}

#[test]
fn ten_minutes_of_overload_do_not_drift() {
    for (cores, count) in [(1.0, 1), (0.25, 1), (0.25, 3)] {
        let (ratio, of_bound) = drift(cores, count, half_of_unqueued);
        assert!((0.8..=1.2).contains(&ratio), "{ratio} with {cores} cores, {count} supernodes");
        assert!(of_bound <= 1.0, "{of_bound} with {cores} cores, {count} supernodes");
    }
    let (ratio, of_bound) = drift(0.25, 1, |control| Some(0.5 * control.credits));
    assert!(ratio > 1.2 && of_bound > 4.0, "a probe at half of the credits runs away: {ratio}, {of_bound}");
}

/// Reads alone, then writes alone, twice: the least share of the capacity that is served in ten seconds after a turn,
/// and how many times longer than alone reads take after one.
fn turns(seed: u64, cores: f64, blurred: bool) -> (f64, f64) {
    let kinds = [(0.6, 0.6), (1.2, 10.0)];
    let mut model = Model::new(seed, cores, 1, 10.0 * cores / kinds[0].0);
    (model.kinds, model.reads, model.blurred) = ([kinds[0], kinds[1], USUAL], 1.0, blurred);
    model.run(40);
    let (mut served, mut slower): (f64, f64) = (1.0, 0.0);
    for reads in [0.0, 1.0, 0.0, 1.0] {
        model.reads = reads;
        let log = model.log_of(60);
        let kind = if reads > 0.5 { kinds[0] } else { kinds[1] };
        served = served.min(per_ms(&log[..20]) / cores * kind.0);
        if reads > 0.5 {
            slower = slower.max(mean_ms(&log[5..]) / alone_ms(kind, cores, 1));
        }
    }
    (served, slower)
}

#[test]
fn reads_and_writes_are_not_measured_by_each_other() {
    for (cores, seed) in [(3.0, 0), (3.0, 1), (1.0, 0), (1.0, 1)] {
        let (served, slower) = turns(seed, cores, false);
        assert!(served >= 0.65 && slower <= 8.0, "{served}, {slower} with {cores} cores, seed {seed}");
        let (served, slower) = turns(seed, cores, true);
        assert!(slower > 12.0, "one measure for both lets reads wait: {served}, {slower}");
    }
}

#[test]
fn a_spike_leaves_nothing_behind() {
    for (cores, count) in [(3.0, 1), (1.0, 1), (1.0, 3), (0.25, 1)] {
        let mut model = Model::asked(1, cores, count, 0.7);
        model.run(40).supernodes.iter_mut().for_each(|supernode| supernode.per_ms *= 10.0 / 0.7);
        model.run(20).supernodes.iter_mut().for_each(|supernode| supernode.per_ms *= 0.7 / 10.0);
        let log = model.log_of(160);
        let (soon, later) = (per_ms(&log[..20]) / cores * USUAL.0, per_ms(&log[120..]) / cores * USUAL.0);
        assert!(soon >= 0.69, "{soon} right after it, {cores} cores, {count} supernodes");
        assert!((0.69..=0.72).contains(&later), "{later} a minute after it, {cores} cores, {count} supernodes");
        let waiting: u32 = model.supernodes.iter().map(|supernode| supernode.waiting).sum();
        assert_eq!(waiting, 0, "{cores} cores, {count} supernodes");
    }
}
