//! A request that comes: let through, put into a queue, or refused.

use std::{sync::Arc, time::Duration};

use flotilla_api::{
    ClusterName, RequestId,
    explain::{Considered, Refusal, What},
    queue::{Class, Lane},
};
use tokio::time::Instant;

use super::{AWAY_FOR, Action, COUNTED_BYTES_MAX, Door, Engine, Turn, WaiterId, Waiting, queue::Spot, side::Side};
use crate::admission::{
    class::{Ask, Patience, Place},
    fair::{Item, Measure},
    record::{CANDIDATES_MAX, millis},
};

/// What there is too little of for one more request.
struct Lack {
    /// Of all queues together, not of one cluster's.
    everywhere: bool,
    by: Measure,
    /// How much is missing.
    missing: u64,
    /// How much the request takes.
    takes: u64,
}

/// The longest line of those that share what there is too little of.
struct Longest {
    door: Door,
    lane: Lane,
    line: String,
    long: u64,
}

impl Engine {
    pub(super) fn arrived(&mut self, waiter: WaiterId, ask: Ask, turn: &mut Turn<'_>) {
        debug_assert!(!self.waiting.contains_key(&waiter), "every waiter has a number of its own");
        let candidates = if ask.place == Place::Any { self.considered(ask.class.lane, turn.now) } else { Vec::new() };
        self.records.arrived(&ask, candidates, turn.now);
        let door = match &ask.place {
            Place::Everywhere => Some(Door::Lists),
            Place::Home(cluster) => Some(Door::Cluster(cluster.clone())),
            Place::Any => self.route(ask.class.lane, turn),
        };
        let Some(door) = door else {
            return self.turn_away(waiter, &ask.request, Refusal::NoCluster, AWAY_FOR, turn);
        };
        if let Place::Home(cluster) = &ask.place {
            self.open(cluster, turn.now);
        }
        let (at, again) = (ask.first.unwrap_or(turn.now), ask.first.is_some());
        self.place(waiter, Waiting { ask, at, door }, again, turn);
    }

    /// Lets a request through at its door, or lets it wait there. One that was promised a place before is refused for
    /// no estimate, and room is made for it at anybody's cost.
    pub(super) fn place(&mut self, waiter: WaiterId, waiting: Waiting, promised: bool, turn: &mut Turn<'_>) {
        let Class { lane, units, .. } = waiting.ask.class;
        let side = self.side_mut(&waiting.door);
        let patience = waiting.ask.patience;
        // Who waits in this lane with a credit there waits for the cluster to take new keys: nobody is passed.
        let new = waiting.ask.place == Place::Any;
        let due = patience == Patience::Due && (!new || side.is_able(turn.now));
        if due || side.free(lane, new, turn.now) > 0 {
            side.queue_mut(lane).served(units);
            let door = waiting.door.clone();
            return self.grant(waiter, waiting, door, None, turn);
        }
        let lost = side.account.is_lost(turn.now);
        if self.closing || lost {
            let why = if self.closing { Refusal::Closing } else { Refusal::Lost };
            return self.turn_away(waiter, &waiting.ask.request, why, AWAY_FOR, turn);
        }
        let turned_away = match patience {
            Patience::AtOnce => Some((Refusal::WouldWait, Duration::ZERO)),
            // It has a place, and no cluster takes its new key.
            Patience::Due => Some((Refusal::NoCluster, AWAY_FOR)),
            Patience::Queue | Patience::Ticket => None,
        };
        if let Some((why, after)) = turned_away {
            return self.turn_away(waiter, &waiting.ask.request, why, after, turn);
        }
        let promised = promised || patience == Patience::Ticket;
        let queue = self.side(&waiting.door).queue(lane);
        let ahead = queue.fair().ahead(&waiting.ask.principal, units);
        let wait = queue.wait(ahead);
        if !promised && self.is_hopeless(queue, wait, turn.now) {
            self.shut_out(&waiting, Refusal::Hopeless, turn.now);
            return self.refuse(waiter, &waiting, Refusal::Hopeless, turn);
        }
        if !self.make_room(&waiting, promised, turn) {
            self.shut_out(&waiting, Refusal::Full, turn.now);
            return self.refuse(waiter, &waiting, Refusal::Full, turn);
        }
        let item = Item {
            what: waiting.spot(waiter),
            principal: Arc::clone(&waiting.ask.principal),
            units,
            bytes: waiting.bytes(),
            at: waiting.at,
        };
        self.side_mut(&waiting.door).queue_mut(lane).push(item, turn.now);
        let cluster = waiting.door.cluster().cloned();
        let what = What::Queued { cluster, ahead_units: ahead.units, wait_ms: millis(wait) };
        self.records.happened(&waiting.ask.request, what, turn.now);
        self.waiting.insert(waiter, waiting);
    }

