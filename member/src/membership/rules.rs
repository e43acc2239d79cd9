//! Which nodes vote. Pure.
//!
//! Voters change for growth, for one that is away for long, and for those that drain or leave by command; one change at a time.
//! The number of voters never shrinks but by the removal of one.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_api::NodeId;

/// How a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The node.
    pub node: NodeId,
    /// Whether it votes.
    pub votes: bool,
    /// Its zone; a node without one is a zone of its own.
    pub zone: Option<String>,
    /// Whether the leader hears of it.
    pub standing: Standing,
    /// Whether its log reaches about as far as the leader's.
    pub caught_up: bool,
    /// Whether its data goes to others.
    pub drains: bool,
    /// Whether it leaves for ever.
    pub leaves: bool,
}

/// Whether the leader hears of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Heard lately.
    Up,
    /// Silent, but not for long.
    Silent,
    /// Silent for longer than a voter may be.
    Away,
}

/// Counts members by how they stand, under the names that metrics have for that.
#[must_use]
pub fn tally(seats: &[Seat]) -> [(&'static str, usize); 3] {
    let count = |standing| seats.iter().filter(|seat| seat.standing == standing).count();
    [("up", count(Standing::Up)), ("silent", count(Standing::Silent)), ("away", count(Standing::Away))]
}

/// A change of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These vote from now on.
    Voters(BTreeSet<NodeId>),
    /// This one, which does not vote, is a member no more.
    Part(NodeId),
}

/// Gives the change that is due, if there is one.
#[must_use]
pub fn next(seats: &[Seat]) -> Option<Step> {
    if let Some(seat) = seats.iter().find(|seat| seat.leaves && !seat.votes) {
        return Some(Step::Part(seat.node));
    }
    let voters: Vec<&Seat> = seats.iter().filter(|seat| seat.votes).collect();
    let next = replaced(seats, &voters).or_else(|| grown(seats, &voters))?;
    // Both sets have to agree to a change: one that can't would hold all later ones up.
    let can_agree = |set: &BTreeSet<NodeId>| {
        let up = seats.iter().filter(|seat| set.contains(&seat.node) && seat.standing == Standing::Up).count();
        up > set.len() / 2
    };
    let before = voters.iter().map(|seat| seat.node).collect();
    (can_agree(&before) && can_agree(&next)).then_some(Step::Voters(next))
}

/// Gives one voter's vote to another node: that of one that leaves, else drains, else is away.
fn replaced(seats: &[Seat], voters: &[&Seat]) -> Option<BTreeSet<NodeId>> {
    let leaves = voters.iter().find(|seat| seat.leaves);
    let drains = || voters.iter().find(|seat| seat.drains);
    let away = || voters.iter().find(|seat| seat.standing == Standing::Away);
    let old = leaves.or_else(drains).or_else(away)?;
    let kept: Vec<&Seat> = voters.iter().filter(|seat| seat.node != old.node).copied().collect();
    let mut next: BTreeSet<NodeId> = kept.iter().map(|seat| seat.node).collect();
    match spare(seats, &kept, false) {
        Some(new) => _ = next.insert(new.node),
        // What was ordered is done, as long as somebody is left to vote.
        None if old.leaves && !next.is_empty() => {}
        None => return None,
    }
    Some(next)
}

/// Grows to three voters in as many zones as there are, and to five in distinct ones, unless all nodes are in one.
fn grown(seats: &[Seat], voters: &[&Seat]) -> Option<BTreeSet<NodeId>> {
    let target = match voters.len() {
        ..=2 => 3,
        3 | 4 => 5,
        _ => return None,
    };
    if voters.iter().any(|seat| seat.standing != Standing::Up) {
        return None;
    }
    let mut zones = seats.iter().filter(|seat| seat.standing == Standing::Up).map(|seat| &seat.zone);
    let first = zones.next()?;
    let one_zone = first.is_some() && zones.all(|zone| zone == first);
    let mut grown = voters.to_vec();
    while grown.len() < target {
        // Three votes in two zones outlive more than one vote; five in fewer zones than that outlive no more than three.
        grown.push(spare(seats, &grown, target > 3 && !one_zone)?);
    }
    Some(grown.iter().map(|seat| seat.node).collect())
}

