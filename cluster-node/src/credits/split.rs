//! How credits are split between supernodes.

use std::{cmp::Reverse, collections::BTreeMap};

/// The most that a supernode gets of which nothing was heard lately.
const UNHEARD_MAX: u32 = 8;

/// What a supernode would use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// Its small requests, waiting and under way.
    pub small: u32,
    /// Its big ones, waiting and under way.
    pub big: u32,
    /// Those of the big ones that are under way.
    pub big_in_flight: u32,
}

/// Splits credits between the supernodes that were heard lately, after the requests that clients brought to the nodes
/// themselves took theirs.
///
/// If there are enough, each gets what it wants and an equal part of the rest, so that a burst can begin anywhere; else
/// each gets its part by what it wants, so that requests wait equally long everywhere.
///
/// # Bounds
/// The nodes' own clients have at most half: slow ones hold nothing up. Nobody gets less than one, and together they get
/// no more than there are or one each. Where more big requests are under way than half of a share, as in a probe or after
/// a fall, as many again come on top, up to the share: they can't be taken back, and small ones must not wait for their
/// end. No big one can begin by that.
#[must_use]
pub fn split(total: u32, direct: u32, wants: &BTreeMap<String, Want>) -> BTreeMap<String, u32> {
    // A supernode sends big ones with half of its share at most.
    let count = |want: &Want| u64::from(want.small.saturating_add(want.big.min(total / 2)).max(1));
    let free = u64::from(total - direct.min(total / 2)).max(wants.len() as u64);
    let wanted: u64 = wants.values().map(count).sum();
    // What each gets in any case, and the weight by which the rest is shared.
    let part = |want: u64| if wanted <= free { (want, 1) } else { (1, (free * want).saturating_sub(wanted)) };
    let (sure, weights) = wants.values().map(count).map(part).fold((0_u64, 0_u64), |a, b| (a.0 + b.0, a.1 + b.1));
    let rest = free - sure;
    let share = |(name, want)| {
        let (sure, weight) = part(count(want));
        let scaled = rest * weight;
        (name, want, sure + scaled / weights.max(1), scaled % weights.max(1))
    };
    let mut shares: Vec<(&String, &Want, u64, u64)> = wants.iter().map(share).collect();
    // Whole ones only: what is left goes to those who lost most by that.
    let left = free - shares.iter().map(|(_, _, share, _)| share).sum::<u64>();
    shares.sort_by_key(|&(name, _, _, lost)| (Reverse(lost), name));
    let whole = |(at, (name, want, share, _)): (u64, (&String, &Want, u64, u64))| {
        let share = u32::try_from(share + u64::from(at < left)).unwrap_or(u32::MAX);
        (name.clone(), share.max(want.big_in_flight.saturating_add(share.min(want.big_in_flight))))
    };
    (0..).zip(shares).map(whole).collect()
}

/// Gives what a supernode may begin with that is new or was silent, one of so many.
#[must_use]
pub fn unheard(total: u32, supernodes: usize) -> u32 {
    let each = total as usize / (2 * supernodes.max(1));
    u32::try_from(each).unwrap_or(UNHEARD_MAX).clamp(1, UNHEARD_MAX)
}
