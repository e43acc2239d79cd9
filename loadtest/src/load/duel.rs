//! The command `compare`: rounds on two stores by turns, or two reports, handed to [`compare`].

use std::{future::Future, io::Write};

use super::{alone, compare, files, plan::Plan, report::Report, view::View};
use crate::{
    Error, Target,
    command::{CompareArgs, EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG},
};

/// Runs a profile by turns on two stores, or takes two reports, and says which is better and how sure that is.
///
/// # Cancel safety
/// As [`run`](super::run()); interrupted, the rounds that are whole are compared.
pub(crate) async fn run(
    args: CompareArgs,
    deployment: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let is_report = |text: &str| text.ends_with(".json");
    let (mut rounds, mut interrupted, mut findings) = (Vec::new(), false, 0);
    if is_report(&args.a) && is_report(&args.b) {
        let (a, b) = (files::read(args.a.as_ref())?, files::read(args.b.as_ref())?);
        let reasons = compare::differs(&a, &b);
        if !reasons.is_empty() && !args.force {
            let reasons = reasons.join("; ");
            return Err(Error::Usage(format!(
                "the reports differ in more than their store: {reasons}; --force compares them"
            )));
        }
        findings = a.lost + a.corrupt + b.lost + b.corrupt;
        rounds.push((a, b));
    } else {
        let mut interrupt = std::pin::pin!(interrupt);
        // The first of a round changes from one to the next, so that neither always finds what the other left.
        for round in 0..args.rounds {
            let (first, second) = if round % 2 == 0 { (&args.a, &args.b) } else { (&args.b, &args.a) };
            let mut pair = Vec::new();
            for side in [first, second] {
                let pids = if std::ptr::eq(side, &args.a) { &args.pids_a } else { &args.pids_b };
                let plan = Plan::of_side(&args, side, pids, &deployment)?;
                eprintln!("round {} of {}: {side}", round + 1, args.rounds);
                let mut view = View::screen(plan.profile.lasts().as_secs_f64());
                let report = alone(&plan, &mut view, &mut interrupt).await?;
                findings += report.as_ref().map_or(0, |report| report.lost + report.corrupt);
                let Some(report) = report.filter(|report| !report.interrupted) else {
                    interrupted = true;
                    break;
                };
                pair.push(report);
            }
            let (Some(second), Some(first), false) = (pair.pop(), pair.pop(), interrupted) else { break };
            rounds.push(if round % 2 == 0 { (first, second) } else { (second, first) });
        }
    }
    let compared = compare::compare(&rounds, args.seed);
    write!(out, "{}", compare::render(&args.a, &args.b, rounds.len(), &compared)).map_err(Error::Print)?;
    let both = || rounds.iter().flat_map(|(a, b)| [a, b]);
    let unknown = |report: &Report| report.unreadable > 0 || report.total.ok == 0 || !report.valid;
    writeln!(out, "\nlost or corrupt in all rounds: {findings}").map_err(Error::Print)?;
    for reason in both().flat_map(|report| &report.invalid_because).collect::<std::collections::BTreeSet<_>>() {
        writeln!(out, "INVALID: {reason}").map_err(Error::Print)?;
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&(&compared, &rounds)).expect("reports are plain data with text keys");
        std::fs::write(path, json).map_err(Error::file(path))?;
    }
    let worse = compared.iter().any(|compared| compared.verdict == compare::Verdict::Worse);
    Ok(match (interrupted, findings) {
        (true, _) => EXIT_INTERRUPTED,
        (false, 1..) => EXIT_WRONG,
        (false, 0) if both().any(unknown) || (worse && args.fail_if_worse) => EXIT_ERROR,
        (false, 0) => EXIT_OK,
    })
}
