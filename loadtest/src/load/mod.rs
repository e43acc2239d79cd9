//! Load by profile: spikes, bursts, ramps and soaks of a mix of operations, with the truth about what users felt and what was lost.
//!
//! [`profile`] says what is sent and [`schedule`] when; [`engine`] sends it; [`mod@run`] knows the files and judges every answer;
//! [`verify`] reads everything back; [`found`] adds up what several runners found, and [`report`] is what is left. Latency counts from the moment at which a request was to be
//! sent, so a server that stands still can't hide behind a client that waits for it.

mod assemble;
mod builtin;
mod catalog;
mod compare;
mod counts;
mod dialect;
mod duel;
mod engine;
mod faults;
mod files;
mod found;
mod hdr_log;
mod inject;
mod junit;
mod knee;
mod live;
mod machine;
mod measure;
mod observe;
mod operation;
mod page;
mod plan;
mod prefill;
mod profile;
mod random;
mod report;
mod request;
mod requests;
mod run;
mod schedule;
mod series;
mod sizes;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod times;
mod trace;
mod verify;
mod view;
mod watch;
mod workers;

use std::{future::Future, io::Write};

pub(crate) use duel::run as compare_stores;
pub(crate) use sizes::size_name;
use tokio::time::timeout;
pub(crate) use workers::follow;

use self::{measure::CLEANUP_TIMEOUT, observe::Observation, page::Page, plan::Plan, report::Report, view::View};
use crate::{
    Error, Target,
    command::{EXIT_INTERRUPTED, RunArgs},
    revision,
};

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
    let mut view = View::screen(plan.profile.lasts().as_secs_f64());
    if let Some(path) = &args.hlog {
        view.log_to(path, plan.run.clock.wall_ms())?;
    }
    if let Some(address) = args.page {
        let page = Page::serve(address, Report::begin(&plan, revision::of(&plan.dev).await)).await?;
        view.say(&format!("page: http://{}/", page.address()));
        view.serve(page);
    }
    let mut interrupt = std::pin::pin!(interrupt);
    let report = if args.worker.is_empty() {
        alone(&plan, &mut view, &mut interrupt).await?
    } else {
        let mut report = Report::begin(&plan, revision::of(&plan.dev).await);
        let runners = workers::start(&args.worker)?;
        let found = workers::lead(&plan, &plan.task(&args, &target)?, runners, &mut view, &mut interrupt).await?;
        found.map(|(found, observed)| {
            report.end(&plan, found, observed);
            report
        })
    };
    let Some(report) = report else { return Ok(EXIT_INTERRUPTED) };
    write!(out, "{}", text::render(&report)).map_err(Error::Print)?;
    view.finish()?;
    for (path, text) in [(&args.json, files::json as fn(&Report) -> String), (&args.junit, junit::xml)] {
        if let Some(path) = path {
            std::fs::write(path, text(&report)).map_err(Error::file(path))?;
        }
    }
    if let Some(dir) = &args.reports {
        let page = files::write_all(&report, dir)?;
        writeln!(out, "report: {}", page.display()).map_err(Error::Print)?;
    }
    Ok(report.exit_code())
}

/// Carries a plan out by this process alone; none if it was interrupted before the load began.
async fn alone(
    plan: &Plan,
    view: &mut View,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Report>, Error> {
    tokio::select! {
        made = prefill::prefill(plan, view) => made?,
        () = &mut *interrupt => {
            drop(timeout(CLEANUP_TIMEOUT, verify::remove(&plan.run)).await);
            return Ok(None);
        }
    }
    let mut report = Report::begin(plan, revision::of(&plan.dev).await);
    let engine = measure::engine(plan)?;
    let observation = Observation::begin(plan, engine.start());
    let mut found = measure::measure(plan, &engine, view, interrupt).await;
    let observed = observation.end();
    measure::settle(plan, &engine, &mut found, view, interrupt).await;
    report.end(plan, found, observed);
    Ok(Some(report))
}
