//! Repair: the leader finds chunks with too few copies, or one too many, and plans; nodes carry tasks out and tell the log.
//!
//! It must not know how requests of clients go. What is right is decided by the rules in [`crate::metadata::heal`].

mod balance;
mod copies;
mod fleet;
pub mod gate;
pub mod pace;
mod planner;
mod pull;
mod survey;
pub mod transfers;
mod worker;

use std::{sync::Arc, time::Duration};

use flotilla_api::NodeId;
use flotilla_chunk_store::ChunkStore;
use flotilla_client::PeerClient;
use flotilla_env::{Clock, Entropy};
use flotilla_member::Period;
use tokio_util::sync::CancellationToken;

use self::{gate::Gate, pace::Pace, transfers::Transfers};
use crate::{
    board::Board,
    gateway::{fetch::Replicas, speeds::Speeds},
    metadata::{
        self, Answer, Command, Metadata,
        heal::{self, tasks},
        life::queues,
    },
};

/// The pause between two rounds without work.
const ROUND: Duration = Duration::from_millis(500);
/// How long a task is leased for; kept on while it goes on.
const LEASE: Period = Period::secs(20);

/// Why a step could not be made; the next round tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata could not be read or changed.
    #[error(transparent)]
    Metadata(#[from] metadata::read::Error),
    /// A page of it could not be read.
    #[error(transparent)]
    Queue(#[from] queues::Error),
    /// A command was answered by another kind of answer.
    #[error("a step was answered with {0:?}")]
    Answer(Answer),
}

/// What repair needs of its node.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// How many copies every chunk should have.
    pub replicas: usize,
    /// How long a node may be silent before its copies are made anew.
    pub down_grace: Period,
    /// The longest time between two surveys.
    pub survey_every: Duration,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// What the leader knows of the nodes.
    pub board: Board,
    /// This node's chunks.
    pub store: ChunkStore,
    /// The way to other nodes.
    pub peers: PeerClient,
    /// Where they are.
    pub holders: Arc<dyn Replicas>,
    /// Keeps copies and unlinks apart.
    pub gate: Gate,
    /// How fast this node copies.
    pub pace: Pace,
    /// What it copied.
    pub transfers: Transfers,
    /// The monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// Chances and ids of commands.
    pub entropy: Arc<dyn Entropy>,
}

/// Does a node's part of repair.
#[derive(Clone)]
pub struct Repair(Arc<Parts>, Speeds);

impl Repair {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let speeds = Speeds::new(parts.clock.clone());
        Self(Arc::new(parts), speeds)
    }

    /// Plans while this node leads, and carries tasks out, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let plan = async {
            let mut planner = planner::Planner::new(self.clone());
            loop {
                let more = planner.round().await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "repair could not be planned");
                    false
                });
                match more {
                    true => tokio::task::yield_now().await,
                    false => planner.rest().await,
                }
            }
        };
        let work = async {
            loop {
                let more = self.work().await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "a task could not be carried out");
                    false
                });
                pause(more).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = plan => {}
            () = work => {}
        }
    }

    /// Keeps copies and unlinks of this node apart.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Makes one step in the log.
    async fn step(&self, command: heal::Command) -> Result<heal::Answer, Error> {
        let Parts { metadata, entropy, .. } = &*self.0;
        let id = metadata.fresh_id(&**entropy);
        match metadata.propose(id, Command::Heal(command)).await?.answer {
            Answer::Heal(answer) => Ok(answer),
            other => Err(Error::Answer(other)),
        }
    }

    /// Reads the tasks that stand, those planned first before the others.
    async fn tasks(&self) -> Result<Vec<(tasks::TaskId, metadata::rows::TaskRow)>, Error> {
        Ok(self.0.metadata.with_view(|view| tasks::all(view)).await??)
    }
}

/// A round that left more to do is followed by the next one as soon as others had their turn.
async fn pause(more: bool) {
    match more {
        true => tokio::task::yield_now().await,
        false => tokio::time::sleep(ROUND).await,
    }
}

#[cfg(test)]
mod tests;
