//! Runs of many seeds, each in a process of its own: 25 per test, so that tests share the machine's processors.
//!
//! `SIM_SEEDS=0..1000` runs others instead, `SIM_SEED=7` one.

use std::{
    ops::Range,
    process::{Command, Output},
};

/// How many seeds one test runs.
const SEEDS_PER_TEST: u64 = 25;
/// How many tests there are.
const TESTS: u64 = 8;

/// Runs one seed.
fn simtest(seed: u64, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_simtest");
    let output = Command::new(program).arg(seed.to_string()).args(args).env_remove("SIM_TRACE").output();
    output.expect("the program was built")
}

fn text(output: &Output) -> String {
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let errors: Vec<&str> = errors.lines().take(20).collect();
    format!("{out}{}", errors.join("\n"))
}

/// Gives the seeds of test `number`: its share of those asked for.
fn seeds(number: u64) -> Range<u64> {
    let parse = |text: String| text.parse::<u64>().expect("a seed is a number");
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = parse(seed);
        return if number == 0 { seed..seed + 1 } else { 0..0 };
    }
    let all = match std::env::var("SIM_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("SIM_SEEDS is FROM..TO");
            parse(from.to_owned())..parse(to.to_owned())
        }
        Err(_) => 0..SEEDS_PER_TEST * TESTS,
    };
    let share = (all.end - all.start).div_ceil(TESTS);
    let from = (all.start + number * share).min(all.end);
    from..(from + share).min(all.end)
}

fn run_share(number: u64) {
    let mut failed = Vec::new();
    for seed in seeds(number) {
        let output = simtest(seed, &[]);
        let text = text(&output);
        #[allow(clippy::print_stdout)] // what a person who runs seeds by hand looks at
        {
            print!("{text}");
        }
        if !output.status.success() {
            failed.push(format!("{text}\nrun it again: make sim SEEDS={seed}..{}", seed + 1));
        }
    }
    assert!(failed.is_empty(), "{} seeds fail\n{}", failed.len(), failed.join("\n\n"));
}

macro_rules! shares {
    ($($name:ident $number:literal,)*) => {
        $(
            #[test]
            fn $name() {
                run_share($number);
            }
        )*
    };
}

shares! {
    seeds_0 0, seeds_1 1, seeds_2 2, seeds_3 3, seeds_4 4, seeds_5 5, seeds_6 6, seeds_7 7,
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 11, 42] {
        let runs = [simtest(seed, &[]), simtest(seed, &[])];
        assert_eq!(text(&runs[0]), text(&runs[1]), "run it again: make sim SEEDS={seed}..{}", seed + 1);
    }
    assert_ne!(simtest(3, &[]).stdout[7..], simtest(4, &[]).stdout[7..]);
}

#[test]
fn nothing_goes_wrong_where_nothing_is_broken() {
    let output = simtest(1, &["calm"]);
    assert!(output.status.success(), "{}", text(&output));
    let text = text(&output);
    assert!(text.contains(" not 0 unknown 0 "), "{text}");
}
