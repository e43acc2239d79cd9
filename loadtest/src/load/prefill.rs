//! Before the load: files that are there when it begins.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{live::Live, plan::Plan};
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
pub(super) async fn prefill(plan: &Plan, live: &Live) -> Result<(), Error> {
    let count = plan.profile.prefill;
    if count == 0 {
        return Ok(());
    }
    live.say(&format!("making {count} files"));
    let failures = Arc::new(Mutex::new((0_u64, String::new())));
    let mut clients = JoinSet::new();
    for index in 0..PREFILL_CONNECTIONS {
        let (run, failures, mut line) = (plan.run.clone(), failures.clone(), plan.run.line(index));
        let share = count / PREFILL_CONNECTIONS as u64 + u64::from((index as u64) < count % PREFILL_CONNECTIONS as u64);
        clients.spawn(async move {
            let mut made = 0;
            while made < share {
                let asked = run.put(&mut line).await;
                let Some(why) = asked.why() else {
                    made += 1;
                    continue;
                };
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
