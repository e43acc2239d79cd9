//! Which tickets stand in the leader's queues, and which places are held for how long. Pure; must not know where tickets
//! are written down, nor how places are had.
//!
//! What stands here is soft: what a ticket is the directory decides, and a new leader begins with an empty desk.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flotilla_api::ClusterName;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// The part of the credits that may be held for tickets: places that nobody uses for some seconds cost everybody.
const HELD_PART: u32 = 4;
/// When one is tried again that a queue did not take: clusters report twice a second.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The most tickets whose time is over in one step.
const LOST_MAX: usize = 64;
/// The most places that are held, however many credits there are: the directory grants no more tickets than that.
const HELD_MAX: usize = 1024;

/// The ticket of a principal that is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Its number.
    pub number: u64,
    /// The home of its key, if there is one.
    pub home: Option<ClusterName>,
}

/// A ticket that is granted and not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Its number.
    pub number: u64,
    /// The cluster that has a place for it.
    pub cluster: ClusterName,
    /// Whether its key is at home there, so that no other cluster would do.
    pub at_home: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Have a ticket stand in the queue.
    Enter(u64),
    /// Take it out again, or give the place back that it has just got.
    Withdraw(u64),
    /// Hold a place for a ticket that was granted by another leader.
    Hold(Granted),
    /// Give the place of a ticket back.
    Release(u64),
    /// End tickets whose places were held for long enough.
    Lose(Vec<u64>),
}

#[derive(Debug)]
struct Held {
    cluster: ClusterName,
    at_home: bool,
    until: Instant,
}

/// What the leader remembers of tickets.
///
/// # Bounds
/// At most a quarter of all credits is held, and `HELD_MAX`; of a cluster for keys that are at home there no more than a
/// quarter of its own; at least one of each; and besides, one for each principal whose ticket stood in the queue already.
#[derive(Debug)]
pub struct Desk {
    hold: Duration,
    entered: BTreeSet<u64>,
    later: BTreeMap<u64, Instant>,
    held: BTreeMap<u64, Held>,
}

impl Desk {
    /// Makes an empty desk that has a place held for so long.
    #[must_use]
    pub fn new(hold: Duration) -> Self {
        Self { hold, entered: BTreeSet::new(), later: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// Compares what stands with what is remembered, and says what follows. `credits` are those that this supernode has
    /// of each cluster.
    ///
    /// Time counts from when a place is first seen: under a new leader a ticket has more of it, never less.
    pub fn look(
        &mut self,
        next: &[Next],
        granted: &[Granted],
        credits: &BTreeMap<ClusterName, u32>,
        now: Instant,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let (standing, waiting): (BTreeSet<u64>, BTreeSet<u64>) =
            (granted.iter().map(|one| one.number).collect(), next.iter().map(|one| one.number).collect());
        let gone: Vec<u64> = self.held.keys().filter(|number| !standing.contains(number)).copied().collect();
        for number in gone {
            self.held.remove(&number);
            steps.push(Step::Release(number));
        }
        for one in granted.iter().filter(|one| !self.held.contains_key(&one.number)).cloned().collect::<Vec<_>>() {
            let held = Held { cluster: one.cluster.clone(), at_home: one.at_home, until: now + self.hold };
            self.held.insert(one.number, held);
            steps.push(Step::Hold(one));
        }
        let over = self.held.iter().filter(|(_, held)| held.until <= now).map(|(number, _)| *number);
        let over: Vec<u64> = over.take(LOST_MAX).collect();
        if !over.is_empty() {
            steps.push(Step::Lose(over));
        }
        let passed: Vec<u64> = self.entered.difference(&waiting).copied().collect();
        for number in passed {
            self.entered.remove(&number);
            steps.push(Step::Withdraw(number));
        }
        self.later.retain(|number, until| waiting.contains(number) && *until > now);
        for one in next {
            let new = !self.entered.contains(&one.number) && !self.later.contains_key(&one.number);
            if new && self.has_room(one.home.as_ref(), credits) {
                self.entered.insert(one.number);
                steps.push(Step::Enter(one.number));
            }
        }
        steps
    }

    /// Notes that a ticket has left the queue: it has a place, or it was refused.
    pub fn left(&mut self, number: u64) {
        self.entered.remove(&number);
    }

    /// Notes that a queue did not take a ticket.
    pub fn refused(&mut self, number: u64, now: Instant) {
        self.left(number);
        self.later.insert(number, now + AGAIN_AFTER);
    }

    /// Notes that a ticket was granted, with a place that is held by whoever says so.
    pub fn granted(&mut self, granted: Granted, now: Instant) {
        let Granted { number, cluster, at_home } = granted;
        self.left(number);
        self.held.insert(number, Held { cluster, at_home, until: now + self.hold });
    }

    fn has_room(&self, home: Option<&ClusterName>, credits: &BTreeMap<ClusterName, u32>) -> bool {
        let part = |credits: u32| (credits / HELD_PART).max(1) as usize;
        // Places of new keys do not count here: they could be anywhere, and where all of them come to one cluster, who
        // has to go there would wait for ever.
        let of_home = |home: &ClusterName| {
            let held = self.held.values().filter(|held| held.at_home && held.cluster == *home).count();
            held < part(credits.get(home).copied().unwrap_or(0))
        };
        let all = credits.values().fold(0u32, |all, credits| all.saturating_add(*credits));
        self.held.len() < part(all).min(HELD_MAX) && home.is_none_or(of_home)
    }
}
