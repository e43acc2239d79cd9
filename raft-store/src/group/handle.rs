//! Messages from the other nodes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{Error, core::Core};
use crate::{
    network::{
        Rpc,
        messages::{Ended, Propose, Proposed, SnapshotBegin, SnapshotEnd, SnapshotPart},
        wire::{self, Refusal, answer},
    },
    snapshot::{Installed, Installing, Staged},
    store::{StoreError, envelope, types::Vote},
};

/// How long a node waits for its own installation before it says that it is still at it: less than a message's deadline.
const INSTALL_WAIT: Duration = Duration::from_secs(1);
/// How long a command waits here at most, whatever its sender says.
const PROPOSE_WAIT_MAX: Duration = Duration::from_secs(10);

impl Core {
    /// Handles a message and gives its answer.
    pub(super) async fn handle(self: &Arc<Self>, rpc: Rpc, body: &Bytes) -> Result<Bytes, Error> {
        match rpc {
            Rpc::Append | Rpc::Heartbeat => {
                let appended = self.raft.append_entries(self.decode(body)?).await;
                Ok(answer(&appended.map_err(|_| Error::Stopped)?))
            }
            Rpc::Vote => Ok(answer(&self.raft.vote(self.decode(body)?).await.map_err(|_| Error::Stopped)?)),
            Rpc::PreVote => Ok(answer(&self.raft.pre_vote(self.decode(body)?).await.map_err(|_| Error::Stopped)?)),
            Rpc::Transfer => {
                let taken = self.raft.handle_transfer_leader(self.decode(body)?).await;
                Ok(answer(&taken.map_err(|_| Error::Stopped)?))
            }
            Rpc::SnapshotBegin => {
                let SnapshotBegin { manifest } = self.decode(body)?;
                let inbox = self.inbox.clone();
                Ok(answer(&blocking(move || inbox.begin(manifest)).await?))
            }
            Rpc::SnapshotPart => {
                let message: SnapshotPart = self.decode(body)?;
                let inbox = self.inbox.clone();
                Ok(answer(&blocking(move || inbox.part(&message)).await?))
            }
            Rpc::SnapshotEnd => Ok(answer(&self.end_snapshot(self.decode(body)?).await?)),
            Rpc::Propose => Ok(answer(&self.take_proposal(self.decode(body)?).await?)),
            Rpc::ReadIndex => {
                let () = self.decode(body)?;
                Ok(answer(&self.read_index().await))
            }
        }
    }

    fn decode<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, Error> {
        Ok(wire::decode_request(&self.link.group, self.id, body)?)
    }

    async fn take_proposal(&self, propose: Propose) -> Result<Proposed, Error> {
        let (head, _) = envelope::split(&propose.envelope)?;
        if head.version > self.version || propose.envelope.len() > envelope::COMMAND_BYTES_MAX {
            // In the log it would stop every node of this build.
            return Err(Refusal::Malformed(format!("command has version {} or is too long", head.version)).into());
        }
        let wait = Duration::from_millis(propose.wait_ms.into()).min(PROPOSE_WAIT_MAX);
        Ok(self.submit(propose.envelope, self.clock.now() + wait).await)
    }

    async fn end_snapshot(self: &Arc<Self>, SnapshotEnd { vote, ticket }: SnapshotEnd) -> Result<Ended, Error> {
        let inbox = self.inbox.clone();
        let mut installed = match blocking(move || Ok(inbox.end(ticket, vote))).await? {
            Installing::Gone => return Ok(Ended::Gone),
            Installing::Wait(installed) => installed,
            Installing::Start(staged, result) => {
                let installed = result.subscribe();
                // A task of its own: the sender may go away, the installation has to be seen to its end. It ends with openraft.
                tokio::spawn(self.clone().install(vote, staged, result));
                installed
            }
        };
        match tokio::time::timeout(INSTALL_WAIT, installed.wait_for(Option::is_some)).await {
            Ok(Ok(result)) => match result.as_ref() {
                Some(Ok(vote)) => Ok(Ended::Done(*vote)),
                Some(Err(_)) | None => Err(Error::Stopped),
            },
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Ok(Ended::Working),
        }
    }

    async fn install(self: Arc<Self>, vote: Vote, staged: Staged, result: watch::Sender<Installed>) {
        let installed = match staged.into_snapshot() {
            Ok(snapshot) => {
                let installed = self.raft.install_full_snapshot(vote, snapshot).await;
                installed.map(|response| response.vote).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        result.send_replace(Some(installed));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Error> {
    let done = flotilla_env::blocking::spawn(work).await;
    Ok(done.map_err(|error| StoreError::Disk(std::io::Error::other(error)))??)
}
