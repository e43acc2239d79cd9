//! The profile `seed-tables`: the rows by which file stores are compared, measured on any deployment.
//!
//! [`plan`] says which rows, [`mod@bench`] measures one, [`report`] makes figures of what was measured. The loop is closed:
//! a client sends its next request when the last one was answered.

mod bench;
mod client;
mod plan;
mod report;
mod rows;
mod sampler;
mod supply;
mod table;
mod tally;
#[cfg(test)]
mod tests;

use std::{future::Future, io::Write, sync::Arc, time::Duration};

pub(crate) use report::median;
use tokio::time::timeout;

use self::{bench::Bench, plan::Plan, report::Report};
use crate::{
    Error, Target,
    command::{EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG, RunArgs},
    procfs, revision,
};

/// The profile's name on the command line.
pub(crate) const NAME: &str = "seed-tables";

/// The largest factor on all sizes: ten times the table is 15 GB files, more than that is another measurement.
const SCALE_MAX: f64 = 10.0;
/// How long an interrupted or failed run tries to remove its files.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the profile.
///
/// # Cancel safety
/// Dropped, it leaves its files under `loadtest/` in the bucket; `interrupt` ends it with a report and removes them.
pub(crate) async fn run(
    args: RunArgs,
    target: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    if !(args.scale > 0.0 && args.scale <= SCALE_MAX) {
        return Err(Error::Usage(format!("--scale is above 0 and at most {SCALE_MAX}, not {}", args.scale)));
    }
    let RunArgs { worker, page, junit, hlog, requests, .. } = &args;
    let ignored = [
        (!worker.is_empty(), "--worker"),
        (page.is_some(), "--page"),
        (junit.is_some(), "--junit"),
        (hlog.is_some(), "--hlog"),
        (requests.is_some(), "--requests"),
    ];
    if let Some((_, flag)) = ignored.iter().find(|(given, _)| *given) {
        return Err(Error::Usage(format!("{NAME} has no {flag}: leave it away, or choose another profile")));
    }
    let bench = Arc::new(Bench::new(&target, &args.bucket, args.seed)?);
    let mut report = Report::new(&args, revision::of(bench.dev()).await, procfs::load_1min());
    // Ends the command early when the deployment is not there at all, instead of a table of failed rows.
    drop(bench.connect(1).await?);
    let plan = Plan::new(args.scale);
    let interrupted = tokio::select! {
        () = measure(&bench, &plan, &mut report, args.repeat) => false,
        () = interrupt => true,
    };
    report.interrupted = interrupted;
    if timeout(CLEANUP_TIMEOUT, bench.remove_all()).await.is_err() {
        tracing::warn!("not all files could be removed in time");
    }
    report.left_files = bench.alive();
    report.processes = bench.peaks();
    write!(out, "{}", table::render(&report)).map_err(Error::Print)?;
    let named = args.reports.as_ref().map(|dir| dir.join(format!("{NAME}.json")));
    for path in args.json.iter().chain(&named) {
        let json = serde_json::to_vec_pretty(&report).expect("a report is plain data with text keys");
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        folder.and_then(|()| std::fs::write(path, json)).map_err(Error::file(path))?;
    }
    Ok(match (interrupted, report.wrong(), report.failed) {
        (true, _, _) => EXIT_INTERRUPTED,
        (false, 1.., _) => EXIT_WRONG,
        (false, 0, 1..) => EXIT_ERROR,
        (false, 0, 0) => EXIT_OK,
    })
}

async fn measure(bench: &Arc<Bench>, plan: &Plan, report: &mut Report, repeat: u32) {
    for _ in 0..repeat {
        rows::warm_up(bench, plan, report).await;
        for big in &plan.big {
            rows::big(bench, big, report).await;
        }
        rows::crowd(bench, &plan.crowd, report).await;
        rows::batch(bench, &plan.batch, report).await;
        rows::small(bench, &plan.small, report).await;
    }
}
