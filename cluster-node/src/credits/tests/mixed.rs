//! The controller on a model with big requests, clients that go to the nodes themselves, failures and changes of
//! leaders.

use super::{
    super::{BULK_MAX, CREDITS_FIRST, CREDITS_MIN, Load},
    model::{MINUTE, Model, SEEDS, Seen, USUAL, mean_ms, of_bound, per_ms, recovered},
};

/// Milliseconds of work and of waiting for a client: uploads that keep a processor busy, and those of slow clients.
const BUSY: (f64, f64) = (200.0, 0.0);
const SLOW: (f64, f64) = (10.0, 300_000.0);

/// A model with so many big ones waiting at each supernode, all the time, and small ones for a part of the capacity.
fn bulk(seed: u64, cores: f64, count: usize, kind: (f64, f64), times: f64) -> Model {
    let mut model = Model::asked(seed, cores, count, times);
    model.kinds[2] = kind;
    model.supernodes.iter_mut().for_each(|supernode| supernode.big = 200);
    model
}

fn mean(log: &[Seen], of: impl Fn(&Seen) -> f64) -> f64 {
    log.iter().map(of).sum::<f64>() / log.len() as f64
}

#[test]
fn long_uploads_alone_are_no_clogged_cluster() {
    for count in [1, 3] {
        for kind in [BUSY, SLOW] {
            let log = bulk(1, 1.0, count, kind, 0.0).log_of(2 * MINUTE);
            let least = log.iter().map(|seen| seen.credits).fold(f64::INFINITY, f64::min);
            assert!(least >= CREDITS_FIRST, "{least}");
            let held = mean(&log[MINUTE + 60..], |seen| seen.big_held);
            assert!((0.45..=0.5).contains(&(held / BULK_MAX)), "{held} of {count} supernodes");
        }
    }
}

#[test]
fn small_requests_are_served_beside_big_ones_that_take_for_ever() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (0.25, 1), (0.25, 3)] {
        for seed in 0..SEEDS {
            let log = bulk(seed, cores, count, SLOW, 10.0).log_of(3 * MINUTE);
            let served = log.iter().map(|seen| per_ms(&[*seen]) / cores * USUAL.0);
            let least = served.fold(f64::INFINITY, f64::min);
            assert!(least >= 0.2, "{least} in one window, {cores} cores, {count} supernodes, seed {seed}");
            let later = &log[20..];
            let (served, of_bound) = (per_ms(later) / cores * USUAL.0, of_bound(later, USUAL, cores, count));
            assert!(served >= 0.95, "{served} of {cores} cores, {count} supernodes, seed {seed}");
            assert!(of_bound <= 1.0, "{of_bound} with {cores} cores, {count} supernodes, seed {seed}");
        }
    }
}

#[test]
fn big_requests_that_come_to_a_calm_cluster_do_not_run_away_with_it() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (0.25, 1), (0.25, 3)] {
        let mut model = Model::asked(1, cores, count, 0.3);
        model.kinds[2] = BUSY;
        model.run(MINUTE).supernodes.iter_mut().for_each(|supernode| supernode.big = 200);
        let log = model.log_of(10 * MINUTE);
        let (early, late) = (&log[MINUTE..2 * MINUTE], &log[9 * MINUTE..]);
        for part in [early, late] {
            let served = per_ms(part) / cores * USUAL.0;
            assert!(served >= 0.29, "{served} of {cores} cores, {count} supernodes");
            assert!(mean(part, |seen| seen.big_done as f64) > 0.0, "big ones go on");
        }
        let ratio = mean_ms(late) / mean_ms(early);
        assert!(ratio <= 1.3, "{ratio} with {cores} cores, {count} supernodes");
    }
}

#[test]
fn quick_reads_beside_uploads_do_not_let_the_uploads_grow_without_end() {
    for load in [Load { busiest_cpu: 0.95, memory_short: false }, Load::default()] {
        let mut model = bulk(0, 3.0, 3, SLOW, 0.05);
        model.load = load;
        let log = model.log_of(3 * MINUTE);
        let most = log.iter().map(|seen| seen.credits).fold(0.0, f64::max);
        let may = if load.busiest_cpu > 0.9 { CREDITS_FIRST } else { BULK_MAX };
        assert!((0.9 * may..=may).contains(&most), "{most} with {load:?}");
    }
}

