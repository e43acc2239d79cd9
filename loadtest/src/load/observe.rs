//! What goes on around a load: the servers' figures, and the faults that are made.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    inject::{Event, Injector},
    plan::Plan,
    watch::{Sample, Watch},
};
use crate::dev::Dev;

/// Samples of the servers that are kept.
const SAMPLES_MAX: usize = 7_200;

/// An observation under way; dropped, it ends, and processes that were frozen go on.
pub(super) struct Observation {
    dev: Arc<Dev>,
    cpu: Option<Duration>,
    watch: Watch,
    events: Arc<Mutex<Vec<Event>>>,
    injecting: AbortOnDropHandle<()>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) server_cpu: Option<Duration>,
    pub(super) samples: Vec<Sample>,
    pub(super) events: Vec<Event>,
}

impl Observation {
    /// Begins to watch the servers of a plan, and to make its faults at their times from `start` on.
    pub(super) fn begin(plan: &Plan, start: Instant) -> Self {
        let (dev, clock) = (plan.dev.clone(), plan.run.clock.clone());
        let events = Arc::new(Mutex::new(Vec::new()));
        let watch = Watch::start(dev.clone(), clock.clone(), start, SAMPLES_MAX);
        let injecting = Injector::new(dev.clone(), clock).run(plan.faults.clone(), start, events.clone());
        let injecting = AbortOnDropHandle::new(tokio::spawn(injecting));
        Self { cpu: dev.cpu(), dev, watch, events, injecting }
    }

    /// Ends it and gives what was seen.
    pub(super) fn end(self) -> Observed {
        let Self { dev, cpu, watch, events, injecting } = self;
        drop(injecting);
        let spent = |before: Option<Duration>, after: Option<Duration>| Some(after?.saturating_sub(before?));
        Observed {
            server_cpu: spent(cpu, dev.cpu()),
            samples: watch.stop(),
            events: std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
