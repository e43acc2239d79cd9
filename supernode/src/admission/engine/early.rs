//! Refusing at once those whom every cluster would refuse: under ten times the load most requests end so, and what they
//! cost is taken from those that are served.
//!
//! # The rule
//! A request that is refused because it would wait in vain, or because its principal has its part of a full queue, shuts
//! the lane for requests of its principal that are as large, if every cluster that is known would have refused it just
//! then. While that stands, nothing is looked up for them: wherever their keys are at home or would go, the answer was
//! the same, and one whose key has no file is told to come again instead of that. A cluster with a free credit, or a queue in which the principal would wait a short time, keeps the lane open,
//! and so does every other principal's shorter line. What stands is looked at anew after a twentieth of the time that
//! requests may wait: a line that takes nine tenths of that time is not served out meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flotilla_api::{
    explain::{Refusal, What},
    queue::{Class, Lane},
};
use tokio::time::Instant;

use super::{ADMITTED_WITHIN, Door, Engine, Turn, Waiting, queue::Queue, side::Side};
use crate::admission::{
    class::{Ask, Place},
    fair::Measure,
    record::millis,
};

/// How long a refusal stands, as a part of the time that requests may wait.
const STANDS_PART: u32 = 20;
/// How long it stands at most: longer than a tick it would only be staler, not cheaper.
pub(super) const STANDS_MAX: Duration = Duration::from_millis(100);

/// Whom every cluster would have refused lately, by lane.
#[derive(Debug, Default)]
pub(super) struct Shut([BTreeMap<Arc<str>, Line>; 2]);

#[derive(Debug)]
struct Line {
    until: Instant,
    /// Smaller ones may find a place.
    units: u32,
    why: Refusal,
    /// Whose book has the appointments.
    door: Door,
}

impl Engine {
    /// Refuses a request before anything is looked up for it, if every cluster would; gives when it should come again.
    ///
    /// It changes nothing but the book of appointments and what is remembered.
    pub fn early(&mut self, ask: &Ask, now: Instant, random: &mut dyn FnMut() -> u64) -> Option<(Refusal, Duration)> {
        let class = ask.class;
        let line = self.shut.0[class.lane as usize].get(&ask.principal)?;
        if self.closing || line.until <= now || class.units < line.units {
            return None;
        }
        let (why, door) = (line.why, line.door.clone());
        let mut turn = Turn { now, random, actions: Vec::new() };
        let after = self.side_mut(&door).queue_mut(class.lane).appoint(class.units, &mut turn);
        self.early.arrived(ask, Vec::new(), now);
        self.early.happened(&ask.request, What::Refused { why, again_ms: millis(after) }, now);
        self.early.answered(&ask.request, why.code().status().as_u16());
        Some((why, after))
    }

    /// Until when anybody is refused at once in a lane; none if nobody is.
    #[must_use]
    pub fn shut_until(&self, lane: Lane) -> Option<Instant> {
        self.shut.0[lane as usize].values().map(|line| line.until).max()
    }

    /// Takes note of a request that was refused when it came: others like it are refused at once for a while, if no
    /// cluster would take them.
    pub(super) fn shut_out(&mut self, waiting: &Waiting, why: Refusal, now: Instant) {
        let (principal, class) = (&waiting.ask.principal, waiting.ask.class);
        let anywhere = || self.sides.values().any(|side| !self.refuses(side, principal, class, now));
        if waiting.ask.place == Place::Everywhere || anywhere() {
            return;
        }
        let stands = (self.settings.queue_wait / STANDS_PART).min(STANDS_MAX);
        let line = Line { until: now + stands, units: class.units, why, door: waiting.door.clone() };
        let lines = &mut self.shut.0[class.lane as usize];
        if lines.len() >= self.bounds.lines {
            lines.retain(|_, line| line.until > now);
        }
        if lines.len() < self.bounds.lines || lines.contains_key(principal) {
            lines.insert(Arc::clone(principal), line);
        }
    }

    /// Whether a request that has to wait so long in a queue would wait in vain.
    pub(super) fn is_hopeless(&self, queue: &Queue, wait: Duration, now: Instant) -> bool {
        wait > queue.patience(self.settings.queue_wait, now).mul_f64(ADMITTED_WITHIN)
    }

    /// Whether a cluster would refuse a request that came now, whatever it announces.
    fn refuses(&self, side: &Side, principal: &str, class: Class, now: Instant) -> bool {
        let queue = side.queue(class.lane);
        if side.account.free(class.lane, now) > 0 {
            return false;
        }
        if self.is_hopeless(queue, queue.wait(queue.fair().ahead(principal, class.units)), now) {
            return true;
        }
        let longest = Lane::ALL.iter().filter_map(|lane| side.queue(*lane).longest(Measure::Count));
        let longest = longest.map(|(_, long)| long).max().unwrap_or(0);
        // With its request its line would be longer than the longest one is without its newest.
        side.len() >= self.bounds.queue && longest < queue.fair().line_length(principal, Measure::Count) + 2
    }
}
