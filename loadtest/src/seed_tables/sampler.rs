//! Watches the memory of the servers while a row is measured.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::interval};

use crate::dev::{Dev, Resident};

/// How often the servers' memory is looked at: often enough for a row of a second, for some 100 us of work.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// A watch under way; ends when it is dropped.
pub(super) struct Sampler {
    dev: Arc<Dev>,
    most: Arc<Mutex<Resident>>,
    task: JoinSet<()>,
}

impl Sampler {
    /// Begins to look, every tenth of a second.
    pub(super) fn start(dev: Arc<Dev>) -> Self {
        let most = Arc::new(Mutex::new(Resident::default()));
        let mut task = JoinSet::new();
        let (looking, seen) = (dev.clone(), most.clone());
        task.spawn(async move {
            let mut ticks = interval(SAMPLE_EVERY);
            loop {
                ticks.tick().await;
                let now = looking.resident();
                let mut most = seen.lock().unwrap_or_else(PoisonError::into_inner);
                *most = most.max(now);
            }
        });
        Self { dev, most, task }
    }

    /// Ends it and gives the most that was seen; none without server processes.
    pub(super) fn stop(self) -> Option<Resident> {
        let Self { dev, most, task } = self;
        drop(task);
        let most = most.lock().unwrap_or_else(PoisonError::into_inner).max(dev.resident());
        (most != Resident::default()).then_some(most)
    }
}
