//! `simtest SEED`: one run, for a test or a person. Prints one line; the exit code is 1 if an invariant does not hold.
//!
//! `SIM_TRACE=1` prints the trace, `SIM_LOG=debug` what the nodes log, and `FAILPOINTS`
//! plants faults of the servers.

mod random;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use flotilla_env::failpoint;
use flotilla_simtest::{
    invariants::Violation,
    plan::{Plan, Plant},
    run::run,
};

/// Panics of any task: the runtime catches them, and a run in which one happened has failed.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(seed) = args.next().and_then(|text| text.parse::<u64>().ok()) else {
        eprintln!("usage: simtest SEED [calm|FAULT]");
        return ExitCode::from(2);
    };
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    if set("SIM_LOG") {
        let filter = tracing_subscriber::EnvFilter::from_env("SIM_LOG");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    }
    let planted = |name: &str| Plant::ALL.iter().find(|(_, known, _)| *known == name).map(|(plant, ..)| *plant);
    let plan = match args.next().as_deref() {
        None => Plan::draw(seed),
        Some("calm") => Plan::calm(seed),
        Some(name) => match planted(name) {
            Some(plant) => Plan::draw(seed).planted(plant),
            None => {
                eprintln!("simtest: there is no fault '{name}' to plant");
                return ExitCode::from(2);
            }
        },
    };
    if let Ok(points) = std::env::var(failpoint::VARIABLE)
        && let Err(error) = failpoint::set(&points)
    {
        eprintln!("simtest: {error}");
        return ExitCode::from(2);
    }
    random::seed(seed);
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        default(info);
    }));
    let mut report = run(&plan, set("SIM_TRACE"));
    if PANICS.load(Ordering::SeqCst) > 0 {
        report.violations.insert(0, Violation { invariant: "run", what: "a task panicked".to_owned() });
    }
    let [done, not, unknown] = report.ops;
    #[allow(clippy::print_stdout)] // it is what the program is for
    {
        println!(
            "seed {seed} {} trace {} lines {} nodes {} done {done} not {not} unknown {unknown} positions {} virtual_ms {}",
            if report.violations.is_empty() { "PASS" } else { "FAIL" },
            report.hash,
            report.lines,
            plan.nodes,
            report.positions,
            report.virtual_ms,
        );
    }
    for violation in &report.violations {
        eprintln!("seed {seed}: {violation}");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