    /// Finds other clusters for requests that wait for one that takes no new keys any more, where they would wait in
    /// vain.
    pub(super) fn rehouse(&mut self, turn: &mut Turn<'_>) {
        if self.closing || !self.takes_new(turn.now) {
            return;
        }
        let stranded = |side: &Side| Lane::ALL.iter().any(|lane| side.queue(*lane).movable() > 0);
        let unable = self.sides.iter().filter(|(_, side)| !side.is_able(turn.now) && stranded(side));
        let unable: Vec<_> = unable.map(|(name, _)| name.clone()).collect();
        for from in unable {
            let door = Door::Cluster(from.clone());
            for lane in Lane::ALL {
                let queue = self.side_mut(&door).queue_mut(lane);
                for item in queue.drain(|item| item.what.movable, turn.now) {
                    let waiting = self.taken(item.what);
                    self.records.happened(&waiting.ask.request, What::Rehoused { from: from.clone() }, turn.now);
                    match self.route(lane, turn) {
                        Some(door) => self.place(item.what.waiter, Waiting { door, ..waiting }, true, turn),
                        None => {
                            let (waiter, request) = (item.what.waiter, &waiting.ask.request);
                            self.turn_away(waiter, request, Refusal::NoCluster, AWAY_FOR, turn);
                        }
                    }
                }
            }
        }
    }

    /// Refuses a request that would wait, or has waited, with an appointment in its lane.
    pub(super) fn refuse(&mut self, waiter: WaiterId, waiting: &Waiting, why: Refusal, turn: &mut Turn<'_>) {
        let Class { lane, units, .. } = waiting.ask.class;
        let after = self.side_mut(&waiting.door).queue_mut(lane).appoint(units, turn);
        self.turn_away(waiter, &waiting.ask.request, why, after, turn);
    }

    pub(super) fn turn_away(
        &mut self,
        waiter: WaiterId,
        request: &RequestId,
        why: Refusal,
        after: Duration,
        turn: &mut Turn<'_>,
    ) {
        self.records.happened(request, What::Refused { why, again_ms: millis(after) }, turn.now);
        if why != Refusal::WouldWait {
            self.records.answered(request, why.code().status().as_u16());
        }
        turn.actions.push(Action::Refuse { to: waiter, why, after });
    }

    /// What is known of one that was just taken out of a queue.
    pub(super) fn taken(&mut self, spot: Spot) -> Waiting {
        self.waiting.remove(&spot.waiter).expect("whoever stands in a queue is known")
    }

    /// Makes room for one more request: the newest of the longest line goes, if that line is still no shorter after
    /// that than the asker's is with its request; else it is the asker that has more than its part. Of a line tickets go
    /// last. Tells whether there is room.
    fn make_room(&mut self, waiting: &Waiting, must: bool, turn: &mut Turn<'_>) -> bool {
        let Class { lane, .. } = waiting.ask.class;
        while let Some(lack) = self.lack(waiting) {
            let Some(longest) = self.longest(&lack, &waiting.door) else { return true };
            let own = self.side(&waiting.door).queue(lane).fair().line_length(&waiting.ask.principal, lack.by);
            if !must && longest.long < own + lack.takes + lack.missing {
                return false;
            }
            let queue = self.side_mut(&longest.door).queue_mut(longest.lane);
            let Some(item) = queue.drop_newest(&longest.line, turn.now) else { return true };
            let displaced = self.taken(item.what);
            self.refuse(item.what.waiter, &displaced, Refusal::Displaced, turn);
        }
        true
    }

    fn lack(&self, waiting: &Waiting) -> Option<Lack> {
        let side = self.side(&waiting.door);
        let (held, takes) = (side.bytes(), waiting.bytes());
        let over = (held + takes).saturating_sub(self.bounds.bytes);
        if side.len() >= self.bounds.queue {
            Some(Lack { everywhere: false, by: Measure::Count, missing: 1, takes: 1 })
        } else if over > 0 && held > 0 {
            Some(Lack { everywhere: false, by: Measure::Bytes, missing: over, takes })
        } else if self.waiting.len() >= self.bounds.waiting {
            Some(Lack { everywhere: true, by: Measure::Count, missing: 1, takes: 1 })
        } else {
            None
        }
    }

    fn longest(&self, lack: &Lack, door: &Door) -> Option<Longest> {
        let doors = if lack.everywhere { self.doors() } else { vec![door.clone()] };
        let mut longest: Option<Longest> = None;
        for door in doors {
            for lane in Lane::ALL {
                let Some((line, long)) = self.side(&door).queue(lane).longest(lack.by) else { continue };
                if longest.as_ref().is_none_or(|best| long > best.long) {
                    longest = Some(Longest { door: door.clone(), lane, line: line.to_owned(), long });
                }
            }
        }
        longest
    }

    /// The clusters as they are for a new key, the best first, for the record.
    fn considered(&mut self, lane: Lane, now: Instant) -> Vec<Considered> {
        let told = |(name, side): (&ClusterName, &mut Side)| side.considered(name, lane, now);
        let mut all: Vec<Considered> = self.sides.iter_mut().map(told).collect();
        all.sort_by_key(|one| std::cmp::Reverse((one.takes_new, one.score_milli)));
        all.truncate(CANDIDATES_MAX);
        all
    }
}

impl Waiting {
    pub(super) fn spot(&self, waiter: WaiterId) -> Spot {
        let patient = self.ask.patience == Patience::Ticket;
        Spot { waiter, movable: self.ask.place == Place::Any, patient }
    }

    fn bytes(&self) -> u64 {
        match self.ask.patience {
            // There is one of each principal. Did they count, those of some large bodies would push each other out for
            // as long as they stand there.
            Patience::Ticket => 0,
            Patience::AtOnce | Patience::Queue | Patience::Due => self.ask.class.bytes.min(COUNTED_BYTES_MAX),
        }
    }
}
