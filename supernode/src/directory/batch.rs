//! Claims in batches: those that arrive while others are on their way through the log go together, in one entry. With two batches on
//! their way each would be half as large, and no claim faster: all wait for the same disk.

use std::{sync::Arc, time::Duration};

use flotilla_api::{ClusterName, CommandId, FileName, RequestId};
use flotilla_env::{Clock, Entropy};
use flotilla_raft_store::Group;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Answer, Command, DirectoryMachine,
    machine::{CLAIMS_MAX, Claim, Claimed, Refusal},
    read::{DEADLINE, Error},
};

/// Claims that wait to be sent; more wait to be taken.
const WAITING_MAX: usize = 4096;

/// A claim that has less time left is not sent any more: its outcome would only become unknown.
const LATE: Duration = Duration::from_millis(500);

/// What a claimant is told: its answer, or why its whole batch failed.
type Told = Result<Result<Claimed, Refusal>, Arc<Error>>;

struct Waiting {
    claim: Claim,
    until: Instant,
    told: oneshot::Sender<Told>,
}

/// Sends claims. Clones share the batches; the last one that is dropped ends the task that sends them.
#[derive(Clone)]
pub(super) struct Claimer {
    waiting: mpsc::Sender<Waiting>,
    clock: Arc<dyn Clock>,
}

impl Claimer {
    /// Begins to send.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn new(group: Group<DirectoryMachine>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(send(group, Arc::clone(&clock), entropy, waiting));
        Self { waiting: sender, clock }
    }

    /// Claims a key for a cluster, and gives its home; the first claim in the log wins.
    ///
    /// # Errors
    /// [`Error::Raft`], whose kind tells whether the claim can have been made.
    ///
    /// # Cancel safety
    /// A dropped future may leave the claim on its way. It can be repeated, and one that nobody uses is taken back.
    pub(super) async fn claim(
        &self,
        name: FileName,
        cluster: ClusterName,
    ) -> Result<Result<Claimed, Refusal>, Arc<Error>> {
        let (told, answer) = oneshot::channel();
        let stopped = || Arc::new(Error::Raft(flotilla_raft_store::Error::Stopped));
        let until = self.clock.now() + DEADLINE;
        let waiting = Waiting { claim: Claim { name, cluster }, until, told };
        self.waiting.send(waiting).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

async fn send(
    group: Group<DirectoryMachine>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    mut waiting: mpsc::Receiver<Waiting>,
) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, CLAIMS_MAX).await > 0 {
        send_one(&group, RequestId::from_bits(entropy.u128()), std::mem::take(&mut batch), clock.now()).await;
    }
}

async fn send_one(group: &Group<DirectoryMachine>, id: RequestId, batch: Vec<Waiting>, now: Instant) {
    let gone = |waiting: &Waiting| waiting.told.is_closed();
    let (late, batch): (Vec<_>, Vec<_>) =
        batch.into_iter().filter(|waiting| !gone(waiting)).partition(|waiting| waiting.until <= now + LATE);
    // Their time went by in which nobody led: nothing of them was sent.
    tell_all(late, flotilla_raft_store::Error::NoLeader);
    // Nobody waits longer than for its own time; who came later is told earlier, and asks again.
    let Some(until) = batch.iter().map(|waiting| waiting.until).min() else { return };
    let claims = batch.iter().map(|waiting| waiting.claim.clone()).collect();
    let id = CommandId { id, seen: Some(group.applied_index()) };
    flotilla_env::failpoint!("claims.batched");
    // Nobody waits any more for those whose request was dropped meanwhile.
    match group.propose(id, Command::Claim { claims }, until - now).await.map(|applied| applied.answer) {
        Ok(Answer::Claimed(answers)) if answers.len() == batch.len() => {
            for (waiting, answer) in batch.into_iter().zip(answers) {
                let _ = waiting.told.send(Ok(answer));
            }
        }
        Ok(answer) => {
            tracing::error!(?answer, "claims were answered with something else");
        }
        Err(error) => tell_all(batch, error),
    }
}

fn tell_all(batch: Vec<Waiting>, error: flotilla_raft_store::Error) {
    let error = Arc::new(Error::Raft(error));
    for waiting in batch {
        let _ = waiting.told.send(Err(Arc::clone(&error)));
    }
}

#[cfg(test)]
mod tests;
