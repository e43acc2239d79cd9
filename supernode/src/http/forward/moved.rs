//! How many bytes of answers have moved, for the cluster's leader.

use flotilla_api::ClusterName;

use crate::admission::gate::Gate;

/// Bytes of an answer after which they are counted, so that a long one shows while it lasts.
const MOVED_STEP: u64 = 1 << 20;

/// Counts the bytes of an answer, a mebibyte at a time.
pub(super) struct Moved {
    gate: Gate,
    cluster: ClusterName,
    bytes: u64,
}

impl Moved {
    pub(super) fn new(gate: Gate, cluster: ClusterName) -> Self {
        Self { gate, cluster, bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes >= MOVED_STEP {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if self.bytes > 0 {
            self.gate.moved_bytes(&self.cluster, std::mem::take(&mut self.bytes));
        }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        self.tell();
    }
}
