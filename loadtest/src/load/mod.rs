//! Load by profile: spikes, bursts, ramps and soaks of a mix of operations, with the truth about what users felt and what was lost.
//!
//! [`profile`] says what is sent and [`schedule`] when; [`engine`] sends it; [`mod@run`] knows the files and judges every answer;
//! [`verify`] reads everything back; [`report`] is what is left. Latency counts from the moment at which a request was to be
//! sent, so a server that stands still can't hide behind a client that waits for it.

mod assemble;
mod builtin;
mod catalog;
mod compare;
mod dialect;
mod duel;
mod engine;
mod faults;
mod files;
mod inject;
mod live;
mod machine;
mod measure;
mod operation;
mod plan;
mod prefill;
mod profile;
mod random;
mod report;
mod request;
mod run;
mod schedule;
mod sizes;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod verify;
mod watch;

use std::{future::Future, io::Write, time::Duration};

pub(crate) use duel::run as compare_stores;
pub(crate) use sizes::size_name;
use tokio::time::timeout;

use self::{live::Live, plan::Plan, report::Report, verify::Checked};
use crate::{
    Error, Target,
    command::{EXIT_INTERRUPTED, RunArgs},
    revision,
};

/// How long an interrupted run tries to remove its files, and another one.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);
const CLEANUP_MAX: Duration = Duration::from_secs(3600);

/// Runs a profile.
///
/// # Cancel safety
/// Dropped, it leaves its files under `loadtest/` in the bucket, and processes that it stopped go on; `interrupt` ends it with
/// a report of what was measured till then.
pub(crate) async fn run(
    args: RunArgs,
    target: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let plan = Plan::new(&args, &target)?;
    let mut interrupt = std::pin::pin!(interrupt);
    let Some(report) = once(&plan, &mut interrupt).await? else { return Ok(EXIT_INTERRUPTED) };
    write!(out, "{}", text::render(&report)).map_err(Error::Print)?;
    if let Some(path) = &args.json {
        std::fs::write(path, files::json(&report)).map_err(Error::file(path))?;
    }
    if let Some(dir) = &args.reports {
        let page = files::write_all(&report, dir)?;
        writeln!(out, "report: {}", page.display()).map_err(Error::Print)?;
    }
    Ok(report.exit_code())
}

/// Carries a plan out; none if it was interrupted before the first phase.
async fn once(plan: &Plan, interrupt: &mut (impl Future<Output = ()> + Unpin)) -> Result<Option<Report>, Error> {
    let mut live = Live::new(plan.profile.lasts().as_secs_f64());
    tokio::select! {
        made = prefill::prefill(plan, &live) => made?,
        () = &mut *interrupt => {
            drop(timeout(CLEANUP_TIMEOUT, verify::remove(&plan.run)).await);
            return Ok(None);
        }
    }
    let mut report = Report::begin(plan, revision::of(&plan.dev).await);
    let measured = measure::measure(plan, &mut live, &mut *interrupt).await;
    let mut interrupted = measured.interrupted;
    let mut checked = Checked::default();
    if !interrupted {
        live.say("reading everything back");
        tokio::select! {
            all = verify::read_back(&plan.run) => checked = all,
            () = &mut *interrupt => interrupted = true,
        }
    }
    report.end(plan, measured, checked);
    report.interrupted = interrupted;
    if !plan.keep {
        live.say("removing the files of the run");
        let removing = timeout(if interrupted { CLEANUP_TIMEOUT } else { CLEANUP_MAX }, verify::remove(&plan.run));
        let left = tokio::select! {
            left = removing => left.ok(),
            () = &mut *interrupt, if !interrupted => None,
        };
        report.left_files = left.unwrap_or(plan.run.catalog().begun());
    }
    Ok(Some(report))
}
