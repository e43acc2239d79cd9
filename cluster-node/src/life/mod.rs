//! The life cycle's thin code: every node unlinks what it was told to and looks for copies that nothing names; the leader moves
//! the cluster clock, releases what lingered, marks garbage and ends homes. What is right is decided in the log.

mod disk;
mod leader;
mod lost;
mod released;
mod ticker;

use std::{sync::Arc, time::Duration};

use flotilla_api::{NodeId, WriterId};
use flotilla_chunk_store::ChunkStore;
use flotilla_env::{Clock, Entropy};
use flotilla_member::Period;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use lost::Lost;
pub use released::{Released, Remains};

use crate::{
    gateway::sequence::Sequence,
    homes::Homes,
    metadata::{
        self, Answer, Command, Metadata,
        life::{self, queues},
    },
    repair::{self, Repair},
};

/// The longest pause between two rounds: a mark is followed, and a failed upload released, within about this time.
const ROUND_MAX: Duration = Duration::from_secs(1);
/// Commands of one kind in one round: what is left waits for the next round, so that no kind starves the others.
const COMMANDS_MAX: usize = 16;
/// How often it is asked what came of one append.
const ASKED_MAX: u32 = 8;

/// How long things wait.
#[derive(Debug, Clone, Copy)]
pub struct Periods {
    /// Replaced and deleted versions.
    pub version_linger: Period,
    /// Homes without a file.
    pub claim_idle: Period,
    /// Between two looks for garbage.
    pub purge_interval: Period,
}

/// Why a step could not be made; the next round tries again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Metadata(#[from] metadata::read::Error),
    #[error(transparent)]
    Queue(#[from] queues::Error),
    #[error(transparent)]
    Store(#[from] flotilla_chunk_store::Error),
    #[error(transparent)]
    Homes(#[from] crate::homes::Error),
    #[error(transparent)]
    Repair(#[from] repair::Error),
    #[error("a step was answered with {0:?}")]
    Answer(Answer),
}

/// Does a node's part of the life cycle.
pub struct Keeper {
    /// This node.
    pub node: NodeId,
    /// This process start's writer.
    pub writer: WriterId,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// This node's chunks.
    pub store: ChunkStore,
    /// The way to the directory.
    pub homes: Homes,
    /// What failed uploads left.
    pub released: Released,
    /// Where the uploads under way began.
    pub sequence: Sequence,
    /// Verifies other copies before one of this node goes.
    pub repair: Repair,
    /// What this node is named for and does not have.
    pub lost: Lost,
    /// How long things wait.
    pub periods: Periods,
    /// The monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
}

impl Keeper {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut leader = leader::Leader::new(self.periods);
        let mut inventory = disk::Inventory::default();
        let mut settled = 1;
        let purge_every = self.periods.purge_interval.0;
        let pause = ROUND_MAX.min(purge_every).min(leader.ticker.every());
        let mut purge_at = self.clock.now() + purge_every;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let now = self.clock.now();
            let purges = now >= purge_at;
            if purges {
                purge_at = now + purge_every;
            }
            self.round(&mut leader, &mut inventory, &mut settled, now, purges).await;
        }
    }

    async fn round(
        &self,
        leader: &mut leader::Leader,
        inventory: &mut disk::Inventory,
        settled: &mut u64,
        now: Instant,
        purges: bool,
    ) {
        let status = self.metadata.group().status();
        if status.catching_up || status.leader.is_none() {
            leader.ticker.rest();
            return;
        }
        if status.is_leader {
            tell(leader.round(self, now, purges).await, "what ends could not be worked off");
        } else {
            leader.ticker.rest();
        }
        tell(self.tell_released().await, "failed uploads could not be released");
        tell(self.unlink().await, "marked chunks could not be unlinked");
        if purges {
            tell(self.settle(settled).await, "it could not be told which uploads have ended");
            tell(self.compare(inventory).await, "the disk could not be compared with the metadata");
            tell(self.look_for_named(inventory).await, "the metadata could not be compared with the disk");
        }
    }

    /// Makes one step in the log.
    async fn step(&self, command: life::Command) -> Result<life::Answer, Error> {
        let id = self.metadata.fresh_id(&*self.entropy);
        match self.metadata.propose(id, Command::Life(command)).await?.answer {
            Answer::Life(answer) => Ok(answer),
            other => Err(Error::Answer(other)),
        }
    }

    /// Repeats a step while there is more, as often as one round may; gives how much was done.
    async fn work_off(&self, command: life::Command) -> Result<u32, Error> {
        let mut all = 0;
        for _ in 0..COMMANDS_MAX {
            match self.step(command.clone()).await? {
                life::Answer::Done { count, more } => {
                    all += count;
                    if !more || count == 0 {
                        break;
                    }
                }
                life::Answer::Closed | life::Answer::InUse | life::Answer::Passed => break,
            }
        }
        Ok(all)
    }

    /// Tells the log up to where all uploads of this process have ended, if that is further than it was `settled`.
    async fn settle(&self, settled: &mut u64) -> Result<(), Error> {
        let below = self.sequence.settled_below();
        if below > *settled {
            self.step(life::Command::Settle { node: self.node, writer: self.writer, below }).await?;
            *settled = below;
            // What is looked at next must have seen it.
            self.metadata.barrier().await?;
        }
        Ok(())
    }

    /// Tells the log what failed uploads left behind.
    async fn tell_released(&self) -> Result<(), Error> {
        for _ in 0..COMMANDS_MAX {
            let Some(mut remains) = self.released.next() else { return Ok(()) };
            flotilla_env::failpoint!("upload.before_release", |_| {
                self.released.again(remains.clone());
                Err(metadata::read::Error::from(flotilla_raft_store::Error::NoLeader).into())
            });
            if let Err(error) = self.learn_appended(&mut remains).await {
                self.released.again(remains);
                return Err(error);
            }
            let mut upload = remains.upload;
            let pages: Vec<&[_]> = match remains.chunks.is_empty() {
                true => vec![&[]],
                false => remains.chunks.chunks(life::purge::IDS_MAX).collect(),
            };
            for page in pages {
                let (node, writer) = (self.node, self.writer);
                let release = life::Command::Release { node, writer, upload: upload.take(), chunks: page.to_vec() };
                if let Err(error) = self.step(release).await {
                    self.released.again(remains);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Learns what came of an append whose answer stayed out, by sending it again under its id; one that was not made is made now.
    async fn learn_appended(&self, remains: &mut Remains) -> Result<(), Error> {
        let Some((id, append)) = remains.appending.clone() else { return Ok(()) };
        match self.metadata.propose(id, Command::AppendSegment(append)).await.map(|applied| applied.answer) {
            Ok(Answer::Appended { upload }) => remains.upload = Some(upload),
            // Its chunks are named by nothing.
            Ok(Answer::Refused(_)) => {}
            Ok(other) => return Err(Error::Answer(other)),
            // The log may have forgotten so old an id: the others wait no longer.
            Err(error) if error.is_indeterminate() && remains.asked >= ASKED_MAX => {
                tracing::warn!(%error, "a segment of a failed upload stays until this node starts again");
            }
            Err(error) => {
                remains.asked += u32::from(error.is_indeterminate());
                return Err(error.into());
            }
        }
        remains.appending = None;
        Ok(())
    }
}

fn tell(result: Result<(), Error>, what: &str) {
    if let Err(error) = result {
        tracing::debug!(%error, "{what}");
    }
}
