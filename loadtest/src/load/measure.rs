//! The measured time: the load, the faults, the servers' figures and the live view, side by side.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::AbortHandle, time::interval_at};

use super::{
    engine::Engine,
    inject::{Event, Injector},
    live::Live,
    plan::Plan,
    schedule::{PhaseSpan, spans},
    watch::{Sample, Watch},
};
use crate::procfs;

/// Samples of the servers that are kept.
const SAMPLES_MAX: usize = 7_200;

/// What the phases brought.
pub(super) struct Measured {
    pub(super) engine: Arc<Engine>,
    pub(super) interrupted: bool,
    pub(super) seconds: f64,
    pub(super) own_cpu: Option<Duration>,
    pub(super) server_cpu: Option<Duration>,
    pub(super) samples: Vec<Sample>,
    pub(super) events: Vec<Event>,
}

/// Sends the load of a plan, and watches servers and itself meanwhile.
///
/// # Cancel safety
/// Dropped, requests are cut off, and processes that were frozen go on.
pub(super) async fn measure(
    plan: &Plan,
    live: &mut Live,
    interrupt: &mut (impl Future<Output = ()> + Unpin),
) -> Measured {
    let own_cpu = || procfs::stat("self").ok().map(|stat| stat.cpu);
    let (own_before, servers_before) = (own_cpu(), plan.dev.cpu());
    let clock = plan.run.clock.clone();
    let engine = Engine::new(plan.run.clone());
    let watch = Watch::start(plan.dev.clone(), clock.clone(), engine.start(), SAMPLES_MAX);
    let events = Arc::new(Mutex::new(Vec::new()));
    let injector = Injector::new(plan.dev.clone(), clock);
    let injecting = injector.run(plan.faults.clone(), engine.start(), events.clone());
    let injecting = AbortOnDrop(tokio::spawn(injecting).abort_handle());
    let sending = engine.clone().send(&plan.profile, plan.seed);
    let interrupted = tokio::select! {
        () = sending => false,
        () = interrupt => true,
        () = show(&engine, spans(&plan.profile.phases), live) => unreachable!("it goes on for ever"),
    };
    let seconds = engine.elapsed().as_secs_f64();
    drop(injecting);
    if interrupted {
        plan.run.catalog().cut_off();
    }
    {
        let (mut stats, at) = (engine.stats(), engine.elapsed());
        stats.tick(at, engine.in_flight(), engine.waiting());
        // After the last arrival nothing is due, so that nothing can be missing.
        stats.end(at.min(plan.profile.lasts()));
    }
    let spent = |before: Option<Duration>, after: Option<Duration>| Some(after?.saturating_sub(before?));
    Measured {
        interrupted,
        seconds,
        own_cpu: spent(own_before, own_cpu()),
        server_cpu: spent(servers_before, plan.dev.cpu()),
        samples: watch.stop(),
        events: std::mem::take(&mut events.lock().unwrap_or_else(PoisonError::into_inner)),
        engine,
    }
}

/// Ends a task when it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends a step of the series each second and shows it.
async fn show(engine: &Engine, phases: Vec<PhaseSpan>, live: &mut Live) {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(engine.start() + second, second);
    loop {
        ticks.tick().await;
        let at = engine.elapsed();
        let step = engine.stats().tick(at, engine.in_flight(), engine.waiting());
        let phase = phases.iter().find(|phase| step.at_s < phase.to_s).map_or("last answers", |phase| &phase.name);
        live.show(phase, &step);
    }
}
