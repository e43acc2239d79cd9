//! Chunks that uploads of this process gave up: kept until the log has heard of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use flotilla_api::{ChunkId, CommandId, NodeId};

use crate::metadata::SegmentAppend;

/// The most uploads whose remains are kept. Beyond that the oldest are forgotten: their chunks go when the numbers up to them are
/// settled, and those that an upload's segments name when this process's writer is retired.
const KEPT_MAX: usize = 1024;
/// The most chunks of one upload; a manifest's tail has 256, and a few are on their way.
const CHUNKS_MAX: usize = 512;

/// What a failed upload leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remains {
    /// The upload that holds its full segments.
    pub upload: Option<u64>,
    /// A segment that may have been added, and perhaps begun the upload.
    pub appending: Option<(CommandId, SegmentAppend)>,
    /// How often that was asked for without an answer.
    pub asked: u32,
    /// Chunks that no segment names, and the nodes that may have a copy.
    pub chunks: Vec<(ChunkId, Vec<NodeId>)>,
}

/// The remains of failed uploads. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Released(Arc<Mutex<VecDeque<Remains>>>);

impl Released {
    /// Takes the remains of an upload that will never be committed.
    pub fn add(&self, mut remains: Remains) {
        if remains == Remains::default() {
            return;
        }
        remains.chunks.truncate(CHUNKS_MAX);
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(remains);
    }

    /// Gives what was added first.
    #[must_use]
    pub fn next(&self) -> Option<Remains> {
        self.lock().pop_front()
    }

    /// Puts back what the log did not take.
    pub fn again(&self, remains: Remains) {
        let mut kept = self.lock();
        if kept.len() < KEPT_MAX {
            kept.push_front(remains);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Remains>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;

    use super::*;

    #[test]
    fn remains_are_kept_in_order_and_bounded() {
        let released = Released::default();
        let remains =
            |seq| Remains { chunks: vec![(ChunkId { writer: WriterId(1), seq }, Vec::new())], ..Remains::default() };
        released.add(Remains::default());
        assert_eq!(released.next(), None, "an upload without chunks leaves nothing");
        (0..KEPT_MAX as u64 + 2).for_each(|seq| released.add(remains(seq)));
        assert_eq!(released.next(), Some(remains(2)));
        released.again(remains(2));
        assert_eq!(released.next(), Some(remains(2)));
    }
}
