//! Thresholds, validity, and how long faults were felt.

use std::time::Duration;

use super::{RunnerCost, limits, recoveries};
use crate::load::{
    counts::{Counts, Done, Failure},
    inject::Event,
    operation::Operation,
    profile::Thresholds,
    series::{Gap, Step},
};

#[test]
fn a_runner_that_is_late_or_drops_makes_its_run_invalid() {
    assert!(RunnerCost { lag_p99_ms: 3.0, ..RunnerCost::default() }.invalid_because().is_empty());
    assert!(RunnerCost { lag_p99_ms: 80.0, ..RunnerCost::default() }.invalid_because()[0].contains("80 ms late"));
    assert!(RunnerCost { dropped: 7, ..RunnerCost::default() }.invalid_because()[0].contains("7 requests"));
}

#[test]
fn thresholds_hold_or_fail_and_what_was_not_measured_fails() {
    let thresholds = Thresholds { p99_ms: Some(10.0), gap_seconds: Some(2.0), ..Thresholds::default() };
    let figures = Counts::default().figures(1.0);
    let limits = limits(&thresholds, &figures, Some(Gap { at_s: 0.0, seconds: 1.5 }));
    let ok: Vec<_> = limits.iter().map(|limit| (limit.name.as_str(), limit.ok)).collect();
    assert_eq!(ok, [("p99_ms", false), ("gap_seconds", true)]);
}

#[test]
fn a_limit_on_those_that_succeed_leaves_refusals_out() {
    let done = |ms: u64, failure| Done {
        operation: Operation::Put,
        class: None,
        file: None,
        intended: Duration::ZERO,
        sent: Duration::ZERO,
        head: None,
        ended: Duration::from_millis(ms),
        bytes: 0,
        failure,
    };
    let mut counts = Counts::default();
    (0..100).for_each(|_| counts.add(&done(1, Some((Failure::BusyWithRetryAfter, String::new())))));
    (0..3).for_each(|_| counts.add(&done(500, None)));
    let figures = counts.figures(1.0);
    let thresholds = Thresholds { p50_ms: Some(10.0), ok_p99_ms: Some(100.0), ..Thresholds::default() };
    let ok: Vec<_> = limits(&thresholds, &figures, None).iter().map(|limit| (limit.name.clone(), limit.ok)).collect();
    assert_eq!(ok, [("p50_ms".to_owned(), true), ("ok_p99_ms".to_owned(), false)]);
}

#[test]
fn a_fault_was_felt_until_requests_succeed_again() {
    let step = |at_s, failed| Step { at_s, started: 10, ok: 10 - failed, failed, ..Step::default() };
    let steps = [step(0.0, 0), step(1.0, 8), step(2.0, 0), step(3.0, 0), step(9.0, 0)];
    let gaps = [Gap { at_s: 1.5, seconds: 1.25 }];
    let event =
        |due_s, at_s, text: &str, what: &str| Event { at_s, due_s, text: text.to_owned(), what: what.to_owned() };
    let events = vec![
        event(1.5, 1.5, "freeze all for 1s", "stopped a-n1"),
        event(1.5, 1.5, "freeze all for 1s", "stopped a-n2"),
        event(1.5, 2.5, "freeze all for 1s", "a-n1 goes on"),
        event(4.0, 4.0, "kill a-n1", "killed a-n1"),
        event(9.5, 9.5, "kill a-n1", "killed a-n1 again"),
    ];
    let rows = recoveries(events, &gaps, &steps);
    let seen: Vec<_> = rows.iter().map(|row| (row.event.what.as_str(), row.recovered_s)).collect();
    assert_eq!(
        seen,
        [
            ("stopped a-n1, stopped a-n2", Some(1.25)),
            ("a-n1 goes on", None),
            ("killed a-n1", None),
            ("killed a-n1 again", None)
        ]
    );
}
