//! Sends a snapshot to another node, from where an earlier attempt stopped.

use std::time::Duration;

use bytes::Bytes;

use super::files::Staged;
use crate::{
    network::{
        Link, Member, Rpc, TransportError,
        messages::{Ended, Place, SnapshotBegin, SnapshotEnd, SnapshotPart, Ticket, Wanted},
    },
    store::{StoreError, types::Vote},
};

/// How many bytes of a part one message carries.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// How often the receiver may send us back before the attempt ends: a part that arrives damaged is sent again.
const STEPS_BACK_MAX: u32 = 16;
/// How long to wait for a receiver that installs another snapshot before it is asked again.
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// Why a snapshot was not sent. openraft tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// A message failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Our own files failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The receiver does not take it now.
    #[error("receiver does not take the snapshot: {0}")]
    NotTaken(&'static str),
}

/// Sends a snapshot and waits until it is installed; gives the receiver's vote.
///
/// # Cancel safety
/// May be dropped at any time; the next attempt goes on where this one stopped.
pub(crate) async fn send(
    link: &Link,
    target: u64,
    member: &Member,
    vote: Vote,
    staged: &Staged,
) -> Result<Vote, SendError> {
    let sender = Sender { link, target, member, staged, ticket: staged.manifest.ticket() };
    sender.send_parts().await?;
    flotilla_env::failpoint!("snapshot.after_send", |_| Err(TransportError::Unreachable("a failpoint".into()).into()));
    loop {
        let end = SnapshotEnd { vote, ticket: sender.ticket };
        match sender.call(Rpc::SnapshotEnd, &end).await? {
            Ended::Done(vote) => return Ok(vote),
            Ended::Working => {} // the receiver waits a while before it says so
            Ended::Gone => return Err(SendError::NotTaken("it was replaced by another one")),
        }
    }
}

struct Sender<'a> {
    link: &'a Link,
    target: u64,
    member: &'a Member,
    staged: &'a Staged,
    ticket: Ticket,
}

impl Sender<'_> {
    async fn call<Q, A>(&self, rpc: Rpc, request: &Q) -> Result<A, TransportError>
    where
        Q: serde::Serialize,
        A: serde::de::DeserializeOwned,
    {
        self.link.call(self.target, self.member, rpc, request, self.link.snapshot_timeout).await
    }

    async fn send_parts(&self) -> Result<(), SendError> {
        let begin = SnapshotBegin { manifest: (*self.staged.manifest).clone() };
        let mut wanted: Wanted = self.call(Rpc::SnapshotBegin, &begin).await?;
        let mut loaded: Option<(u32, Bytes)> = None;
        let mut steps_back = 0;
        let mut before = None;
        loop {
            let place = match wanted {
                Wanted::Next(place) => place,
                Wanted::Gone => return Err(SendError::NotTaken("it was replaced by another one")),
                Wanted::Busy => {
                    tokio::time::sleep(BUSY_WAIT).await;
                    return Err(SendError::NotTaken("it installs another one"));
                }
            };
            let number = usize::try_from(place.part).unwrap_or(usize::MAX);
            if number >= self.staged.manifest.parts.len() {
                return Ok(());
            }
            if before.is_some_and(|before| (place.part, place.offset) <= before) {
                steps_back += 1;
                if steps_back > STEPS_BACK_MAX {
                    return Err(SendError::NotTaken("it asked for the same bytes too often"));
                }
            }
            before = Some((place.part, place.offset));
            let part = match &loaded {
                Some((part, bytes)) if *part == place.part => bytes.clone(),
                _ => self.read(number).await?,
            };
            loaded = Some((place.part, part.clone()));
            flotilla_env::failpoint!("snapshot.before_send", |_| Err(TransportError::Unreachable(
                "a failpoint".into()
            )
            .into()));
            wanted = self.call(Rpc::SnapshotPart, &self.message(place, &part)).await?;
        }
    }

    fn message(&self, place: Place, part: &Bytes) -> SnapshotPart {
        let from = usize::try_from(place.offset).unwrap_or(usize::MAX).min(part.len());
        let to = part.len().min(from.saturating_add(CHUNK_BYTES));
        SnapshotPart { ticket: self.ticket, place, bytes: part.slice(from..to) }
    }

    /// Reads a part, checked: a damaged file must not travel. The snapshot is then given up for a new one.
    async fn read(&self, number: usize) -> Result<Bytes, SendError> {
        let staged = self.staged.clone();
        let read = flotilla_env::blocking::spawn(move || {
            let snapshots = staged.snapshots()?;
            snapshots.read_part(&staged, number).inspect_err(|error| {
                tracing::error!(%error, snapshot = %staged.name, "snapshot file is unusable; building another one");
                snapshots.lose(&staged);
            })
        });
        let bytes = read.await.map_err(|error| StoreError::Disk(std::io::Error::other(error)))??;
        Ok(Bytes::from(bytes))
    }
}
