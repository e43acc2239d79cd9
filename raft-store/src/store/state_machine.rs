//! Applies committed entries: the machine's writes, the kept results and the applied position in one atomic batch.
//!
//! Nothing here is synced: the log is what a restarted node applies again.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use flotilla_kv::Kv;
use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend,
    alias::SnapshotOf,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use tokio::sync::watch;

use super::{
    StoreError, codec,
    dedup::{Dedup, Kept, Verdict},
    envelope, keys,
    overlay::Overlay,
    rules::Rules,
    types::{Entry, LogId, Outcome, SnapshotMeta, StoredMembership, Types},
};
use crate::{
    machine::{Position, Txn},
    snapshot::{Builder, Snapshots, Staged},
};

/// How many entries are written as one batch: 256 commands of a dozen rows are some milliseconds of work and some hundred KiB.
const BATCH_ENTRIES_MAX: usize = 256;
/// How many rows, about, are written as one batch; a single command may write 1,024.
const BATCH_ROWS_MAX: usize = 4096;

/// What the state machine shares with the handle of its group.
pub(crate) struct Applied {
    /// The last applied index: what readers of the database can rely on.
    pub(crate) index: watch::Sender<u64>,
    /// Whether a snapshot is being installed; the applied state is not whole then.
    pub(crate) catching_up: watch::Sender<bool>,
    /// How many installations were begun.
    pub(crate) installs: AtomicU64,
    /// Called once when the state machine panics, which openraft would notice only at the next command.
    pub(crate) on_panic: Box<dyn Fn() + Send + Sync>,
}

/// A group's applied state.
pub(crate) struct StateMachine {
    kv: Arc<dyn Kv>,
    rules: Arc<dyn Rules>,
    snapshots: Arc<Snapshots>,
    shared: Arc<Applied>,
    applied: Option<LogId>,
    membership: StoredMembership,
    dedup: Dedup,
}

/// An entry's responder and what it is told.
type Response = (Option<ApplyResponder<Types>>, Outcome);

