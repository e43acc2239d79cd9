//! Admission under any order of events: nobody is forgotten or answered twice, and no credit is lost or made up.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_api::{
    Epoch,
    explain::{Claimed, Explanation, Verdict},
};
use proptest::prelude::*;

use super::*;
use crate::admission::{engine::Holds, stealing::steal};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Granted,
    Refused,
    Left,
}

/// A request of a clean list of facts, and what became of it.
#[derive(Debug)]
struct Known {
    principal: &'static str,
    class: Class,
    place: Place,
    at: Instant,
    patience: Patience,
    fate: Option<Fate>,
}

/// What happens; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Arrive { principal: usize, class: Class, place: usize, first_ms: Option<u64>, patience: Patience },
    End(usize),
    Leave(usize),
    Head(usize, bool),
    Rest(usize),
    Claim(usize),
    Redirect(usize),
    Move(usize, usize),
    Offer { cluster: usize, credits: u32, takes_new: bool },
    Retire(usize, bool),
    Tick(u64),
    Close,
}

fn classes() -> impl Strategy<Value = Class> {
    prop_oneof![
        2 => (0..2u64).prop_map(|n| Class { lane: Lane::Small, units: 1, bytes: n << 16 }),
        1 => (1..65u32, 1..2u64 << 20).prop_map(|(units, bytes)| Class { lane: Lane::Big, units, bytes }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nth = any::<u16>().prop_map(usize::from);
    let first = prop::option::weighted(0.1, 0..1000u64);
    let patience = prop_oneof![
        12 => Just(Patience::Queue),
        1 => Just(Patience::AtOnce),
        2 => Just(Patience::Ticket),
        1 => Just(Patience::Due),
    ];
    let arrive =
        (0..4usize, classes(), 0..8usize, first, patience).prop_map(|(principal, class, place, first_ms, patience)| {
            Step::Arrive { principal, class, place, first_ms, patience }
        });
    let offer = (0..3usize, 0..9u32, prop::bool::weighted(0.8)).prop_map(|(cluster, credits, takes_new)| Step::Offer {
        cluster,
        credits,
        takes_new,
    });
    let step = prop_oneof![
        450 => arrive,
        200 => nth.clone().prop_map(Step::End),
        50 => nth.clone().prop_map(Step::Leave),
        30 => (nth.clone(), any::<bool>()).prop_map(|(nth, long)| Step::Head(nth, long)),
        30 => nth.clone().prop_map(Step::Rest),
        100 => nth.clone().prop_map(Step::Claim),
        20 => nth.clone().prop_map(Step::Redirect),
        20 => (nth, 0..3usize).prop_map(|(nth, cluster)| Step::Move(nth, cluster)),
        100 => offer,
        20 => (0..3usize, any::<bool>()).prop_map(|(cluster, on)| Step::Retire(cluster, on)),
        100 => (0..4usize).prop_map(|n| Step::Tick([0, 1, 50, 900][n])),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 1..250)
}

/// An engine, and a plain account of what it was told and said.
struct Model {
    lab: Lab,
    known: BTreeMap<WaiterId, Known>,
}

impl Model {
    fn new(bounds: (usize, usize, u64), queue_wait_ms: u64, stealing: bool) -> Self {
        let mut lab = Lab::new();
        (lab.engine.bounds.queue, lab.engine.bounds.waiting, lab.engine.bounds.bytes) = bounds;
        lab.engine.settings = Settings { queue_wait: Duration::from_millis(queue_wait_ms), stealing };
        Self { lab, known: BTreeMap::new() }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let names = ["a", "b", "c"];
        let cluster_of = |n: usize| cluster(names[n]);
        self.lab.random = self.lab.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let event = match step {
            Step::Arrive { principal, class, place, first_ms, patience } => {
                let place = match (place, class.lane) {
                    (0..3, _) => Place::Home(cluster_of(place)),
                    (3, Lane::Small) => Place::Everywhere,
                    _ => Place::Any,
                };
                self.lab.next += 1;
                let waiter = WaiterId(self.lab.next);
                let first = first_ms.and_then(|ms| self.lab.now.checked_sub(Duration::from_millis(ms)));
                let principal = ["p", "q", "r", "s"][principal];
                let at = first.unwrap_or(self.lab.now);
                self.known.insert(waiter, Known { principal, class, place: place.clone(), at, patience, fate: None });
                let (request, principal) = (request(waiter), principal.into());
                let ask = Ask { request, principal, key: None, op: "put", class, place, first, patience };
                Event::Arrived(waiter, ask)
            }
            Step::End(nth) => Event::Ended(self.held(nth), Outcome::Answered(200)),
            Step::Leave(nth) => Event::Left(WaiterId(nth as u64 % (self.lab.next + 1))),
            Step::Head(nth, long) => Event::Headed(self.held(nth), (!long).then_some(1)),
            Step::Rest(nth) => Event::Rested(self.held(nth)),
            Step::Claim(nth) => {
                let claimed = Claimed { cluster: cluster("a"), epoch: Epoch(1), granted: true };
                Event::Claimed(self.held(nth), claimed)
            }
            Step::Redirect(nth) => Event::Ended(self.held(nth), Outcome::Answered(307)),
            Step::Move(nth, to) => Event::Moved(self.held(nth), cluster_of(to)),
            Step::Offer { cluster, credits, takes_new } => {
                let offer =
                    Offer { credits, total: credits, read_us: None, write_us: Some(10_000), strain_milli: 2000 };
                Event::Heard(cluster_of(cluster), Some(offer), [node(takes_new)].into())
            }
            Step::Retire(cluster, on) => Event::Retires(cluster_of(cluster), on),
            Step::Tick(ms) => {
                self.lab.now += Duration::from_millis(ms);
                Event::Tick
            }
            Step::Close => Event::Closing,
        };
        self.apply(event)
    }

    /// The nth permit that is out; one that nobody has, if there is none.
    fn held(&self, nth: usize) -> PermitId {
        let held = &self.lab.engine.held;
        held.keys().nth(nth % held.len().max(1)).copied().unwrap_or(PermitId(u64::MAX))
    }

    fn apply(&mut self, event: Event) -> Result<(), TestCaseError> {
        let waited: BTreeMap<WaiterId, Door> =
            self.lab.engine.waiting.iter().map(|(waiter, waiting)| (*waiter, waiting.door.clone())).collect();
        // Reports, ticks and retirements also move requests from one queue to another.
        let in_order = !matches!(event, Event::Heard(..) | Event::Retires(..) | Event::Tick);
        let actions = self.lab.apply(event.clone());
        if let Event::Left(waiter) = event {
            prop_assert!(!self.lab.engine.held.contains_key(&PermitId(waiter.0)), "its permit came back");
            if let Some(known) = self.known.get_mut(&waiter).filter(|known| known.fate.is_none()) {
                known.fate = Some(Fate::Left);
            }
        }
        for action in &actions {
            let (to, fate) = match action {
                Action::Grant { to, .. } => (to, Fate::Granted),
                Action::Refuse { to, .. } => (to, Fate::Refused),
            };
            let known = self.known.get_mut(to).expect("it has arrived");
            prop_assert_eq!(known.fate.replace(fate), None, "{:?} is answered twice", to);
        }
        for action in &actions {
            if let Action::Grant { to, permit, cluster, why, stolen_from, .. } = action {
                prop_assert_eq!(permit.0, to.0);
                self.check_grant(*to, cluster.as_ref(), *why, stolen_from.as_ref())?;
                if in_order && let Some(door) = waited.get(to) {
                    self.check_order(*to, door, &waited)?;
                }
            }
        }
        self.check()
    }

    fn check_grant(
        &self,
        to: WaiterId,
        at: Option<&ClusterName>,
        why: Routed,
        stolen_from: Option<&ClusterName>,
    ) -> Result<(), TestCaseError> {
        let (known, now) = (&self.known[&to], self.lab.now);
        let side = self.lab.engine.side(&at.map_or(Door::Lists, |at| Door::Cluster(at.clone())));
        let (credits, due) = (side.account.credits(now), known.patience == Patience::Due);
        prop_assert!(due || side.account.in_flight() <= credits, "more in flight than was offered");
        if known.class.lane == Lane::Big && !due {
            prop_assert!(self.in_flight(at, Lane::Big) <= (credits / 2).max(1), "more than half for big ones");
        }
        match &known.place {
            Place::Any => {
                prop_assert!(side.is_able(now), "a new key where none are taken");
                let most = (credits - credits.div_ceil(4)).max(1);
                prop_assert!(due || side.account.claiming() <= most, "too many wait for the directory");
            }
            Place::Home(home) => prop_assert_eq!(at, Some(home)),
            Place::Everywhere => prop_assert_eq!(at, None),
        }
        prop_assert_eq!(why == Routed::Stolen, stolen_from.is_some());
        prop_assert!(stolen_from.is_none() || (stolen_from != at && known.place == Place::Any));
        Ok(())
    }

    /// Nobody who came before it, and waited in the same place for the same thing, waits still.
    fn check_order(
        &self,
        granted: WaiterId,
        door: &Door,
        waited: &BTreeMap<WaiterId, Door>,
    ) -> Result<(), TestCaseError> {
        let mine = &self.known[&granted];
        for (waiter, other_door) in waited {
            let other = &self.known[waiter];
            let same =
                (other.principal, other.class.lane, &other.place) == (mine.principal, mine.class.lane, &mine.place);
            if same && other_door == door && other.at < mine.at {
                prop_assert!(!self.lab.engine.waiting.contains_key(waiter), "{:?} was passed by {:?}", waiter, granted);
            }
        }
        Ok(())
    }

    fn in_flight(&self, at: Option<&ClusterName>, lane: Lane) -> u32 {
        let held = self.lab.engine.held.values();
        held.filter(|held| held.door.cluster() == at && held.lane == lane && held.holds == Holds::Credit).count() as u32
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let now = self.lab.now;
        let undecided = self.known.iter().filter(|(_, known)| known.fate.is_none()).map(|(waiter, _)| *waiter);
        let undecided: BTreeSet<WaiterId> = undecided.collect();
        let engine = &mut self.lab.engine;
        let known: BTreeSet<WaiterId> = engine.waiting.keys().copied().collect();
        prop_assert_eq!(&undecided, &known, "who is not answered waits");
        prop_assert!(engine.waiting.len() <= engine.bounds.waiting);
        let mut waiting = 0;
        for door in engine.doors() {
            let side = engine.side(&door);
            waiting += side.len();
            prop_assert!(side.len() <= engine.bounds.queue);
            prop_assert!(engine.closing || side.next_lane(now).is_none(), "{:?} has a credit for one that waits", door);
            for lane in Lane::ALL {
                let here = engine.waiting.values().filter(|one| one.door == door && one.ask.class.lane == lane);
                let movable = here.filter(|one| one.ask.place == Place::Any).count();
                prop_assert_eq!(side.queue(lane).movable() as usize, movable);
            }
        }
        prop_assert_eq!(waiting, undecided.len());
        let seen: Vec<_> = engine.sides.iter_mut().map(|(name, side)| side.seen(name, now)).collect();
        prop_assert!(!engine.settings.stealing || engine.closing || matches!(steal(&seen), Verdict::Nothing(_)));
        for door in self.lab.engine.doors() {
            let account = &self.lab.engine.side(&door).account;
            let used: u32 = Lane::ALL.iter().map(|lane| self.in_flight(door.cluster(), *lane)).sum();
            let held = self.lab.engine.held.values();
            let streams = held.filter(|held| held.door == door && held.holds == Holds::Stream).count();
            prop_assert_eq!((account.in_flight(), account.streams() as usize), (used, streams), "{:?}", door);
            let held = self.lab.engine.held.values();
            let claiming = held.filter(|held| held.door == door && held.claims).count();
            prop_assert_eq!(account.claiming() as usize, claiming, "{:?}", door);
        }
        Ok(())
    }

    /// Lets everything come to its end.
    fn finish(mut self) -> Result<(), TestCaseError> {
        self.step(Step::Tick(60_000))?;
        let mut waiting = self.lab.engine.waiting.values();
        prop_assert!(waiting.all(|one| one.ask.patience == Patience::Ticket), "who else waits so long?");
        for waiter in self.lab.engine.waiting.keys().copied().collect::<Vec<_>>() {
            self.apply(Event::Left(waiter))?;
        }
        while let Some(permit) = self.lab.engine.held.keys().next().copied() {
            self.apply(Event::Ended(permit, Outcome::Gone))?;
        }
        prop_assert!(self.known.values().all(|known| known.fate.is_some()), "somebody was forgotten");
        for door in self.lab.engine.doors() {
            let account = &self.lab.engine.side(&door).account;
            prop_assert_eq!((account.in_flight(), account.streams()), (0, 0), "a credit of {:?} is lost", door);
        }
        self.replay()
    }

    /// Whatever moved would move again, decided from what people are told of it.
    fn replay(&self) -> Result<(), TestCaseError> {
        for waiter in self.known.keys() {
            let Some(told) = self.lab.engine.explain(&request(*waiter), self.lab.now) else { continue };
            let text = serde_json::to_string(&told).expect("plain data");
            let told: Explanation = serde_json::from_str(&text).expect("it is read back");
            for step in told.steps {
                if let What::Stolen { seen, verdict } = step.what {
                    prop_assert_eq!(steal(&seen), verdict, "of {:?}", waiter);
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn everybody_is_answered_once_and_every_credit_comes_back(
        steps in steps(),
        queue in prop::sample::select(vec![3usize, 10, 1024]),
        waiting in prop::sample::select(vec![5usize, 20, 4096]),
        bytes in prop::sample::select(vec![3u64 << 20, 16 << 30]),
        queue_wait_ms in prop::sample::select(vec![500u64, 5000]),
        stealing in prop::bool::weighted(0.8),
    ) {
        let mut model = Model::new((queue, waiting, bytes), queue_wait_ms, stealing);
        for step in steps {
            model.step(step)?;
        }
        model.finish()?;
    }
}