/// Gives the node that is the best next voter: in the zone with the fewest of them, then the one that has been there longest.
fn spare<'a>(seats: &'a [Seat], voters: &[&Seat], new_zone: bool) -> Option<&'a Seat> {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for zone in voters.iter().filter_map(|seat| seat.zone.as_deref()) {
        *taken.entry(zone).or_default() += 1;
    }
    let in_zone = |seat: &Seat| seat.zone.as_deref().and_then(|zone| taken.get(zone)).copied().unwrap_or(0);
    let can = |seat: &&Seat| seat.standing == Standing::Up && seat.caught_up && !seat.drains && !seat.leaves;
    seats
        .iter()
        .filter(can)
        .filter(|seat| !seat.votes && !voters.iter().any(|voter| voter.node == seat.node))
        .filter(|seat| !new_zone || in_zone(seat) == 0)
        .min_by_key(|seat| (in_zone(seat), seat.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(id: u64, votes: bool) -> Seat {
        Seat {
            node: NodeId(id),
            votes,
            zone: None,
            standing: Standing::Up,
            caught_up: true,
            drains: false,
            leaves: false,
        }
    }

    /// Nodes 1 to `voters` vote, the next `learners` don't.
    fn seats(voters: u64, learners: u64) -> Vec<Seat> {
        (1..=voters + learners).map(|id| seat(id, id <= voters)).collect()
    }

    fn voters(ids: &[u64]) -> Option<Step> {
        Some(Step::Voters(ids.iter().copied().map(NodeId).collect()))
    }

    #[test]
    fn voters_grow_to_three_and_five_and_no_further() {
        for (have, spare, expect) in [
            (1, 0, None),
            (1, 1, None),
            (1, 2, voters(&[1, 2, 3])),
            (2, 1, voters(&[1, 2, 3])),
            (3, 1, None),
            (3, 3, voters(&[1, 2, 3, 4, 5])),
            (4, 1, voters(&[1, 2, 3, 4, 5])),
            (5, 4, None),
        ] {
            assert_eq!(next(&seats(have, spare)), expect, "{have} and {spare}");
        }
    }

    #[test]
    fn a_learner_that_is_behind_silent_or_about_to_go_gets_no_vote() {
        let spoil: [fn(&mut Seat); 4] = [
            |seat| seat.caught_up = false,
            |seat| seat.standing = Standing::Silent,
            |seat| seat.drains = true,
            |seat| seat.standing = Standing::Away,
        ];
        for spoil in spoil {
            let mut seats = seats(1, 2);
            spoil(&mut seats[2]);
            assert_eq!(next(&seats), None);
        }
        let mut seats = seats(3, 2);
        seats[1].standing = Standing::Silent;
        assert_eq!(next(&seats), None, "nothing grows while a voter is silent");
    }

    #[test]
    fn growth_takes_distinct_zones_as_far_as_there_are() {
        let zoned = |zones: &[&str], votes: usize| -> Vec<Seat> {
            let one =
                |(n, zone): (usize, &&str)| Seat { zone: Some((*zone).to_owned()), ..seat(n as u64 + 1, n < votes) };
            zones.iter().enumerate().map(one).collect()
        };
        assert_eq!(next(&zoned(&["a", "a", "b", "c"], 1)), voters(&[1, 3, 4]));
        assert_eq!(next(&zoned(&["a", "a", "b"], 1)), voters(&[1, 2, 3]));
        let mut dead = zoned(&["a", "a", "a", "a"], 1);
        (dead[3].zone, dead[3].standing) = (None, Standing::Away);
        assert_eq!(next(&dead), voters(&[1, 2, 3]), "a node that nobody hears has no zone");
        assert_eq!(next(&zoned(&["a", "b", "c", "a", "b"], 3)), None, "five of three zones outlive no more zones");
        assert_eq!(next(&zoned(&["a", "a", "a"], 1)), voters(&[1, 2, 3]));
    }

    #[test]
    fn a_voter_that_is_away_drains_or_leaves_gives_its_vote_to_a_learner() {
        let spoil: [fn(&mut Seat); 3] =
            [|seat| seat.standing = Standing::Away, |seat| seat.drains = true, |seat| seat.leaves = true];
        for spoil in spoil {
            let mut seats = seats(3, 1);
            spoil(&mut seats[1]);
            assert_eq!(next(&seats), voters(&[1, 3, 4]));
            seats[3].caught_up = false;
            let alone = if seats[1].leaves { voters(&[1, 3]) } else { None };
            assert_eq!(next(&seats), alone, "it never shrinks by itself");
        }
        let mut silent = seats(3, 1);
        silent[1].standing = Standing::Silent;
        assert_eq!(next(&silent), None);
    }

    #[test]
    fn one_vote_moves_at_a_time_the_one_that_leaves_first() {
        let mut seats = seats(5, 2);
        seats[0].standing = Standing::Away;
        seats[1].drains = true;
        seats[2].leaves = true;
        assert_eq!(next(&seats), voters(&[1, 2, 4, 5, 6]));
    }

    #[test]
    fn the_vote_stays_in_its_zone_count() {
        let mut seats = seats(3, 2);
        for (seat, zone) in seats.iter_mut().zip(["a", "b", "c", "a", "c"]) {
            seat.zone = Some(zone.to_owned());
        }
        seats[2].standing = Standing::Away;
        assert_eq!(next(&seats), voters(&[1, 2, 5]), "the zone that lost its voter, not the first learner");
    }

    #[test]
    fn a_change_that_can_not_be_agreed_to_is_not_begun() {
        let mut seats = seats(3, 1);
        seats[1].standing = Standing::Away;
        seats[2].standing = Standing::Silent;
        assert_eq!(next(&seats), None);
        let mut pair = self::seats(2, 0);
        pair[1].leaves = true;
        pair[1].standing = Standing::Away;
        assert_eq!(next(&pair), None, "two of two have to agree that one goes");
    }

    #[test]
    fn members_are_counted_by_how_they_stand() {
        let mut seats = seats(3, 2);
        seats[1].standing = Standing::Away;
        seats[4].standing = Standing::Silent;
        assert_eq!(tally(&seats), [("up", 3), ("silent", 1), ("away", 1)]);
        assert_eq!(tally(&[]), [("up", 0), ("silent", 0), ("away", 0)]);
    }

    #[test]
    fn a_node_that_leaves_is_parted_with_once_it_has_no_vote() {
        let mut seats = seats(3, 1);
        seats[3].leaves = true;
        seats[3].standing = Standing::Away;
        assert_eq!(next(&seats), Some(Step::Part(NodeId(4))));
        let mut sole = self::seats(1, 1);
        sole[0].leaves = true;
        assert_eq!(next(&sole), voters(&[2]), "its vote goes to the learner");
        let mut last = self::seats(1, 0);
        last[0].leaves = true;
        assert_eq!(next(&last), None, "somebody has to be left");
    }
}
