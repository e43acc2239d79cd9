//! What only the leader plans: the clock's ticks, what is due on it, marks, homes that the directory may give away.

use flotilla_api::{ChunkId, peer::HOMES_MAX};
use metrics::counter;
use tokio::time::Instant;

use super::{Error, Keeper, Periods, ticker::Ticker};
use crate::metadata::life::{self, Command, purge, queues, reclaim};

/// How many rows of garbage or uploads one round looks at.
const LOOK_MAX: usize = 4096;
/// How many former members one round speaks for.
const NODES_MAX: usize = 64;

/// The leader's place in its walks; soft, begun anew by every leader.
pub struct Leader {
    periods: Periods,
    pub(super) ticker: Ticker,
    uploads_after: Option<u64>,
    garbage_after: Option<ChunkId>,
}

impl Leader {
    pub fn new(periods: Periods) -> Self {
        let ticker = Ticker::new(periods.version_linger.min(periods.claim_idle));
        Self { periods, ticker, uploads_after: None, garbage_after: None }
    }

    /// Works off what is due.
    pub async fn round(&mut self, keeper: &Keeper, now: Instant, purges: bool) -> Result<(), Error> {
        let waiting = keeper.metadata.with_view(|view| queues::waiting(view)).await??;
        if waiting.reclaim_ms.is_none() && waiting.idle_ms.is_none() && waiting.tasks == 0 {
            self.ticker.rest();
        } else if let Some(tick) = self.ticker.step(waiting.clock_ms, now, waiting.tasks > 0) {
            keeper.step(Command::Tick { from_ms: tick.from_ms, to_ms: tick.to_ms }).await?;
        }
        let upto_ms = self.ticker.due(waiting.clock_ms, self.periods.version_linger);
        if waiting.reclaim_ms.is_some_and(|since| since <= upto_ms) {
            let segments = keeper.work_off(Command::Reclaim { upto_ms }).await?;
            counter!("flotilla_reclaimed_segments_total").increment(segments.into());
        }
        let upto_ms = self.ticker.due(waiting.clock_ms, self.periods.claim_idle);
        if waiting.idle_ms.is_some_and(|since| since <= upto_ms) {
            flotilla_env::failpoint!("homes.before_close", |_| Err(crate::metadata::read::Error::from(
                flotilla_raft_store::Error::NoLeader
            )
            .into()));
            let homes = keeper.work_off(Command::CloseIdle { upto_ms }).await?;
            counter!("flotilla_homes_closed_total").increment(homes.into());
        }
        if purges {
            self.end_uploads(keeper).await?;
            self.mark(keeper).await?;
            speak_for_former_members(keeper).await?;
        }
        release_homes(keeper).await
    }

    /// Ends uploads whose writers are retired.
    async fn end_uploads(&mut self, keeper: &Keeper) -> Result<(), Error> {
        let after = self.uploads_after.take();
        let (dead, next) = keeper.metadata.with_view(move |view| queues::dead_uploads(view, after, LOOK_MAX)).await??;
        self.uploads_after = next;
        for page in dead.chunks(reclaim::UPLOADS_MAX) {
            keeper.step(Command::EndUploads { uploads: page.to_vec() }).await?;
        }
        Ok(())
    }

    /// The first step of a purge, for everything that is garbage by now.
    async fn mark(&mut self, keeper: &Keeper) -> Result<(), Error> {
        let after = self.garbage_after.take();
        let (found, next) = keeper.metadata.with_view(move |view| queues::to_purge(view, after, LOOK_MAX)).await??;
        self.garbage_after = next;
        for page in found.chunks(purge::IDS_MAX) {
            flotilla_env::failpoint!("purge.before_mark", |_| Err(crate::metadata::read::Error::from(
                flotilla_raft_store::Error::NoLeader
            )
            .into()));
            // Marked ones are passed by, so that the same page again does the rest of it.
            let marked = keeper.work_off(Command::Purge { ids: page.to_vec(), holder: None }).await?;
            flotilla_env::failpoint!("purge.marked", |_| Err(crate::metadata::read::Error::from(
                flotilla_raft_store::Error::Indeterminate
            )
            .into()));
            counter!("flotilla_purge_marked_total").increment(marked.into());
        }
        Ok(())
    }
}

/// Nodes that left for good can't confirm that they unlinked anything, and need not.
async fn speak_for_former_members(keeper: &Keeper) -> Result<(), Error> {
    let members = keeper.metadata.group().status().members;
    let told = keeper.metadata.with_view(|view| queues::told_nodes(view, NODES_MAX)).await??;
    for node in told.into_iter().filter(|node| !members.contains_key(node)) {
        let ids = keeper.metadata.with_view(move |view| queues::told(view, node, purge::IDS_MAX)).await??;
        keeper.step(Command::Unlinked { node, ids }).await?;
    }
    Ok(())
}

/// Lets the directory give away homes that this cluster's log closed, then drops their records.
async fn release_homes(keeper: &Keeper) -> Result<(), Error> {
    let homes = keeper.metadata.with_view(|view| queues::unreleased(view, HOMES_MAX)).await??;
    if homes.is_empty() {
        return Ok(());
    }
    let epochs = homes.iter().map(|(_, epoch)| *epoch).collect();
    // What this view shows as closed is closed in the log for good: applied state does not go back.
    flotilla_env::failpoint!("homes.before_release", |_| Err(
        crate::homes::Error::Directory("a failpoint".into()).into()
    ));
    keeper.homes.release(homes).await?;
    flotilla_env::failpoint!("homes.released", |_| Err(crate::metadata::read::Error::from(
        flotilla_raft_store::Error::NoLeader
    )
    .into()));
    if let life::Answer::Done { count, .. } = keeper.step(Command::Released { epochs }).await? {
        counter!("flotilla_homes_released_total").increment(count.into());
    }
    Ok(())
}
