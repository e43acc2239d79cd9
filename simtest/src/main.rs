//! `simtest SEED`: one run, for a test or a person. Prints one line; the exit code is 1 if an invariant does not hold.
//!
//! `SIM_TRACE=1` prints the trace, `SIM_LOG=debug` what the nodes log.

mod random;

use std::process::ExitCode;

use flotilla_simtest::{plan::Plan, run::run};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(seed) = args.next().and_then(|text| text.parse::<u64>().ok()) else {
        eprintln!("usage: simtest SEED [calm]");
        return ExitCode::from(2);
    };
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    if set("SIM_LOG") {
        let filter = tracing_subscriber::EnvFilter::from_env("SIM_LOG");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    }
    let plan = match args.next().as_deref() {
        Some("calm") => Plan::calm(seed),
        _ => Plan::draw(seed),
    };
    random::seed(seed);
    let report = run(&plan, set("SIM_TRACE"));
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
