//! What a node shows of its disk and of the bodies that it holds.

use flotilla_chunk_store::Usage;
use metrics::{Gauge, gauge};

/// The gauges; made once, so that showing them costs no look-up.
pub struct Gauges {
    used: Gauge,
    free: Gauge,
    reserved: Gauge,
    inflight: Gauge,
}

impl Default for Gauges {
    fn default() -> Self {
        let disk = |kind| gauge!("flotilla_disk_bytes", "kind" => kind);
        Self {
            used: disk("used"),
            free: disk("free"),
            reserved: disk("reserved"),
            inflight: gauge!("flotilla_inflight_bytes"),
        }
    }
}

impl Gauges {
    /// Shows a disk's usage and the bytes of bodies in memory.
    #[allow(clippy::cast_precision_loss)] // gauges are floats, and exact up to 8 PiB
    pub fn show(&self, usage: &Usage, inflight_bytes: u64) {
        self.used.set((usage.bytes + usage.volumes.dead_bytes) as f64);
        self.free.set(usage.free_bytes as f64);
        self.reserved.set(usage.reserved_bytes as f64);
        self.inflight.set(inflight_bytes as f64);
    }
}
