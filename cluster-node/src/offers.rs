//! The cluster's credits as its leader keeps them: what supernodes felt goes in, a share for each of them comes out. Soft state: a
//! new leader goes on from what the supernodes were offered last.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_api::peer::{Felt, NodeReport, Offer};
use flotilla_env::Clock;
use metrics::gauge;
use tokio::time::Instant;

use crate::credits::{Control, Load, Want, Window, next, split, unheard};

/// How long a new leader waits for all supernodes before it begins with what it has heard.
const HEARD_WITHIN: Duration = Duration::from_millis(1500);
/// A supernode that has not answered for so long wants nothing; four reports.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Bodies in memory from which a node makes new ones wait: half of what it holds.
const SHORT_BYTES: u64 = 48 << 20;

/// The credits of this node's cluster. Clones share them.
#[derive(Clone)]
pub struct Offers {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

struct State {
    /// How many supernodes are told.
    supernodes: usize,
    term: Option<u64>,
    begun: Instant,
    /// None until this leader knows what its predecessor offered.
    control: Option<Control>,
    /// What was felt since the last look.
    windows: BTreeMap<String, Window>,
    last: BTreeMap<String, (Felt, Instant)>,
    /// Those of the supernodes that were heard lately.
    shares: BTreeMap<String, u32>,
}

impl Offers {
    /// Begins with nothing.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State::at(clock.now());
        Self { state: Arc::new(Mutex::new(state)), clock }
    }

    /// Takes what a supernode felt.
    pub fn felt(&self, supernode: &str, felt: Felt) {
        let mut state = self.lock();
        let now = self.clock.now();
        let window = Window::of(&felt);
        let held = state.windows.get(supernode).map_or(window, |before| before.then(window));
        state.windows.insert(supernode.to_owned(), held);
        state.last.insert(supernode.to_owned(), (felt, now));
    }

    /// Forgets a supernode that is told no more.
    pub fn forget(&self, supernode: &str) {
        let mut state = self.lock();
        state.windows.remove(supernode);
        state.last.remove(supernode);
        state.shares.remove(supernode);
    }

    /// Looks at what was felt, as the leader of a term that tells so many supernodes, and decides what is offered until the next look.
    pub fn look(&self, term: u64, nodes: &[NodeReport], supernodes: usize) {
        let mut state = self.lock();
        let now = self.clock.now();
        if state.term != Some(term) {
            *state = State { term: Some(term), ..State::at(now) };
        }
        state.supernodes = supernodes;
        let all_heard = state.last.len() >= supernodes || now.duration_since(state.begun) >= HEARD_WITHIN;
        let windows = std::mem::take(&mut state.windows);
        let direct = direct(nodes);
        let control = match &state.control {
            Some(control) => next(control, &Window::gather(windows.into_values(), direct), load(nodes)),
            // What was felt until now came of another leader's offers.
            None if all_heard => {
                let offered: Vec<Offer> = state.last.values().filter_map(|(felt, _)| felt.offer).collect();
                Control::resume(&offered)
            }
            None => return,
        };
        let lately = state.last.iter().filter(|(_, (_, at))| now.duration_since(*at) < SILENT_AFTER);
        let wants = lately.map(|(name, (felt, _))| (name.clone(), want(felt))).collect();
        state.shares = split(control.offered(), direct, &wants);
        show(&control);
        state.control = Some(control);
    }

    /// Gives what is offered to a supernode; none while a new leader listens.
    #[must_use]
    pub fn to(&self, supernode: &str) -> Option<Offer> {
        let state = self.lock();
        let control = state.control.as_ref()?;
        let share = state.shares.get(supernode).copied();
        Some(control.offer(share.unwrap_or_else(|| unheard(control.offered(), state.supernodes))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn at(now: Instant) -> Self {
        Self {
            supernodes: 0,
            term: None,
            begun: now,
            control: None,
            windows: BTreeMap::new(),
            last: BTreeMap::new(),
            shares: BTreeMap::new(),
        }
    }
}

fn want(felt: &Felt) -> Want {
    let big_in_flight = felt.in_flight_big_milli.div_ceil(1000);
    let in_flight = felt.in_flight_milli.div_ceil(1000);
    Want {
        small: felt.waiting_small.saturating_add(in_flight.saturating_sub(big_in_flight)),
        big: felt.waiting_big.saturating_add(big_in_flight),
        big_in_flight,
    }
}

/// Requests that clients brought to the nodes themselves.
fn direct(nodes: &[NodeReport]) -> u32 {
    nodes.iter().filter(|node| node.alive).fold(0, |sum, node| node.stats.direct.saturating_add(sum))
}

fn load(nodes: &[NodeReport]) -> Load {
    let alive = || nodes.iter().filter(|node| node.alive).map(|node| &node.stats);
    Load {
        busiest_cpu: alive().map(|stats| stats.cpu_busy).fold(0.0, f32::max),
        memory_short: alive().any(|stats| stats.inflight_bytes >= SHORT_BYTES),
    }
}

fn show(control: &Control) {
    let Offer { total, read_us, write_us, strain_milli, .. } = control.offer(0);
    gauge!("flotilla_credits_total").set(f64::from(total));
    gauge!("flotilla_credits_strain").set(f64::from(strain_milli) / 1000.0);
    for (kind, us) in [("read", read_us), ("write", write_us)] {
        if let Some(us) = us {
            gauge!("flotilla_credits_base_seconds", "kind" => kind).set(f64::from(us) / 1e6);
        }
    }
}

#[cfg(test)]
mod tests;
