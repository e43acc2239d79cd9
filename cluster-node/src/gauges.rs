//! What a node shows of its disk, of the bodies that it holds, and of the machine as it may use it.

use flotilla_chunk_store::Usage;
use flotilla_env::{disk::Space, host::HostStats};
use flotilla_member::SpaceGauges;
use metrics::{Gauge, gauge};

/// The gauges; made once, so that showing them costs no look-up.
pub struct Gauges {
    used: Gauge,
    reserved: Gauge,
    space: SpaceGauges,
    inflight: Gauge,
    cpu_busy: Gauge,
    memory_free: Gauge,
    memory_total: Gauge,
}

impl Default for Gauges {
    fn default() -> Self {
        let disk = |kind| gauge!("flotilla_disk_bytes", "kind" => kind);
        Self {
            used: disk("used"),
            reserved: disk("reserved"),
            space: SpaceGauges::default(),
            inflight: gauge!("flotilla_inflight_bytes"),
            cpu_busy: gauge!("flotilla_cpu_busy"),
            memory_free: gauge!("flotilla_memory_bytes", "kind" => "free"),
            memory_total: gauge!("flotilla_memory_bytes", "kind" => "total"),
        }
    }
}

impl Gauges {
    /// Shows a disk's usage, the bytes of bodies in memory, and a sample of the machine.
    #[allow(clippy::cast_precision_loss)] // gauges are floats, and exact up to 8 PiB
    pub fn show(&self, usage: &Usage, inflight_bytes: u64, host: &HostStats) {
        self.used.set((usage.bytes + usage.volumes.dead_bytes) as f64);
        self.reserved.set(usage.reserved_bytes as f64);
        self.space.show(Space { total_bytes: usage.total_bytes, free_bytes: usage.free_bytes });
        self.inflight.set(inflight_bytes as f64);
        self.cpu_busy.set(f64::from(host.cpu_busy));
        self.memory_free.set(host.memory_free_bytes as f64);
        self.memory_total.set(host.memory_total_bytes as f64);
    }
}
