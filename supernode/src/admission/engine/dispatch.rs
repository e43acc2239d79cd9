//! Who is let through next, and where to.

use flotilla_api::{
    explain::{Routed, Seen, Verdict, What},
    queue::Lane,
};

use super::{Action, Door, Engine, Held, Holds, PermitId, Turn, WaiterId, Waiting, side::Side};
use crate::{
    admission::{
        class::{Patience, Place},
        stealing::{is_sooner, steal},
    },
    route::{self, Candidate},
};

/// Times that differ by no more than this part are the same: they are estimates.
const AS_SOON_PART: u32 = 10;

impl Engine {
    /// Lets those through that wait at a door, as far as there are credits.
    pub(super) fn dispatch(&mut self, door: &Door, turn: &mut Turn<'_>) {
        while !self.closing {
            let side = self.side_mut(door);
            let Some(lane) = side.next_lane(turn.now) else { return };
            let able = side.can_claim(turn.now);
            let Some(item) = side.queue_mut(lane).pop(|spot| able || !spot.movable, turn.now) else { return };
            let waiting = self.taken(item.what);
            self.grant(item.what.waiter, waiting, door.clone(), None, turn);
        }
    }

    /// Lets idle clusters take from the queues of others until none is idle or nothing is stuck.
    pub(super) fn steal(&mut self, turn: &mut Turn<'_>) {
        while self.settings.stealing && self.could_steal(turn) {
            let seen: Vec<Seen> = self.sides.iter_mut().map(|(name, side)| side.seen(name, turn.now)).collect();
            let verdict = steal(&seen);
            let Verdict::Take { thief, from, lane } = &verdict else { return };
            let (lane, from, thief) = (*lane, Door::Cluster(from.clone()), Door::Cluster(thief.clone()));
            let queue = self.side_mut(&from).queue_mut(lane);
            let Some(item) = queue.give(|spot| spot.movable, turn.now) else { return };
            let waiting = self.taken(item.what);
            self.records.happened(&waiting.ask.request, What::Stolen { seen, verdict }, turn.now);
            self.side_mut(&from).given += 1;
            self.side_mut(&thief).taken += 1;
            let twice = steals_twice().then(|| (waiting.clone(), from.clone()));
            self.grant(item.what.waiter, waiting, thief, Some(from), turn);
            if let Some((waiting, from)) = twice {
                self.grant(item.what.waiter, waiting, from, None, turn);
            }
        }
    }

    /// Whether a look at all clusters would find something to steal: it costs some microseconds, and most events change
    /// nothing.
    fn could_steal(&self, turn: &Turn<'_>) -> bool {
        let now = turn.now;
        let under_way = |side: &Side| side.small_under_way_ms(now);
        Lane::ALL.iter().any(|lane| {
            let stuck = || self.sides.values().filter(|side| side.is_stuck(*lane, now));
            let mut idle = self.sides.values().filter(|side| side.is_idle(*lane, now));
            // Where nothing is stuck, as nearly always, nobody is asked whether it is idle.
            stuck().next().is_some()
                && idle.any(|thief| stuck().any(|from| is_sooner(*lane, under_way(thief), under_way(from))))
        })
    }

    /// Chooses the cluster for a request that any can serve: the best of those that have a credit, or, where it has to
    /// wait anyway, of those that are done soonest. While none is heard, it is the one that was heard last of
    /// those that took new keys. None if there is no such cluster.
    pub(super) fn route(&mut self, lane: Lane, turn: &mut Turn<'_>) -> Option<Door> {
        let now = turn.now;
        flotilla_env::failpoint!("route.evenly", |_| {
            let able: Vec<_> = self.sides.iter().filter(|(_, side)| side.is_able(now)).map(|(name, _)| name).collect();
            let at = (turn.random)().checked_rem(able.len() as u64)?;
            Some(Door::Cluster(able[at as usize].clone()))
        });
        let free = |side: &Side| side.free(lane, true, now) > 0;
        let able = || self.sides.values().filter(|side| side.is_able(now));
        let any_free = able().any(free);
        // A report tells how busy a cluster is, and not how fast it gets done with what stands here.
        let done = |side: &Side| side.done(lane, now);
        let soonest = able().map(done).min().unwrap_or_default();
        let as_soon = soonest.saturating_add(soonest / AS_SOON_PART);
        let fits = |side: &Side| match any_free {
            true => free(side),
            false => done(side) <= as_soon,
        };
        let able = self.sides.values_mut().filter(|side| side.is_able(now) && fits(side));
        let candidates: Vec<Candidate> = able.filter_map(|side| side.candidate().cloned()).collect();
        if let Some(chosen) = route::cluster(&candidates, &mut *turn.random) {
            return Some(Door::Cluster(chosen.cluster.clone()));
        }
        let silent = self.sides.iter().filter(|(_, side)| side.takes_new() && !side.account.is_lost(now));
        let (name, _) = silent.min_by_key(|(_, side)| side.account.age(now))?;
        Some(Door::Cluster(name.clone()))
    }

    /// Lets a request through.
    pub(super) fn grant(
        &mut self,
        waiter: WaiterId,
        waiting: Waiting,
        door: Door,
        stolen_from: Option<Door>,
        turn: &mut Turn<'_>,
    ) {
        let Waiting { ask, at, .. } = waiting;
        let lane = ask.class.lane;
        // A place that is held for a ticket waits for its client, not for the directory.
        let claims = ask.place == Place::Any && ask.patience != Patience::Ticket;
        let side = self.side_mut(&door);
        side.take(lane, turn.now);
        if claims {
            side.account.claims();
        }
        let why = match &ask.place {
            Place::Everywhere => Routed::List,
            Place::Any if stolen_from.is_some() => Routed::Stolen,
            Place::Any => Routed::New,
            Place::Home(_) if ask.first.is_some() => Routed::LostClaim,
            Place::Home(_) => Routed::Home,
        };
        let (permit, cluster) = (PermitId(waiter.0), door.cluster().cloned());
        self.records.happened(&ask.request, What::Granted { cluster: cluster.clone(), why }, turn.now);
        self.held.insert(permit, Held { request: ask.request, door, lane, holds: Holds::Credit, claims });
        turn.actions.push(Action::Grant {
            to: waiter,
            permit,
            cluster,
            why,
            stolen_from: stolen_from.and_then(|from| from.cluster().cloned()),
            waited: turn.now.duration_since(at),
        });
    }
}

/// Whether a stolen request is let through at the cluster that it was taken from, too; only where a test asks for that.
fn steals_twice() -> bool {
    flotilla_env::failpoint!("steal.twice", |_| true);
    false
}
