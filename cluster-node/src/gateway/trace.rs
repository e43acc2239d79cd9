//! What one upload has written: told to the log when the upload fails, so that its chunks become garbage.
//!
//! A commit may still be on its way then. That is for the log to decide: chunks that are named when it hears of the failure stay,
//! and what it has been told is given up can't be named any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flotilla_api::{ChunkId, CommandId, NodeId};

use super::sequence::Begun;
use crate::{
    life::{Released, Remains},
    metadata::SegmentAppend,
};

/// The chunks of one upload. Clones share it; when the last one goes, what was not committed is released.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    released: Released,
    /// Every node that may have been sent a copy.
    nodes: Vec<NodeId>,
    state: Mutex<State>,
    /// Ends after what is released was added.
    _begun: Begun,
}

#[derive(Debug, Default)]
struct State {
    upload: Option<u64>,
    appending: Option<(CommandId, SegmentAppend)>,
    chunks: Vec<ChunkId>,
    named: bool,
}

impl Trace {
    /// Begins a trace of the upload that has begun; `nodes` may get copies.
    #[must_use]
    pub fn new(begun: Begun, released: Released, nodes: Vec<NodeId>) -> Self {
        Self(Arc::new(Inner { released, nodes, state: Mutex::default(), _begun: begun }))
    }

    /// Notes a chunk that is about to be written.
    pub fn begun(&self, id: ChunkId) {
        self.lock().chunks.push(id);
    }

    /// Notes an append that is about to be sent. Without its answer nobody knows the upload that names its chunks, so it is asked
    /// for again before anything is released.
    pub fn appending(&self, id: CommandId, append: SegmentAppend) {
        self.lock().appending = Some((id, append));
    }

    /// Notes that an upload of the metadata names these chunks.
    pub fn appended(&self, upload: u64, ids: &[ChunkId]) {
        let mut state = self.lock();
        state.appending = None;
        state.upload = Some(upload);
        state.chunks.retain(|id| !ids.contains(id));
    }

    /// Notes that the append was refused.
    pub fn not_appended(&self) {
        self.lock().appending = None;
    }

    /// Notes that a version names everything.
    pub fn named(&self) {
        self.lock().named = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !state.named {
            let chunks = state.chunks.into_iter().map(|id| (id, self.nodes.clone())).collect();
            self.released.add(Remains { upload: state.upload, appending: state.appending, chunks, asked: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::{RequestId, WriterId};

    use super::*;
    use crate::gateway::sequence::Sequence;

    fn id(seq: u64) -> ChunkId {
        ChunkId { writer: WriterId(1), seq }
    }

    fn left(work: impl FnOnce(&Trace)) -> Option<(Option<u64>, Vec<ChunkId>)> {
        let released = Released::default();
        let trace = Trace::new(Sequence::default().begin(), released.clone(), vec![NodeId(1)]);
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
    fn what_a_version_names_is_not_released() {
        assert_eq!(left(Trace::named), None);
    }

    #[test]
    fn an_append_without_an_answer_is_asked_for_again() {
        let released = Released::default();
        let trace = Trace::new(Sequence::default().begin(), released.clone(), vec![NodeId(1)]);
        let append = SegmentAppend { upload: None, node: NodeId(1), writer: WriterId(1), chunks: Vec::new() };
        let id = CommandId { id: RequestId::from_bits(1), seen: None };
        trace.begun(self::id(1));
        trace.appending(id.clone(), append.clone());
        trace.clone().begun(self::id(2));
        drop(trace);
        let remains = released.next().expect("an upload that failed");
        assert_eq!((remains.appending, remains.chunks.len()), (Some((id, append)), 2));
    }
}
