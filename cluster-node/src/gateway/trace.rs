//! What one upload has written and nothing names yet: told to the log when the upload fails, so that its chunks become garbage.
//!
//! Whatever could still be named stays unsaid: once a commit or an append may be on its way, only its answer ends the silence.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flotilla_api::{ChunkId, NodeId};

use crate::life::{Released, Remains};

/// The chunks of one upload. Clones share it; when the last one goes, what was not committed is released.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    released: Released,
    /// Every node that may have been sent a copy.
    nodes: Vec<NodeId>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    upload: Option<u64>,
    chunks: Vec<ChunkId>,
    silent: bool,
}

impl Trace {
    /// Begins a trace; `nodes` may get copies.
    #[must_use]
    pub fn new(released: Released, nodes: Vec<NodeId>) -> Self {
        Self(Arc::new(Inner { released, nodes, state: Mutex::default() }))
    }

    /// Notes a chunk that is about to be written.
    pub fn begun(&self, id: ChunkId) {
        self.lock().chunks.push(id);
    }

    /// Notes that what was written so far may be named from now on, by a command whose answer is not known.
    pub fn may_be_named(&self) {
        self.lock().silent = true;
    }

    /// Notes that the command named nothing.
    pub fn was_not_named(&self) {
        self.lock().silent = false;
    }

    /// Notes that an upload of the metadata names these chunks.
    pub fn appended(&self, upload: u64, ids: &[ChunkId]) {
        let mut state = self.lock();
        state.silent = false;
        state.upload = Some(upload);
        state.chunks.retain(|id| !ids.contains(id));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !state.silent {
            let chunks = state.chunks.into_iter().map(|id| (id, self.nodes.clone())).collect();
            self.released.add(Remains { upload: state.upload, chunks });
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;

    use super::*;

    fn id(seq: u64) -> ChunkId {
        ChunkId { writer: WriterId(1), seq }
    }

    fn left(work: impl FnOnce(&Trace)) -> Option<(Option<u64>, Vec<ChunkId>)> {
        let released = Released::default();
        let trace = Trace::new(released.clone(), vec![NodeId(1)]);
        (1..=3).for_each(|seq| trace.begun(id(seq)));
        work(&trace);
        drop(trace);
        released.next().map(|remains| (remains.upload, remains.chunks.into_iter().map(|(id, _)| id).collect()))
    }

    #[test]
    fn a_failed_upload_releases_what_nothing_names() {
        assert_eq!(left(|_| {}), Some((None, vec![id(1), id(2), id(3)])));
        assert_eq!(left(|trace| trace.appended(9, &[id(1), id(2)])), Some((Some(9), vec![id(3)])));
    }

    #[test]
    fn nothing_is_released_while_a_commit_may_be_on_its_way() {
        assert_eq!(left(Trace::may_be_named), None);
        let refused = left(|trace| {
            trace.may_be_named();
            trace.was_not_named();
        });
        assert_eq!(refused, Some((None, vec![id(1), id(2), id(3)])));
    }
}
