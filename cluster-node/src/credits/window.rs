//! What was felt of a cluster for a while, and how such facts are added up.

use flotilla_api::peer::{Answered, Felt};

use super::float;

/// The share of failed requests above which a cluster counts as failing; a few fail whenever a node dies or a leader
/// changes.
const FAILED_SHARE: f64 = 0.05;
/// Failed ones that say nothing: beside long uploads few answers come, and one of a single client is a large share.
const FAILED_FEW: f64 = 1.0;

/// Puts together what was felt in the time of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// How long it is, in milliseconds.
    pub span_ms: u64,
    /// How many supernodes told something; where none did there is nothing to learn.
    pub supernodes: u32,
    /// Small requests that were answered: reads, writes. They are judged apart, since a write takes ten times as long
    /// as a read and the mix changes.
    pub small: [Answered; 2],
    /// Requests that were answered as well, and whose time says nothing.
    pub others: u32,
    /// Requests that the cluster failed.
    pub failed: u32,
    /// Requests of the supernodes that were under way, in thousandths: the mean over the window.
    pub in_flight_milli: u64,
    /// Big ones of them.
    pub in_flight_big_milli: u64,
    /// Requests that clients brought to the nodes themselves and that are under way.
    pub direct: u32,
    /// For how much of the window somebody waited for a credit, in milliseconds.
    pub saturated_ms: u64,
    /// Bytes of bodies that moved.
    pub bytes: u64,
}

impl Window {
    /// Takes what one supernode felt.
    #[must_use]
    pub fn of(felt: &Felt) -> Self {
        Self {
            span_ms: felt.window_ms.into(),
            supernodes: 1,
            small: [felt.reads, felt.writes],
            others: felt.others,
            failed: felt.failed,
            in_flight_milli: felt.in_flight_milli.into(),
            in_flight_big_milli: felt.in_flight_big_milli.into(),
            direct: 0,
            saturated_ms: felt.saturated_ms.into(),
            bytes: felt.bytes,
        }
    }

    /// Puts together the windows of all supernodes, one of each, and what the nodes told of their own clients.
    #[must_use]
    pub fn gather(windows: impl IntoIterator<Item = Self>, direct: u32) -> Self {
        let together = |a: Self, b: Self| Self {
            span_ms: a.span_ms.max(b.span_ms),
            supernodes: a.supernodes + b.supernodes,
            small: plus(a.small, b.small),
            others: a.others.saturating_add(b.others),
            failed: a.failed.saturating_add(b.failed),
            in_flight_milli: a.in_flight_milli + b.in_flight_milli,
            in_flight_big_milli: a.in_flight_big_milli + b.in_flight_big_milli,
            direct,
            // Where one of them has too few, the split mends it; that more is wanted is true all the same.
            saturated_ms: a.saturated_ms.max(b.saturated_ms),
            bytes: a.bytes.saturating_add(b.bytes),
        };
        windows.into_iter().fold(Self { direct, ..Self::default() }, together)
    }

    /// Puts the window that came after this one behind it.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let span_ms = self.span_ms + later.span_ms;
        let mean = |a: u64, b: u64| (a * self.span_ms + b * later.span_ms) / span_ms.max(1);
        Self {
            span_ms,
            supernodes: later.supernodes,
            small: plus(self.small, later.small),
            others: self.others.saturating_add(later.others),
            failed: self.failed.saturating_add(later.failed),
            in_flight_milli: mean(self.in_flight_milli, later.in_flight_milli),
            in_flight_big_milli: mean(self.in_flight_big_milli, later.in_flight_big_milli),
            direct: later.direct,
            saturated_ms: self.saturated_ms + later.saturated_ms,
            bytes: self.bytes.saturating_add(later.bytes),
        }
    }

    /// Tells whether somebody waited for most of the time.
    pub(super) fn saturated(&self) -> bool {
        2 * self.saturated_ms > self.span_ms
    }

    /// Gives how many requests of the supernodes were under way.
    pub(super) fn held(&self) -> f64 {
        float(self.in_flight_milli) / 1000.0
    }

    /// Gives how many big ones of them.
    pub(super) fn held_big(&self) -> f64 {
        float(self.in_flight_big_milli) / 1000.0
    }

    /// Gives how many of them were at the nodes: of the small ones by the time that the answered ones took there, since what is held has
    /// the supernodes' own delay in it, which says nothing of the cluster. Those that hang are not in it until they are answered.
    pub(super) fn at_nodes(&self) -> f64 {
        let us: f64 = self.small.iter().map(|answered| float(answered.us)).sum();
        let small = us / float(self.span_ms.max(1)) / 1000.0;
        self.held_big() + small.min(self.held() - self.held_big())
    }

    /// Gives how many small ones were answered.
    pub(super) fn done(&self) -> u32 {
        self.small[0].count.saturating_add(self.small[1].count)
    }

    /// Gives how many reads and writes were answered per second.
    pub(super) fn rates(&self) -> [f64; 2] {
        self.small.map(|answered| f64::from(answered.count) * 1000.0 / float(self.span_ms.max(1)))
    }

    /// Tells whether the cluster failed more than it may.
    pub(super) fn failing(&self) -> bool {
        f64::from(self.failed) > FAILED_FEW + FAILED_SHARE * f64::from(self.answered())
    }

    /// Tells whether something came back, or big ones got on. Bytes of small ones may have gone where nothing is answered.
    pub(super) fn moves(&self) -> bool {
        self.answered() > 0 || (self.bytes > 0 && self.in_flight_big_milli > 0)
    }

    fn answered(&self) -> u32 {
        self.done().saturating_add(self.others)
    }
}

fn plus(a: [Answered; 2], b: [Answered; 2]) -> [Answered; 2] {
    let sum = |k: usize| Answered { count: a[k].count.saturating_add(b[k].count), us: a[k].us.saturating_add(b[k].us) };
    [sum(0), sum(1)]
}
