//! Controls: a fault is planted for every invariant, and its check finds it within a few seeds.

use std::process::Command;

/// How many seeds a planted fault may stay unseen; most are seen by the first one.
const SEEDS_MAX: u64 = 20;

fn is_found(fault: &str, invariant: &str) {
    let finds = |seed: u64| {
        let output = Command::new(env!("CARGO_BIN_EXE_simtest")).args([&seed.to_string(), fault]).output();
        let output = output.expect("the program was built");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.code() == Some(1) && errors.contains(&format!("seed {seed}: {invariant}: "))
    };
    let found = (0..SEEDS_MAX).find(|seed| finds(*seed));
    assert!(found.is_some(), "{invariant} does not see '{fault}'");
}

macro_rules! controls {
    ($($name:ident $fault:literal $invariant:literal,)*) => {
        $(
            #[test]
            fn $name() {
                is_found($fault, $invariant);
            }
        )*

        #[test]
        fn every_fault_has_a_control() {
            let here = [$(($fault, $invariant)),*];
            let known: Vec<_> = flotilla_simtest::plan::Plant::ALL.iter().map(|(_, fault, by)| (*fault, *by)).collect();
            assert_eq!(known, here);
        }
    };
}

controls! {
    acked_is_durable_control "no_sync" "acked_is_durable",
    applied_alike_control "lost_row" "applied_alike",
    failed_sync_control "sync_again" "failed_sync",
    linearizable_control "no_read_index" "linearizable",
    healed_control "unlink" "healed",
    bounded_control "keep_log" "bounded",
    not_done_control "false_failure" "not_done",
    index_rebuilt_control "torn_volume" "index_rebuilt",
    memory_returned_control "held_body" "memory_returned",
    one_home_control "any_epoch" "one_home",
    membership_control "unasked" "membership",
}
