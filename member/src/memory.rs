//! What a process shows of the memory that its database holds.
//!
//! It must not know what the database is used for.

use std::{
    mem,
    sync::{Arc, Weak},
};

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

/// Shows what a database holds until it is gone; its end waits for one measurement at most. What was shown last stands while it
/// can't be measured.
///
/// # Cancel safety
/// Nothing is written.
pub async fn keep_shown(kv: Weak<RocksKv>) {
    let held = |kind| gauge!("flotilla_database_memory_bytes", "kind" => kind);
    let gauges = Gauges { cache: held("cache"), memtables: held("memtables"), tables: held("tables") };
    let mut fails = false;
    let mut ticks = tokio::time::interval(MEASURED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(kv) = kv.upgrade() else { return };
        match measure(kv).await {
            Ok(memory) => {
                fails = false;
                gauges.show(&memory);
            }
            // Said once, not every five seconds.
            Err(error) if !mem::replace(&mut fails, true) => {
                tracing::warn!(error, "the database's memory can't be measured");
            }
            Err(_) => {}
        }
    }
}

/// Measures where the database may wait, and where it may end, if it was let go meanwhile.
async fn measure(kv: Arc<RocksKv>) -> Result<Memory, String> {
    let measured = blocking::spawn(move || kv.memory()).await;
    measured.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

impl Gauges {
    #[allow(clippy::cast_precision_loss)] // gauges are floats, and exact up to 8 PiB
    fn show(&self, memory: &Memory) {
        self.cache.set(memory.cache_bytes as f64);
        self.memtables.set(memory.memtables_bytes as f64);
        self.tables.set(memory.tables_bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use flotilla_kv::Options;

    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_database() {
        let dir = tempfile::tempdir().expect("a folder");
        let kv = RocksKv::open(Options::new(dir.path(), &[])).expect("a good folder");
        assert!(measure(kv.clone()).await.expect("told").memtables_bytes > 0);
        let showing = tokio::spawn(keep_shown(Arc::downgrade(&kv)));
        tokio::task::yield_now().await;
        assert!(!showing.is_finished());
        drop(kv);
        tokio::time::pause(); // the next look is five seconds away
        showing.await.expect("no panic");
    }
}
