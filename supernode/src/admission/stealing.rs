//! When a cluster with nothing to do takes a waiting request from another one's queue: a rule over plain data that can
//! be recorded and replayed. Must not know the requests; which one is taken is the queue's affair.

use flotilla_api::{
    explain::{Seen, Verdict, Why},
    queue::Lane,
};

#[cfg(test)]
mod tests;

/// Decides. What waits owns nothing, so no fence is needed: its claim is made where it is served.
#[must_use]
pub fn steal(seen: &[Seen]) -> Verdict {
    let mut why = Why::NothingIsStuck;
    for lane in Lane::ALL {
        // Ties go to the first name, so that the same sight is always the same verdict.
        let mut stuck: Vec<&Seen> = seen.iter().filter(|side| is_stuck(side, lane)).collect();
        stuck.sort_by(|a, b| b.units.cmp(&a.units).then_with(|| a.cluster.cmp(&b.cluster)));
        let idle: Vec<&Seen> = seen.iter().filter(|side| is_idle(side, lane)).collect();
        for from in &stuck {
            let sooner = idle.iter().filter(|thief| is_sooner(lane, thief.under_way_small_ms, from.under_way_small_ms));
            let best = sooner.max_by(|a, b| a.score_milli.cmp(&b.score_milli).then_with(|| b.cluster.cmp(&a.cluster)));
            if let Some(thief) = best {
                return Verdict::Take { thief: thief.cluster.clone(), from: from.cluster.clone(), lane };
            }
        }
        if !stuck.is_empty() && why != Why::NobodyIsSooner {
            why = if idle.is_empty() { Why::NobodyIsIdle } else { Why::NobodyIsSooner };
        }
    }
    Verdict::Nothing(why)
}

/// Whether something waits here that others could serve, and can't be served here now.
fn is_stuck(seen: &Seen, lane: Lane) -> bool {
    let (free, movable) = match lane {
        Lane::Small => (seen.free_small, seen.movable_small),
        Lane::Big => (seen.free_big, seen.movable_big),
    };
    seen.fresh && seen.takes_new && movable > 0 && free == 0
}

/// Whether it could serve one more, and has nothing of its own to serve.
fn is_idle(seen: &Seen, lane: Lane) -> bool {
    let free = match lane {
        Lane::Small => seen.free_small,
        Lane::Big => seen.free_big,
    };
    seen.fresh && seen.takes_new && free > 0 && seen.waiting_small == 0 && seen.waiting_big == 0
}

/// Whether who is let through next is done sooner at the thief, or as soon: those that are under way come first. A slow
/// cluster that takes somebody whose turn is about to come makes that one wait longer. Where it is not known, since
/// nothing is under way or mostly big ones are, of which nobody knows what is left, the thief may take. Both are told by
/// [`Seen::under_way_small_ms`].
pub(super) fn is_sooner(lane: Lane, thief: Option<u64>, from: Option<u64>) -> bool {
    match (lane, thief, from) {
        (Lane::Small, Some(thief), Some(from)) => thief <= from,
        (Lane::Small | Lane::Big, ..) => true,
    }
}