#[test]
fn errors_of_clients_alone_are_no_clogged_cluster() {
    for cores in [1.0, 0.25] {
        let mut model = Model::asked(0, cores, 3, 10.0);
        model.others = 1.0;
        let log = model.log_of(MINUTE);
        let least = log.iter().map(|seen| seen.credits).fold(f64::INFINITY, f64::min);
        assert!(least >= CREDITS_FIRST, "{least}");
    }
}

#[test]
fn a_few_failures_cost_nothing_and_many_do() {
    for (fails, others, least, most) in [(0.03, 0.0, 20.0, 50.0), (0.03, 0.9, 20.0, 200.0), (0.3, 0.0, 4.0, 12.0)] {
        let mut model = Model::asked(0, 3.0, 3, 10.0);
        (model.fails, model.others) = (fails, others);
        let credits = mean(&model.log_of(2 * MINUTE)[MINUTE..], |seen| seen.credits);
        assert!((least..=most).contains(&credits), "{credits} with {fails} failed");
    }
}

#[test]
fn slow_clients_of_the_nodes_hold_nothing_up() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (0.25, 1), (0.25, 3)] {
        for seed in 0..SEEDS {
            let mut model = Model::asked(seed, cores, count, 10.0);
            model.slow_direct = 100;
            let log = model.log_of(20 + 2 * MINUTE);
            let served = per_ms(&log[20..]) / cores * USUAL.0;
            assert!(served >= 0.95, "{served} of {cores} cores, {count} supernodes, seed {seed}");
        }
    }
}

#[test]
fn a_slower_disk_is_noticed_beside_slow_clients_of_the_nodes() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (1.0, 1), (1.0, 3)] {
        let mut model = Model::asked(3, cores, count, 10.0);
        model.slow_direct = 100;
        model.run(40).kinds = [(USUAL.0, 8.0 * USUAL.1); 3];
        let at = recovered(&model.log_of(80), cores / USUAL.0);
        assert!(at.is_some_and(|at| at <= 40), "{at:?} with {cores} cores, {count} supernodes");
    }
}

#[test]
fn busy_clients_of_the_nodes_leave_supernodes_their_part() {
    for (cores, busy) in [(3.0, 16), (3.0, 64), (0.25, 4), (0.25, 16)] {
        let mut model = Model::asked(0, cores, 3, 10.0);
        model.add_direct(busy);
        let log = model.log_of(8 * MINUTE);
        let (early, late) = (&log[MINUTE..2 * MINUTE], &log[7 * MINUTE..]);
        let served = per_ms(late) / cores * USUAL.0;
        assert!((0.4..=0.9).contains(&served), "{served} of {cores} cores beside {busy}");
        let ratio = mean_ms(late) / mean_ms(early);
        assert!(ratio <= 1.3, "{ratio}: answers get slower without end, {cores} cores beside {busy}");
    }
}

#[test]
fn a_new_leader_in_an_overload_is_not_felt() {
    for (cores, count) in [(3.0, 1), (3.0, 3), (0.25, 1), (0.25, 3)] {
        for seed in 0..SEEDS {
            let mut model = Model::asked(seed, cores, count, 10.0);
            model.run(MINUTE).elect();
            let log = model.log_of(20);
            let served = per_ms(&log) / cores * USUAL.0;
            assert!(served >= 0.95, "{served} of {cores} cores, {count} supernodes, seed {seed}");
            let of_bound = of_bound(&log, USUAL, cores, count);
            assert!(of_bound <= 1.0, "{of_bound} with {cores} cores, {count} supernodes, seed {seed}");
        }
    }
}

#[test]
fn credits_come_back_after_a_fall_without_anybody_who_waits_long() {
    for bursts in [false, true] {
        let mut model = Model::asked(0, 3.0, 1, 10.0);
        model.fails = 1.0;
        let fallen = model.log_of(60)[59].credits;
        assert!(fallen <= CREDITS_MIN, "{fallen}: all failed");
        (model.fails, model.supernodes[0].per_ms) = (0.0, 0.0);
        for _ in 0..60 {
            model.supernodes[0].waiting += if bursts { 50 } else { 0 };
            model.run(2);
        }
        let back = model.log_of(1)[0].credits;
        assert!(back >= CREDITS_FIRST, "{back}, bursts: {bursts}");
    }
}
