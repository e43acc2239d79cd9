//! What the group keeps of its supernodes, as the rounds of their membership need it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use flotilla_api::{NodeId, peer::Supernode};
use flotilla_env::{Clock, Entropy};
use flotilla_member::membership::{Decided, Error, Heard, Register};
use flotilla_raft_store::Group;
use tokio::time::Instant;
use uuid::Uuid;

use crate::directory::{Answer, Command, Directory, DirectoryMachine, Refusal, members, read};

/// Keeps the supernodes as the rules want them.
pub type Membership = flotilla_member::membership::Membership<Roster>;

/// A leader that did not look for so long was asleep, or led for too short a time to know.
const ASLEEP: Duration = Duration::from_secs(5);
/// Between two tries to have a start noted.
const START_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// For how long this leader has looked at the others.
#[derive(Debug, Clone, Copy)]
struct Watch {
    term: u64,
    since: Instant,
    last: Instant,
}

/// The register of the supernodes. Cheap to clone.
#[derive(Clone)]
pub struct Roster {
    node: NodeId,
    directory: Directory,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    watch: Arc<Mutex<Option<Watch>>>,
}

impl Roster {
    /// Puts the parts together, for supernode `node`.
    #[must_use]
    pub fn new(node: NodeId, directory: Directory, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { node, directory, clock, entropy, watch: Arc::default() }
    }

    /// Has the log note that this supernode has started, until it has: from then on an older copy of its disk is known for one, and
    /// clusters are told of it.
    ///
    /// # Cancel safety
    /// A dropped future may leave the note on its way, which the next start goes on from.
    pub async fn start(&self, card: &Supernode) {
        let mut wait = START_AGAIN_AFTER;
        loop {
            match self.try_start(card).await {
                Ok(Answer::Started(start)) => {
                    tracing::info!(node = %self.node, start, "the start is noted");
                    return;
                }
                Ok(answer) => {
                    // Until it is told that it was removed, or what another process of it has done is known.
                    tracing::warn!(?answer, "the start is not noted");
                    wait = START_AGAIN_AFTER * 10;
                }
                Err(error) => tracing::debug!(%error, "the start is not noted yet"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks once, as the start that follows the last one that is known. A try that was noted without an answer is the last one then.
    async fn try_start(&self, card: &Supernode) -> Result<Answer, Error> {
        self.barrier().await?;
        let after = self.start_of(self.node)?;
        self.step(members::Command::Start { card: card.clone(), after }).await
    }

    /// Has a supernode leave for ever; refused, as the answer says, if no other one would stay.
    ///
    /// # Errors
    /// [`Error::Raft`], whose kind tells whether it can have been decided.
    ///
    /// # Cancel safety
    /// A dropped future may leave the order on its way. It can be repeated.
    pub async fn remove(&self, id: NodeId) -> Result<Answer, Error> {
        self.step(members::Command::Remove { id }).await
    }

    async fn step(&self, command: members::Command) -> Result<Answer, Error> {
        Ok(self.directory.propose(self.entropy.u128(), Command::Members(command)).await?)
    }
}

fn odd(answer: &Answer) -> Error {
    Error::Register(format!("a step was answered with {answer:?}").into())
}

#[async_trait]
impl Register for Roster {
    type Machine = DirectoryMachine;

    fn group(&self) -> &Group<DirectoryMachine> {
        self.directory.group()
    }

    async fn barrier(&self) -> Result<(), Error> {
        Ok(self.directory.barrier().await?)
    }

    async fn place(&self, disk: Uuid, floor: u64) -> Result<Option<NodeId>, Error> {
        match self.step(members::Command::Join { disk, floor }).await? {
            Answer::Member(id) => Ok(Some(id)),
            Answer::Refused(Refusal::TooMany) => Ok(None),
            other => Err(odd(&other)),
        }
    }

    async fn decided(&self) -> Result<BTreeMap<NodeId, Decided>, Error> {
        let rows = self.directory.members()?.into_iter().filter(|(_, row)| row.leaves);
        Ok(rows.map(|(id, row)| (id, Decided { drains: false, leaves: row.leaves })).collect())
    }

    async fn noted(&self) -> Result<Vec<NodeId>, Error> {
        Ok(self.directory.members()?.into_keys().collect())
    }

    async fn forget(&self, node: NodeId) -> Result<(), Error> {
        match self.step(members::Command::Forget { id: node }).await? {
            Answer::Done => Ok(()),
            other => Err(odd(&other)),
        }
    }

    fn member_of(&self, disk: Uuid) -> Result<Option<NodeId>, Error> {
        Ok(self.directory.member_of(disk)?)
    }

    fn start_of(&self, node: NodeId) -> Result<Option<u64>, Error> {
        Ok(self.directory.member(node)?.and_then(|row| row.start))
    }

    fn heard(&self) -> Vec<Heard> {
        let group = self.directory.group();
        let others = group.status().members.into_keys().filter(|id| *id != self.node);
        let heard = |node| {
            let silent_for = group.heard(node)?;
            // One that installs a snapshot has not caught up either.
            Some(Heard { node, zone: None, silent_for, serves: true })
        };
        others.filter_map(heard).collect()
    }

    fn steady_for(&self) -> Duration {
        let (now, term) = (self.clock.now(), self.directory.group().status().term);
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match *watch {
            Some(Watch { term: before, since, last }) if before == term && now.duration_since(last) < ASLEEP => since,
            Some(_) | None => now,
        };
        *watch = Some(Watch { term, since, last: now });
        now.duration_since(since)
    }
}

impl From<read::Error> for Error {
    fn from(error: read::Error) -> Self {
        match error {
            read::Error::Raft(error) => Self::Raft(error),
            read::Error::Kv(_) | read::Error::Rebuilding | read::Error::Corrupt { .. } => {
                Self::Register(Box::new(error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
