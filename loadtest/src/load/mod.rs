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
pub(crate) use workers::follow;

use self::{engine::Engine, observe::Observation, page::Page, plan::Plan, report::Report, view::View};
use crate::{
    Error, Target,
    command::{EXIT_INTERRUPTED, EXIT_WRONG, RunArgs},
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
        view.log_to(path)?;
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
        together(&plan, &args, &target, &mut view, &mut interrupt).await?
    };
    let Some(report) = report else { return Ok(EXIT_INTERRUPTED) };
    write!(out, "{}", text::render(&report)).map_err(Error::Print)?;
    // One file that can't be written must neither hide the others nor a loss.
    let mut written = vec![view.finish()];
    for (path, text) in [(&args.json, files::json as fn(&Report) -> String), (&args.junit, junit::xml)] {
        written.extend(path.as_ref().map(|path| std::fs::write(path, text(&report)).map_err(Error::file(path))));
    }
    if let Some(dir) = &args.reports {
        let page = files::write_all(&report, dir);
        written.push(page.and_then(|page| writeln!(out, "report: {}", page.display()).map_err(Error::Print)));
    }
    let code = report.exit_code();
    match written.into_iter().find_map(Result::err) {
        Some(error) if code == EXIT_WRONG => writeln!(out, "error: {error}").map_err(Error::Print).map(|()| code),
        Some(error) => Err(error),
        None => Ok(code),
    }
}

/// Carries a plan out by this process alone; none if it was interrupted before the load began.
async fn alone(
    plan: &Plan,
    view: &mut View,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Report>, Error> {
    let requests = measure::requests(plan)?;
    if !measure::prepare(plan, view, interrupt).await? {
        return Ok(None);
    }
    let mut report = Report::begin(plan, revision::of(&plan.dev).await);
    view.begin(plan.run.clock.wall_ms());
    let engine = Engine::new(plan.run.clone(), requests);
    let observation = Observation::begin(plan, engine.start());
    let mut found = measure::measure(plan, &engine, view, interrupt).await;
    let observed = observation.end();
    measure::settle(plan, &engine, &mut found, view, interrupt).await;
    report.end(plan, found, observed);
    Ok(Some(report))
}

/// Lets runners carry a plan out; none if it was interrupted before the load began.
async fn together(
    plan: &Plan,
    args: &RunArgs,
    target: &Target,
    view: &mut View,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Report>, Error> {
    let rev = revision::of(&plan.dev).await;
    let task = plan.task(args, target);
    let Some(led) = workers::lead(plan, &task, workers::start(&args.worker)?, view, interrupt).await? else {
        return Ok(None);
    };
    let mut report = Report { started: assemble::rfc3339(led.started_ms), ..Report::begin(plan, rev) };
    report.end(plan, led.found, led.observed);
    Ok(Some(report))
}
