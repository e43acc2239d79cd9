//! A process from its listeners' start to its end, in the order in which things end.

use std::path::Path;

use flotilla_http_server::Sites;
use flotilla_raft_store::{Group, Machine};
use tokio_util::sync::CancellationToken;

use crate::{Error, Fatal, hand_over};

/// Serves `sites` until `work` ends: leadership is handed over, running requests end, then the group does, if there is one by then.
/// `forwarded` is waited for as `flotilla_http_server::run` does.
///
/// # Errors
/// Of the work, of a listener, or what was fatal meanwhile.
///
/// # Cancel safety
/// Dropping the future is like a crash.
pub async fn live<M: Machine>(
    sites: Sites,
    forwarded: impl Future<Output = ()> + Send,
    work: impl Future<Output = Result<(), Error>>,
    group: impl FnOnce() -> Option<Group<M>>,
    fatal: &Fatal,
    dir: &Path,
) -> Result<(), Error> {
    let drained = CancellationToken::new();
    let broken = CancellationToken::new();
    let forwarded = async {
        tokio::select! {
            () = forwarded => {}
            () = broken.cancelled() => {}
        }
    };
    let mut listeners = std::pin::pin!(flotilla_http_server::run(sites, forwarded, drained.clone()));
    let mut failed = false;
    let mut result = tokio::select! {
        result = work => result,
        ended = &mut listeners => {
            failed = true;
            ended.map_err(Error::from)
        }
    };
    let group = group();
    if let (Ok(()), Some(group)) = (&result, &group) {
        hand_over(group).await;
    }
    if result.is_err() {
        // Nothing that was brought here can be done any more.
        broken.cancel();
    }
    drained.cancel();
    if !failed && let Err(error) = listeners.await {
        tracing::warn!(%error, "a listener failed at the end");
    }
    if let Some(group) = group {
        // Also of what was written after the stop: leadership handed over, requests that ended.
        if result.is_ok() {
            result = fatal.end(dir);
        }
        group.shutdown().await;
    }
    result
}
