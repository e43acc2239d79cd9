//! What a process shows of the file system that its folder lies on.
//!
//! It must not know who fills it.

use std::{io, mem, path::Path, sync::Arc, time::Duration};

use flotilla_env::{Disk, blocking, disk::Space};
use metrics::{Gauge, gauge};
use tokio::time::MissedTickBehavior;

/// How often the space is measured: three times per scrape at the usual 15 s, and the call reads no disk.
pub(crate) const MEASURED_EVERY: Duration = Duration::from_secs(5);

/// The gauges of a file system; made once, so that showing them costs no look-up.
#[derive(Debug)]
pub struct SpaceGauges {
    free: Gauge,
    total: Gauge,
}

impl Default for SpaceGauges {
    fn default() -> Self {
        let disk = |kind| gauge!("flotilla_disk_bytes", "kind" => kind);
        Self { free: disk("free"), total: disk("total") }
    }
}

impl SpaceGauges {
    /// Shows what is free, and what there is in all.
    #[allow(clippy::cast_precision_loss)] // gauges are floats, and exact up to 8 PiB
    pub fn show(&self, space: Space) {
        self.free.set(space.free_bytes as f64);
        self.total.set(space.total_bytes as f64);
    }

    /// Measures and shows the space under a folder for as long as it is polled. What was shown last stands while it can't be
    /// measured.
    ///
    /// # Cancel safety
    /// Nothing is written.
    pub async fn keep_shown(&self, disk: &Arc<dyn Disk>, folder: &Path) {
        let mut fails = false;
        let mut ticks = tokio::time::interval(MEASURED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match measure(disk, folder).await {
                Ok(space) => {
                    fails = false;
                    self.show(space);
                }
                // Said once, not every five seconds.
                Err(error) if !mem::replace(&mut fails, true) => {
                    tracing::warn!(%error, "the free space can't be measured");
                }
                Err(_) => {}
            }
        }
    }
}

async fn measure(disk: &Arc<dyn Disk>, folder: &Path) -> io::Result<Space> {
    let (disk, folder) = (disk.clone(), folder.to_owned());
    let measured = blocking::spawn(move || disk.space(&folder)).await;
    measured.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::IoSlice,
        sync::atomic::{AtomicU64, Ordering},
    };

    use flotilla_env::disk::MemDisk;

    use super::*;

    const MIB: f64 = 1_048_576.0;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_fills_is_shown_and_one_that_fails_stays_as_it_was() {
        let (free, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let gauges = SpaceGauges { free: Gauge::from_arc(free.clone()), total: Gauge::from_arc(total.clone()) };
        let shown = || [&free, &total].map(|bits| f64::from_bits(bits.load(Ordering::SeqCst)));
        let folder = Path::new("/data");
        let mem = MemDisk::with_space(4 << 20);
        mem.create_dir_all(folder).expect("there is space");
        let disk: Arc<dyn Disk> = Arc::new(mem.clone());
        let showing = tokio::spawn(async move { gauges.keep_shown(&disk, folder).await });

        tokio::time::sleep(MEASURED_EVERY / 2).await;
        assert_eq!(shown(), [4.0 * MIB, 4.0 * MIB], "at once");
        let file = mem.create(&folder.join("log")).expect("there is space");
        file.write_at(0, &[IoSlice::new(&vec![1_u8; 1 << 20])]).expect("there is space");
        tokio::time::sleep(MEASURED_EVERY).await;
        assert_eq!(shown(), [3.0 * MIB, 4.0 * MIB]);

        mem.stop_after(0);
        tokio::time::sleep(2 * MEASURED_EVERY).await;
        assert_eq!(shown(), [3.0 * MIB, 4.0 * MIB], "nothing else is known");
        assert!(!showing.is_finished());
        showing.abort();
    }
}
