//! What a process shows of the memory that its database holds.

use std::sync::{Arc, Weak};

use flotilla_env::blocking;
use flotilla_kv::{Memory, RocksKv};
use metrics::{Gauge, gauge};
use tokio::time::MissedTickBehavior;

use crate::space::MEASURED_EVERY;

/// The gauges of a database; made once, so that showing them costs no look-up.
struct Gauges {
    cache: Gauge,
    memtables: Gauge,
    tables: Gauge,
}

/// Shows what a database holds until it is gone, which is not put off for it.
pub async fn keep_shown(kv: Weak<RocksKv>) {
    let held = |kind| gauge!("flotilla_database_memory_bytes", "kind" => kind);
    let gauges = Gauges { cache: held("cache"), memtables: held("memtables"), tables: held("tables") };
    let mut ticks = tokio::time::interval(MEASURED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(kv) = kv.upgrade() else { return };
        // Where the database may wait, and where it may end if it was let go meanwhile.
        let measured = blocking::spawn(move || measure(&kv)).await;
        if let Ok(Some(memory)) = measured {
            gauges.show(&memory);
        }
    }
}

fn measure(kv: &Arc<RocksKv>) -> Option<Memory> {
    kv.memory().inspect_err(|error| tracing::debug!(%error, "the database's memory can't be measured")).ok()
}

impl Gauges {
    #[allow(clippy::cast_precision_loss)] // gauges are floats, and exact up to 8 PiB
    fn show(&self, memory: &Memory) {
        self.cache.set(memory.cache_bytes as f64);
        self.memtables.set(memory.memtables_bytes as f64);
        self.tables.set(memory.tables_bytes as f64);
    }
}
