//! What waits for the thread that commits. Must not know how it is carried out.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
};

use bytes::Bytes;
use flotilla_api::ChunkId;
use tokio::sync::oneshot;

use super::{Promise, index::Place, record::Kind};
use crate::{claims::Claim, error::Error, writer::Stored};

/// How many jobs one sync serves at most: the records of one `pwritev` or two, and no longer than a sync takes by itself.
const GROUP_JOBS_MAX: usize = 256;

/// How many bytes one sync serves at most, but for the job that goes beyond: some milliseconds of writing.
const GROUP_BYTES_MAX: u64 = 8 << 20;

/// How many groups of others go before one of the keeper's jobs: it yields to them, but not for ever.
const KEEPER_WAITS_GROUPS: u32 = 16;

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Job {
    Put(Box<Put>),
    /// Answered when the removal is synced.
    Remove {
        ids: Vec<ChunkId>,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Records that move to another volume, for the keeper.
    Copy {
        records: Vec<Copied>,
        done: mpsc::SyncSender<Result<(), Error>>,
    },
}

/// A chunk that is to be written.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) id: ChunkId,
    pub(crate) kind: Kind,
    pub(crate) sums: Vec<u32>,
    pub(crate) parts: Vec<Bytes>,
    pub(crate) stored: Stored,
    pub(crate) claim: Claim,
    pub(crate) promise: Promise,
    pub(crate) done: oneshot::Sender<Result<Stored, Error>>,
}

/// A record that is to be written again elsewhere.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) id: ChunkId,
    pub(crate) from: Place,
    pub(crate) kind: Kind,
    pub(crate) sums: Vec<u32>,
    pub(crate) data: Bytes,
}

/// The jobs that wait: one for each claimed chunk at most, one for each caller that waits for a removal, one of the keeper.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    keeper: Option<Job>,
    groups_before_keeper: u32,
    /// Whether the thread waits, so that a call to wake it is made only then.
    asleep: bool,
    closed: bool,
}

impl Job {
    fn bytes(&self) -> u64 {
        match self {
            Self::Put(put) => put.stored.length,
            Self::Remove { ids, .. } => (ids.len() * ChunkId::LEN) as u64,
            Self::Copy { records, .. } => records.iter().map(|record| record.from.length).sum(),
        }
    }
}

impl Queue {
    /// Adds a job. A closed queue drops it, which its asker sees.
    pub(crate) fn push(&self, job: Job) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        match job {
            Job::Copy { .. } => state.keeper = Some(job),
            Job::Put(_) | Job::Remove { .. } => state.jobs.push_back(job),
        }
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.came.notify_one();
        }
    }

    /// Takes all that is ready, up to the bounds of a group; waits while there is nothing. None once the queue is closed and
    /// empty.
    pub(crate) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.state();
        loop {
            if let Some(jobs) = state.ready() {
                return Some(jobs);
            }
            if state.closed {
                return None;
            }
            state.asleep = true;
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes what [`Queue::take`] would, but none where that would wait.
    pub(crate) fn take_ready(&self) -> Option<Vec<Job>> {
        self.state().ready()
    }

    /// Lets [`Queue::take`] end once all that waits was taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.came.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ready(&mut self) -> Option<Vec<Job>> {
        let keepers_turn = self.jobs.is_empty() || self.groups_before_keeper >= KEEPER_WAITS_GROUPS;
        if self.keeper.is_some() && keepers_turn {
            self.groups_before_keeper = 0;
            return self.keeper.take().map(|job| vec![job]);
        }
        if self.jobs.is_empty() {
            return None;
        }
        self.groups_before_keeper += 1;
        Some(self.group())
    }

    fn group(&mut self) -> Vec<Job> {
        let mut bytes = 0;
        let fits = |job: &Job| {
            let fits = bytes < GROUP_BYTES_MAX;
            bytes += job.bytes();
            fits
        };
        let count = self.jobs.iter().take(GROUP_JOBS_MAX).map(fits).take_while(|fits| *fits).count();
        self.jobs.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(ids: usize) -> Job {
        let id = ChunkId { writer: flotilla_api::WriterId(1), seq: 0 };
        Job::Remove { ids: vec![id; ids], done: oneshot::channel().0 }
    }

    fn copy() -> Job {
        Job::Copy { records: Vec::new(), done: mpsc::sync_channel(1).0 }
    }

    #[test]
    fn a_group_is_all_that_waits_within_its_bounds() {
        let queue = Queue::default();
        (0..GROUP_JOBS_MAX + 5).for_each(|_| queue.push(removal(1)));
        assert_eq!(queue.take().map(|group| group.len()), Some(GROUP_JOBS_MAX));
        assert_eq!(queue.take().map(|group| group.len()), Some(5));
        let half = GROUP_BYTES_MAX as usize / 2 / ChunkId::LEN;
        (0..3).for_each(|_| queue.push(removal(half)));
        assert_eq!(queue.take().map(|group| group.len()), Some(2));
        queue.close();
        queue.push(removal(1));
        assert_eq!(queue.take().map(|group| group.len()), Some(1), "what waited is still served");
        assert!(queue.take().is_none(), "what came later is not");
    }

    #[test]
    fn the_keeper_yields_to_others_but_not_for_ever() {
        let queue = Queue::default();
        queue.push(copy());
        queue.push(removal(1));
        let mut groups = 0;
        while matches!(queue.take().expect("jobs wait")[0], Job::Remove { .. }) {
            groups += 1;
            queue.push(removal(1));
        }
        assert_eq!(groups, KEEPER_WAITS_GROUPS);
        queue.push(copy());
        queue.take().expect("the removal that is left");
        assert!(matches!(queue.take().expect("jobs wait")[0], Job::Copy { .. }), "at once when nobody else waits");
    }
}
