//! The log and the vote, in the order in which Raft writes them.
//!
//! It must not know what the entries mean.

use std::{
    io,
    sync::{Arc, Mutex},
};

use flotilla_kv::{Batch, Kv};
use openraft::{
    LogState, OptionalSend,
    storage::{IOFlushed, RaftLogStorage},
};

use super::{
    StoreError, codec, keys, lock,
    log_reader::LogReader,
    ring::{RING_BYTES_MAX, RING_ENTRIES_MAX, Ring},
    types::{Entry, LogId, Types, Vote},
};

/// A group's log.
///
/// Everything is written through the database's one WAL, so that a vote, an append and a truncation reach the disk in the order in
/// which openraft asked for them (openraft docs::protocol::io_ordering): a crash keeps a prefix.
#[derive(Clone)]
pub(crate) struct LogStore {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) state: Mutex<State>,
}

/// What is known of the log without reading it.
pub(super) struct State {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) ring: Ring,
}

impl LogStore {
    /// Reads the vote and the ends of the log, and finishes a purge that a crash cut short.
    pub(crate) fn open(kv: Arc<dyn Kv>) -> Result<Self, StoreError> {
        let vote = kv.get(keys::META, keys::VOTE)?.map(|bytes| codec::decode_vote(&bytes)).transpose()?;
        let purged = kv.get(keys::META, keys::PURGED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        if let Some(purged) = &purged {
            // The mark was read back from the database, so it is durable (a started database trusts only what it synced again).
            drop_upto(&*kv, purged.index())?;
        }
        let last = kv.last(keys::LOG)?.map(|(_, value)| codec::decode_entry(&value)).transpose()?;
        let last = last.map(|entry| entry.log_id);
        let state = State { vote, purged, last, ring: Ring::new(RING_ENTRIES_MAX, RING_BYTES_MAX) };
        Ok(Self { shared: Arc::new(Shared { kv, state: Mutex::new(state) }) })
    }

    fn write(&self, batch: Batch) -> io::Result<()> {
        self.shared.kv.write(batch).map_err(io::Error::other)
    }

    async fn sync(&self) -> io::Result<()> {
        flotilla_kv::sync(&*self.shared.kv).await.map_err(io::Error::other)
    }
}

/// Removes the entries up to `index`, once the mark that says so is durable.
fn drop_upto(kv: &dyn Kv, index: u64) -> Result<(), flotilla_kv::Error> {
    kv.drop_range(keys::LOG, &keys::log_key(0), &keys::log_key(index.saturating_add(1)))
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = lock(&self.shared.state);
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last.or(state.purged) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    /// Saves the vote, synced when it returns.
    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        flotilla_env::failpoint!("raft.before_vote", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        let mut batch = Batch::default();
        batch.put(keys::META, keys::VOTE, codec::encode_vote(vote));
        self.write(batch)?;
        // Readers stop serving the old leader's replication at once: earlier than they must is safe.
        lock(&self.shared.state).vote = Some(*vote);
        flotilla_env::failpoint!("raft.vote_written", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        self.sync().await?;
        flotilla_env::failpoint!("raft.after_vote", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        Ok(())
    }

    /// Saves the mark without a sync: it is a hint that spares a restarted node some waiting.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        match &committed {
            Some(id) => batch.put(keys::META, keys::COMMITTED, codec::encode_log_id(id)),
            None => batch.delete(keys::META, keys::COMMITTED),
        };
        self.write(batch)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let bytes = self.shared.kv.get(keys::META, keys::COMMITTED).map_err(io::Error::other)?;
        Ok(bytes.map(|bytes| codec::decode_log_id(&bytes)).transpose()?)
    }

    /// Appends entries: readable on return, durable when `callback` is told so, in the order of the calls.
    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        flotilla_env::failpoint!("raft.before_append", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        let mut batch = Batch::default();
        let mut appended = Vec::new();
        for entry in entries {
            let bytes = codec::encode_entry(&entry);
            appended.push((entry.clone(), bytes.len()));
            batch.put(keys::LOG, keys::log_key(entry.log_id.index()), bytes);
        }
        self.write(batch)?;
        {
            let mut state = lock(&self.shared.state);
            for (entry, bytes) in appended {
                state.last = Some(entry.log_id);
                state.ring.push(entry, bytes);
            }
        }
        flotilla_env::failpoint!("raft.append_written", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        self.shared.kv.sync_then(Box::new(move |synced| {
            flotilla_env::failpoint!("raft.after_append");
            callback.io_completed(synced.map_err(io::Error::other));
        }));
        Ok(())
    }

    /// Removes the entries behind `last_log_id`, without a sync: the WAL keeps the removal before the next append.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        flotilla_env::failpoint!("raft.before_truncate", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        let from = last_log_id.map_or(0, |id| id.index() + 1);
        let mut batch = Batch::default();
        batch.delete_range(keys::LOG, keys::log_key(from), keys::LOG_END);
        self.write(batch)?;
        flotilla_env::failpoint!("raft.after_truncate", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        let mut state = lock(&self.shared.state);
        state.ring.truncate(from);
        if state.last.is_some_and(|last| last.index() >= from) {
            state.last = last_log_id.filter(|last| Some(last.index()) > state.purged.map(|purged| purged.index()));
        }
        Ok(())
    }

    /// Removes the entries up to `log_id`, once a mark that says so is synced: the removal itself is not in the order of the WAL,
    /// so a crash could otherwise leave a log with a hole before it.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        flotilla_env::failpoint!("raft.before_purge", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        let mut batch = Batch::default();
        batch.put(keys::META, keys::PURGED, codec::encode_log_id(&log_id));
        self.write(batch)?;
        {
            let mut state = lock(&self.shared.state);
            state.purged = Some(log_id);
            state.ring.purge(log_id.index());
            if state.last.is_some_and(|last| last.index() <= log_id.index()) {
                state.last = None;
            }
        }
        self.sync().await?;
        flotilla_env::failpoint!("raft.purge_marked", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        let kv = self.shared.kv.clone();
        // Unlinking files takes the database's lock and writes its manifest: milliseconds, which would stall heartbeats.
        let dropped = flotilla_env::blocking::spawn(move || drop_upto(&*kv, log_id.index())).await;
        dropped.map_err(io::Error::other)?.map_err(io::Error::other)?;
        flotilla_env::failpoint!("raft.after_purge", |arg| Err(flotilla_env::failpoint::io_error(arg)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
