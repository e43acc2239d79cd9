//! What one runner does: it has files made, sends the load, reads everything back and removes it.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{interval_at, timeout};

use super::{
    engine::Engine, found::Found, plan::Plan, prefill::prefill, requests::Requests, schedule::phase_at, verify,
    view::View,
};
use crate::{Error, procfs};

/// How long an interrupted run tries to remove its files, and another one.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);
const CLEANUP_MAX: Duration = Duration::from_secs(3600);

/// Begins the file of a plan's requests, if it has one.
///
/// # Errors
/// [`Error::File`].
pub(super) fn requests(plan: &Plan) -> Result<Option<Requests>, Error> {
    plan.requests.as_ref().map(|path| Requests::create(path).map_err(Error::file(path))).transpose()
}

/// Makes the files that are there before the load. Tells whether that was not interrupted; if it was, and after an error, they are
/// removed.
///
/// # Errors
/// [`Error::Prefill`].
///
/// # Cancel safety
/// Dropped, files stay.
pub(super) async fn prepare(
    plan: &Plan,
    view: &View,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Result<bool, Error> {
    let made = tokio::select! {
        made = prefill(plan, view) => made.map(|()| true),
        () = interrupt => Ok(false),
    };
    if !matches!(made, Ok(true)) {
        discard(plan).await;
    }
    made
}

/// Removes the files of a load that did not begin, in so far as that goes fast.
pub(super) async fn discard(plan: &Plan) {
    drop(timeout(CLEANUP_TIMEOUT, verify::remove(&plan.run)).await);
}

/// Sends the load of a plan, and shows every second.
///
/// # Cancel safety
/// Dropped, requests are cut off.
pub(super) async fn measure(
    plan: &Plan,
    engine: &Arc<Engine>,
    view: &mut View,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Found {
    let cpu = || procfs::stat("self").map(|stat| stat.cpu).unwrap_or_default();
    let before = cpu();
    let interrupted = tokio::select! {
        () = engine.clone().send(&plan.profile, plan.seed) => false,
        () = interrupt => true,
        () = show(engine, view) => unreachable!("it goes on for ever"),
    };
    let cpu_seconds = cpu().saturating_sub(before).as_secs_f64();
    let at = engine.elapsed();
    if interrupted {
        plan.run.catalog().cut_off();
    }
    tick(engine, view);
    let mut stats = std::mem::take(&mut *engine.stats());
    // After the last arrival nothing is due, so that nothing can be missing.
    stats.end(engine.last_due().map_or(at, |last_due| at.min(last_due)));
    Found {
        interrupted,
        seconds: at.as_secs_f64(),
        stats,
        phases: engine.phases(),
        knee: engine.knee(),
        skipped: engine.skipped(),
        dropped: engine.dropped(),
        connections: plan.profile.connections,
        cpu_seconds,
        ..Found::default()
    }
}

/// Ends the run of a plan: reads everything back and removes it. After an interruption nothing is read back, and less time is spent
/// on removing.
///
/// # Cancel safety
/// Dropped, files stay.
pub(super) async fn settle(
    plan: &Plan,
    engine: &Engine,
    found: &mut Found,
    view: &View,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) {
    if !found.interrupted {
        view.say("reading everything back");
        tokio::select! {
            all = verify::read_back(&plan.run) => found.checked(all),
            () = &mut *interrupt => found.interrupted = true,
        }
    }
    (found.lost, found.corrupt) = (plan.run.lost(), plan.run.corrupt());
    found.judge();
    if let Err(error) = engine.finish_requests() {
        found.invalid_because.push(format!("the file of requests is not whole: {error}"));
    }
    if !plan.keep {
        view.say("removing the files of the run");
        let removing =
            timeout(if found.interrupted { CLEANUP_TIMEOUT } else { CLEANUP_MAX }, verify::remove(&plan.run));
        let left = tokio::select! {
            left = removing => left.ok(),
            () = &mut *interrupt, if !found.interrupted => None,
        };
        found.left_files = left.unwrap_or(plan.run.catalog().begun());
    }
}

/// Ends a step of the series each second and shows it.
async fn show(engine: &Engine, view: &mut View) {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(engine.start() + second, second);
    loop {
        ticks.tick().await;
        tick(engine, view);
    }
}

fn tick(engine: &Engine, view: &mut View) {
    let (step, latency) = engine.stats().tick(engine.elapsed(), engine.in_flight(), engine.waiting());
    let phases = engine.phases();
    view.show(phase_at(&phases, step.at_s), &step, &latency);
}
