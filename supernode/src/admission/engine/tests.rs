//! Admission's rules one by one, by what they are about; what holds under any order of events stands in `any_order`.

mod any_order;
mod away;
mod early;
mod moving;
mod patience;
mod permits;
mod refusals;
mod uneven;
mod waiting;

use std::time::Duration;

use flotilla_api::{
    ClusterName, NodeId, RequestId,
    explain::{Refusal, Routed, What},
    peer::{NodeReport, NodeStats, Offer},
    queue::{Class, Lane},
};
use tokio::time::Instant;

use super::{Action, Door, Engine, Event, Outcome, PermitId, Settings, WaiterId};
use crate::admission::class::{Ask, Patience, Place};

/// What blurs no appointment, and chooses the middle of what there is.
const MIDDLE: u64 = 1 << 63;

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a good name")
}

fn node(takes_new: bool) -> NodeReport {
    let stats =
        NodeStats { disk_free_bytes: 50, disk_total_bytes: 100, accepts_chunks: takes_new, ..NodeStats::default() };
    NodeReport { id: NodeId(1), peer: "h:1".into(), public: String::new(), zone: None, alive: true, stats }
}

fn small() -> Class {
    Class { lane: Lane::Small, units: 1, bytes: 100 }
}

fn big(units: u32) -> Class {
    Class { lane: Lane::Big, units, bytes: u64::from(units) << 20 }
}

fn home(name: &str) -> Place {
    Place::Home(cluster(name))
}

/// An engine with what its shell would remember.
struct Lab {
    engine: Engine,
    now: Instant,
    next: u64,
    random: u64,
}

impl Lab {
    fn new() -> Self {
        let (settings, now) = (Settings { queue_wait: Duration::from_secs(5), stealing: true }, Instant::now());
        Self { engine: Engine::new(settings, now), now, next: 0, random: MIDDLE }
    }

    fn apply(&mut self, event: Event) -> Vec<Action> {
        let random = self.random;
        self.engine.apply(event, self.now, &mut || random)
    }

    fn offered(&mut self, name: &str, credits: u32) -> Vec<Action> {
        self.reported(name, credits, true)
    }

    fn reported(&mut self, name: &str, credits: u32, takes_new: bool) -> Vec<Action> {
        let offer = Offer { credits, total: credits, read_us: None, write_us: Some(10_000), strain_milli: 2000 };
        self.apply(Event::Heard(cluster(name), Some(offer), [node(takes_new)].into()))
    }

    fn arrive(&mut self, principal: &str, class: Class, place: Place) -> (WaiterId, Vec<Action>) {
        self.arrive_again(principal, class, place, None)
    }

    fn arrive_again(
        &mut self,
        principal: &str,
        class: Class,
        place: Place,
        first: Option<Instant>,
    ) -> (WaiterId, Vec<Action>) {
        self.next += 1;
        let waiter = WaiterId(self.next);
        let ask = Ask {
            request: request(waiter),
            principal: principal.into(),
            key: None,
            op: "put",
            class,
            place,
            first,
            patience: Patience::Queue,
        };
        (waiter, self.apply(Event::Arrived(waiter, ask)))
    }

    /// One that waits longer or shorter than others do.
    fn arrive_with(&mut self, patience: Patience, class: Class, place: Place) -> (WaiterId, Vec<Action>) {
        self.next += 1;
        let waiter = WaiterId(self.next);
        let (request, principal) = (request(waiter), "p".into());
        let ask = Ask { request, principal, key: None, op: "put", class, place, first: None, patience };
        (waiter, self.apply(Event::Arrived(waiter, ask)))
    }

    /// One that is let through at once.
    fn granted(&mut self, class: Class, place: Place) -> PermitId {
        let (waiter, actions) = self.arrive("p", class, place);
        assert_eq!(grants(&actions).len(), 1, "{actions:?}");
        PermitId(waiter.0)
    }

    /// One that has to wait.
    fn waits(&mut self, principal: &str, class: Class, place: Place) -> WaiterId {
        let (waiter, actions) = self.arrive(principal, class, place);
        assert_eq!(actions, [], "it waits");
        waiter
    }

    /// One that is asked about before anything is looked up for it.
    fn early(&mut self, principal: &str, class: Class) -> Option<(Refusal, Duration)> {
        self.next += 1;
        let (request, random) = (request(WaiterId(self.next)), self.random);
        let (principal, place, patience) = (principal.into(), Place::Any, Patience::Queue);
        let ask = Ask { request, principal, key: None, op: "put", class, place, first: None, patience };
        self.engine.early(&ask, self.now, &mut || random)
    }

    fn end(&mut self, permit: PermitId) -> Vec<Action> {
        self.apply(Event::Ended(permit, Outcome::Answered(200)))
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.apply(Event::Tick)
    }

    fn in_flight(&self, name: &str) -> u32 {
        self.engine.side(&Door::Cluster(cluster(name))).account.in_flight()
    }

    fn steps(&self, waiter: WaiterId) -> Vec<What> {
        let told = self.engine.records.explain(&request(waiter), self.now).expect("it is remembered");
        told.steps.into_iter().map(|step| step.what).collect()
    }
}

fn request(waiter: WaiterId) -> RequestId {
    RequestId::from_bits(waiter.0.into())
}

/// Who is let through, and where to.
fn grants(actions: &[Action]) -> Vec<(WaiterId, Option<&str>, Routed)> {
    let mut found = Vec::new();
    for action in actions {
        if let Action::Grant { to, cluster, why, .. } = action {
            found.push((*to, cluster.as_ref().map(ClusterName::as_str), *why));
        }
    }
    found
}

/// Who is refused, and why.
fn refusals(actions: &[Action]) -> Vec<(WaiterId, Refusal)> {
    let mut found = Vec::new();
    for action in actions {
        if let Action::Refuse { to, why, .. } = action {
            found.push((*to, *why));
        }
    }
    found
}
