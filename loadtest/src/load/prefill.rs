//! Before the load: files that are there when it begins.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{plan::Plan, request::Line, run::Run, view::View};
use crate::Error;

/// Connections that make them.
const PREFILL_CONNECTIONS: usize = 16;
/// How often such an upload may fail before the run is given up.
const PREFILL_FAILURES_MAX: u64 = 300;
/// The wait after one, which is longer than an election with a few of them.
const PREFILL_BACKOFF: Duration = Duration::from_millis(250);

/// Makes the files that are there before the first phase.
///
/// # Errors
/// [`Error::Prefill`]: the store takes nothing.
///
/// # Cancel safety
/// Dropped, the files made till then stay.
pub(super) async fn prefill(plan: &Plan, view: &View) -> Result<(), Error> {
    // Of a trace certain files, else as many as the profile says.
    let wanted: Arc<[(u64, u64)]> =
        plan.profile.trace.as_ref().map_or_else(Arc::default, |file| file.trace.prefill.as_slice().into());
    let count = plan.profile.prefill + wanted.len() as u64;
    if count == 0 {
        return Ok(());
    }
    view.say(&format!("making {count} files"));
    let next = Arc::new(AtomicU64::new(0));
    let failures = Arc::new(Mutex::new((0_u64, String::new())));
    let mut clients = JoinSet::new();
    for index in 0..PREFILL_CONNECTIONS {
        let (run, failures, wanted, next) = (plan.run.clone(), failures.clone(), wanted.clone(), next.clone());
        clients.spawn(async move {
            let mut line = run.line(index);
            let mut mine = None;
            loop {
                let file = mine.take().unwrap_or_else(|| next.fetch_add(1, Ordering::Relaxed));
                if file >= count {
                    return;
                }
                let Some(why) = make(&run, wanted.get(usize::try_from(file).unwrap_or(usize::MAX)), &mut line).await
                else {
                    continue;
                };
                mine = Some(file);
                let tried = {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.0 += 1;
                    failures.1 = why;
                    failures.0
                };
                if tried > PREFILL_FAILURES_MAX {
                    return;
                }
                tokio::time::sleep(PREFILL_BACKOFF).await;
                line = run.line(index + usize::try_from(tried).unwrap_or_default());
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client neither panics nor is aborted while it is waited for");
    }
    let (failed, why) = failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if failed > PREFILL_FAILURES_MAX { Err(Error::Prefill(why)) } else { Ok(()) }
}

/// Makes a file, a certain one if one is wanted; tells why that failed.
async fn make(run: &Run, wanted: Option<&(u64, u64)>, line: &mut Line) -> Option<String> {
    match wanted {
        Some((number, length)) => run.put_of(*number, *length, line).await,
        None => run.put(line).await.why(),
    }
}
