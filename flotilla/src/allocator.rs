//! What a server shows of the memory that its allocator holds.
//!
//! It must not know what the memory is for.

use std::time::Duration;

use metrics::gauge;
use tikv_jemalloc_ctl::{Result, epoch, stats};
use tokio::time::MissedTickBehavior;

/// How often it is looked at: three times per scrape at the usual 15 s.
const SHOWN_EVERY: Duration = Duration::from_secs(5);

/// Shows it for as long as it is polled.
pub async fn keep_shown() {
    let mut ticks = tokio::time::interval(SHOWN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = show() {
            tracing::warn!(%error, "the allocator says nothing of its memory, and is not asked again");
            return;
        }
    }
}

/// Looks and shows. Handles of gauges are not kept, since the recorder may be installed after the first look.
#[allow(clippy::cast_precision_loss)] // gauges are floats, and exact up to 8 PiB
fn show() -> Result<()> {
    for (kind, bytes) in look()? {
        gauge!("flotilla_allocator_bytes", "kind" => kind).set(bytes as f64);
    }
    Ok(())
}

/// Gives bytes by kind, as they are now.
fn look() -> Result<[(&'static str, usize); 4]> {
    epoch::advance()?; // without it the figures are those of the last look
    Ok([
        ("allocated", stats::allocated::read()?),
        ("active", stats::active::read()?),
        ("metadata", stats::metadata::read()?),
        ("resident", stats::resident::read()?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_shows_what_was_allocated_since_the_last_one() {
        let told = || look().expect("the allocator is ours").map(|(_, bytes)| bytes);
        let [before, ..] = told();
        let kept = std::hint::black_box(vec![1_u8; 64 << 20]);
        let [allocated, active, metadata, resident] = told();
        drop(kept);
        assert!(allocated >= before + (48 << 20), "other tests free some: {before} {allocated}");
        assert!(allocated <= active && active <= resident, "{allocated} {active} {resident}");
        assert!(metadata > 0 && metadata < active, "{metadata}");
    }
}