impl StateMachine {
    /// Reads the applied position. The state must be whole: a cut installation is redone before.
    pub(crate) fn open(
        kv: Arc<dyn Kv>,
        rules: Arc<dyn Rules>,
        snapshots: Arc<Snapshots>,
        shared: Arc<Applied>,
    ) -> Result<Self, StoreError> {
        let applied = kv.get(keys::META, keys::APPLIED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let membership = match kv.get(keys::META, keys::MEMBERSHIP)? {
            Some(bytes) => codec::decode_membership(&bytes)?,
            None => StoredMembership::default(),
        };
        let dedup = Dedup::load(&*kv)?;
        shared.index.send_replace(applied.map_or(0, |id| id.index()));
        Ok(Self { kv, rules, snapshots, shared, applied, membership, dedup })
    }

    /// Applies the next entries of a stream as one batch; `false` when the stream has ended.
    async fn apply_batch<S>(&mut self, entries: &mut S) -> Result<bool, io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let kv = self.kv.clone();
        let mut state = Overlay::new(&*kv);
        let mut responses: Vec<Response> = Vec::new();
        let mut membership = None;
        let mut applied = self.applied;
        while responses.len() < BATCH_ENTRIES_MAX && state.rows() < BATCH_ROWS_MAX {
            let Some((entry, responder)) = entries.try_next().await? else { break };
            if Some(entry.log_id.index()) <= applied.map(|id| id.index()) {
                return Err(StoreError::corrupt("log", format!("entry {} comes twice", entry.log_id)).into());
            }
            let outcome = self.apply_entry(&mut state, &entry)?;
            applied = Some(entry.log_id);
            if let EntryPayload::Membership(config) = entry.payload {
                membership = Some(StoredMembership::new(Some(entry.log_id), config));
            }
            responses.push((responder, outcome));
        }
        let Some(last) = applied.filter(|_| !responses.is_empty()) else { return Ok(false) };
        let mut batch = state.into_batch();
        batch.put(keys::META, keys::APPLIED, codec::encode_log_id(&last));
        if let Some(membership) = &membership {
            batch.put(keys::META, keys::MEMBERSHIP, codec::encode_membership(membership));
        }
        flotilla_env::failpoint!("raft.before_apply", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        self.kv.write(batch).map_err(StoreError::from)?;
        flotilla_env::failpoint!("raft.after_apply", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        self.applied = Some(last);
        self.membership = membership.unwrap_or_else(|| self.membership.clone());
        self.shared.index.send_replace(last.index());
        for (responder, outcome) in responses {
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(true)
    }

    fn apply_entry(&mut self, state: &mut Overlay<'_>, entry: &Entry) -> Result<Outcome, StoreError> {
        let EntryPayload::Normal(proposal) = &entry.payload else { return Ok(Outcome::Nothing) };
        let at = Position { index: entry.log_id.index(), term: entry.log_id.committed_leader_id().term };
        let (head, command) = envelope::split(&proposal.0)?;
        if head.version > self.rules.version() {
            let known = self.rules.version();
            return Err(StoreError::CommandVersion { index: at.index, version: head.version, known });
        }
        match self.dedup.verdict(state, &head.id)? {
            Verdict::TooOld => Ok(Outcome::Indeterminate),
            Verdict::Known(Kept { index, answer }) => Ok(Outcome::Applied { index, replayed: true, answer }),
            Verdict::New => {
                let (answer, is_kept) = self.rules.apply(state as &mut dyn Txn, command, at)?;
                let kept = Kept { index: at.index, answer: answer.into() };
                if is_kept {
                    self.dedup.keep(state, &head.id, &kept)?;
                }
                Ok(Outcome::Applied { index: kept.index, replayed: false, answer: kept.answer })
            }
        }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Staged;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    /// Applies entries and answers those who wait for them. An error means that the process ends: what was written is whole, and
    /// nobody was told of what was not.
    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while self.apply_batch(&mut entries).await? {
            // A node that was away applies for seconds; others on this thread want to run too.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let families = self.rules.families();
        Builder::start(self.snapshots.clone(), self.kv.clone(), families).await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, staged: Staged) -> Result<(), io::Error> {
        self.shared.installs.fetch_add(1, Ordering::SeqCst);
        self.shared.catching_up.send_replace(true);
        let (kv, snapshots, families) = (self.kv.clone(), self.snapshots.clone(), self.rules.families());
        let installed =
            flotilla_env::blocking::spawn(move || crate::snapshot::install(&*kv, &snapshots, families, &staged)).await;
        installed.map_err(io::Error::other)??;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.dedup = Dedup::load(&*self.kv)?;
        self.shared.index.send_replace(self.applied.map_or(0, |id| id.index()));
        self.shared.catching_up.send_replace(false);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Staged>>, io::Error> {
        if let Some(staged) = self.snapshots.current() {
            return Ok(Some(staged.into_snapshot()?));
        }
        if !self.snapshots.lost() {
            return Ok(None);
        }
        // The files were found damaged while they were sent, and the log before them is gone: the follower needs new ones.
        Ok(Some(self.get_snapshot_builder().await.finish().await?.into_snapshot()?))
    }
}

impl Drop for StateMachine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.shared.on_panic)();
        }
    }
}

/// Calls a function once, whoever asks first.
pub(crate) struct Once {
    done: AtomicBool,
    call: Arc<dyn Fn(String) + Send + Sync>,
}

impl Once {
    pub(crate) fn new(call: Arc<dyn Fn(String) + Send + Sync>) -> Self {
        Self { done: AtomicBool::new(false), call }
    }

    /// Marks the call as made without making it.
    pub(crate) fn disarm(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    pub(crate) fn call(&self, why: impl FnOnce() -> String) {
        if !self.done.swap(true, Ordering::SeqCst) {
            (self.call)(why());
        }
    }
}

#[cfg(test)]
mod tests;
