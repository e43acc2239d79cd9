//! What one cluster lets this supernode have in flight: its offers, how old they are, and what is used. Must not know
//! who waits.

use std::time::Duration;

use flotilla_api::{peer::Offer, queue::Lane};
use tokio::time::Instant;

/// An offer older than this says little: reports come twice a second. Nothing new is begun there, and what is known
/// gets less.
pub const FRESH_FOR: Duration = Duration::from_millis(2500);
/// Credits before the first offer: a quarter of what a cluster begins with, for there may be several supernodes.
pub const CREDITS_BEFORE_OFFERS: u32 = 8;
/// An offer this old is of a cluster that is lost: what it does not serve at once it does not serve.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// The most streams of one cluster that hold no credit: as many as there can be connections, which bound slow clients.
pub const STREAMS_MAX: u32 = 8192;
/// How long a small request takes where nobody has measured it, in microseconds: a write's two syncs on a disk that is
/// not new.
const TAKES_US: f64 = 20_000.0;

/// One cluster's credits here.
///
/// # Bounds
/// In flight is at most what [`Account::credits`] said at the last grant, and what was sent on without asking besides.
#[derive(Debug)]
pub struct Account {
    limit: Limit,
    /// Since when nothing was heard, for one that was never heard: since it is known.
    heard: Instant,
    in_flight: [u32; 2],
    /// Of them those that wait for the directory to claim their keys.
    claiming: u32,
    streams: u32,
    meter: Meter,
}

#[derive(Debug)]
enum Limit {
    /// The same for ever.
    Fixed(u32),
    /// The cluster's last offer.
    Offered(Option<Offer>),
    /// Nothing was heard of the cluster.
    Unheard,
}

/// What was under way since somebody last asked.
#[derive(Debug)]
struct Meter {
    begun: Instant,
    at: Instant,
    /// Credits in use, times the seconds that they were.
    used: f64,
    /// Of it what big requests used.
    used_big: f64,
    /// Whether somebody waits for a credit.
    waits: bool,
    /// How long somebody did.
    waited: Duration,
}

/// What was under way over a time.
///
/// # Units
/// As in `flotilla_api::peer::Felt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time, in milliseconds.
    pub window_ms: u32,
    /// Credits in use, as a mean, in thousandths.
    pub in_flight_milli: u32,
    /// Those of big requests.
    pub in_flight_big_milli: u32,
    /// For how long somebody waited for one, in milliseconds.
    pub saturated_ms: u32,
}

impl Account {
    /// Makes the account of a cluster that has offered nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self::of(Limit::Unheard, now)
    }

    /// Makes an account of so many credits, whatever anybody offers.
    #[must_use]
    pub fn fixed(credits: u32, now: Instant) -> Self {
        Self::of(Limit::Fixed(credits), now)
    }

    fn of(limit: Limit, now: Instant) -> Self {
        let meter = Meter { begun: now, at: now, used: 0.0, used_big: 0.0, waits: false, waited: Duration::ZERO };
        Self { limit, heard: now, in_flight: [0; 2], claiming: 0, streams: 0, meter }
    }

    /// Takes an offer, which replaces the last one. A new leader listens before it offers anything: what its predecessor
    /// offered stands.
    pub fn heard(&mut self, offer: Option<Offer>, now: Instant) {
        self.limit = Limit::Offered(offer.or(self.offer()));
        self.heard = now;
    }

    /// The last offer.
    #[must_use]
    pub fn offer(&self) -> Option<Offer> {
        match self.limit {
            Limit::Offered(offer) => offer,
            Limit::Fixed(_) | Limit::Unheard => None,
        }
    }

    /// How long ago the cluster was heard; none before it was.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        match self.limit {
            Limit::Offered(_) => Some(now.duration_since(self.heard)),
            Limit::Fixed(_) | Limit::Unheard => None,
        }
    }

    /// Whether the cluster was not heard for so long that there is no point in waiting for it.
    #[must_use]
    pub fn is_lost(&self, now: Instant) -> bool {
        !matches!(self.limit, Limit::Fixed(_)) && now.duration_since(self.heard) >= LOST_AFTER
    }

    /// Whether the cluster was heard lately.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.age(now).is_some_and(|age| age < FRESH_FOR)
    }

    /// The credits of now. Of a cluster that is not heard they fade, to what one has that never offered any: it may be
    /// well, and only its leader's way to here is not.
    #[must_use]
    pub fn credits(&self, now: Instant) -> u32 {
        let offered = match self.limit {
            Limit::Fixed(credits) => return credits,
            Limit::Unheard | Limit::Offered(None) => return CREDITS_BEFORE_OFFERS,
            Limit::Offered(Some(offer)) => offer.credits.max(1),
        };
        let halvings = match now.duration_since(self.heard).checked_sub(FRESH_FOR) {
            None => 0,
            Some(stale) => stale.as_secs().saturating_add(1).min(31),
        };
        (offered >> halvings).max(offered.min(CREDITS_BEFORE_OFFERS))
    }

    /// How many more requests of a lane may be sent now; big ones use at most half of the credits, and always may use
    /// one.
    #[must_use]
    pub fn free(&self, lane: Lane, now: Instant) -> u32 {
        let credits = self.credits(now);
        let left = credits.saturating_sub(self.in_flight());
        match lane {
            Lane::Small => left,
            Lane::Big => left.min((credits / 2).max(1).saturating_sub(self.in_flight[Lane::Big as usize])),
        }
    }

    /// How many more new keys may be claimed for it now: three of four credits at most. While the directory has no leader,
    /// those that wait for it must not keep away what needs none.
    #[must_use]
    pub fn free_for_claims(&self, now: Instant) -> u32 {
        let credits = self.credits(now);
        (credits - credits.div_ceil(4)).max(1).saturating_sub(self.claiming)
    }

    /// How many wait for the directory.
    #[cfg(test)]
    pub(super) fn claiming(&self) -> u32 {
        self.claiming
    }

    /// Counts a request that goes on to claim its key, until [`Account::claimed`].
    pub fn claims(&mut self) {
        self.claiming += 1;
    }

    /// The directory has answered.
    pub fn claimed(&mut self) {
        self.claiming -= 1;
    }

    /// Units that it may serve per second, before anybody has seen it.
    #[must_use]
    pub fn likely_rate(&self, now: Instant) -> f64 {
        let took_us = self.offer().and_then(took_us).unwrap_or(TAKES_US);
        f64::from(self.credits(now)) * 1e6 / took_us
    }

    /// Uses a credit, there or not: what was sent already can't wait.
    pub fn take(&mut self, lane: Lane, now: Instant) {
        self.note(now);
        self.in_flight[lane as usize] += 1;
    }

    /// Gives a credit back.
    pub fn give(&mut self, lane: Lane, now: Instant) {
        self.note(now);
        self.in_flight[lane as usize] -= 1;
    }

    /// Turns a credit into a stream that holds none; not if there are too many of them.
    pub fn rest(&mut self, lane: Lane, now: Instant) -> bool {
        if self.streams >= STREAMS_MAX {
            return false;
        }
        self.give(lane, now);
        self.streams += 1;
        true
    }

    /// Ends a stream.
    pub fn end_stream(&mut self) {
        self.streams -= 1;
    }

    /// Credits in use.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.iter().sum()
    }

    /// Credits in use for small requests.
    #[must_use]
    pub fn small_under_way(&self) -> u32 {
        self.in_flight[Lane::Small as usize]
    }

    /// Streams that hold no credit.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// Tells from now on whether somebody waits for a credit.
    pub fn set_waits(&mut self, waits: bool, now: Instant) {
        if self.meter.waits != waits {
            self.note(now);
            self.meter.waits = waits;
        }
    }

    /// What was under way since this was asked last.
    pub fn read(&mut self, now: Instant) -> Reading {
        self.note(now);
        let window = now.duration_since(self.meter.begun);
        let mean = |used: f64| if window.is_zero() { 0.0 } else { used / window.as_secs_f64() };
        let reading = Reading {
            window_ms: ms(window),
            in_flight_milli: milli(mean(self.meter.used)),
            in_flight_big_milli: milli(mean(self.meter.used_big)),
            saturated_ms: ms(self.meter.waited),
        };
        (self.meter.used, self.meter.used_big) = (0.0, 0.0);
        (self.meter.begun, self.meter.waited) = (now, Duration::ZERO);
        reading
    }

    /// Counts the time since the last change, before the next one.
    fn note(&mut self, now: Instant) {
        let span = now.duration_since(self.meter.at);
        self.meter.used += span.as_secs_f64() * f64::from(self.in_flight());
        self.meter.used_big += span.as_secs_f64() * f64::from(self.in_flight[Lane::Big as usize]);
        if self.meter.waits {
            self.meter.waited += span;
        }
        self.meter.at = now;
    }
}

/// How long a small request took last, in microseconds: the mean of reads and writes, as far as they were measured.
fn took_us(offer: Offer) -> Option<f64> {
    let alone_us = match (offer.read_us, offer.write_us) {
        (Some(read_us), Some(write_us)) => f64::from(read_us) / 2.0 + f64::from(write_us) / 2.0,
        (Some(us), None) | (None, Some(us)) => f64::from(us),
        (None, None) => return None,
    };
    Some((alone_us * f64::from(offer.strain_milli) / 1000.0).max(1.0))
}

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// In thousandths.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a mean of small numbers, none of them below 0
fn milli(mean: f64) -> u32 {
    (mean * 1000.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(credits: u32) -> Offer {
        Offer { credits, total: credits, read_us: None, write_us: Some(5000), strain_milli: 2000 }
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn offers_fade_to_what_is_there_without_any() {
        let start = Instant::now();
        let mut account = Account::new(start);
        assert_eq!((account.credits(start), account.is_fresh(start)), (CREDITS_BEFORE_OFFERS, false));
        account.heard(Some(offer(32)), start);
        for (ms, expect) in [(0, 32), (2499, 32), (2500, 16), (3499, 16), (3500, 8), (5500, 8), (99_000, 8)] {
            assert_eq!(account.credits(after(start, ms)), expect, "{ms} ms");
            assert_eq!(account.is_fresh(after(start, ms)), ms < 2500, "{ms} ms");
            assert_eq!(account.is_lost(after(start, ms)), ms >= 5000, "{ms} ms");
        }
        account.heard(Some(offer(3)), after(start, 9000));
        assert_eq!((account.credits(after(start, 9000)), account.credits(after(start, 99_000))), (3, 3));
        account.heard(Some(offer(0)), after(start, 9000));
        assert_eq!(account.credits(after(start, 9000)), 1);
    }

    #[test]
    fn a_leader_that_offers_nothing_yet_leaves_what_stood() {
        let start = Instant::now();
        let mut account = Account::new(start);
        account.heard(None, start);
        assert_eq!((account.offer(), account.credits(start)), (None, CREDITS_BEFORE_OFFERS));
        assert!(account.is_fresh(start), "it was heard");
        account.heard(Some(offer(20)), start);
        account.heard(None, after(start, 4000));
        assert_eq!((account.credits(after(start, 4000)), account.is_fresh(after(start, 6000))), (20, true));
    }

    #[test]
    fn claims_under_way_leave_a_quarter() {
        let now = Instant::now();
        for (credits, most) in [(1, 1), (2, 1), (3, 2), (8, 6)] {
            let mut account = Account::new(now);
            account.heard(Some(offer(credits)), now);
            (0..most).for_each(|_| account.claims());
            assert_eq!(account.free_for_claims(now), 0, "of {credits}");
            account.claimed();
            assert_eq!(account.free_for_claims(now), 1, "of {credits}");
        }
    }

    #[test]
    fn big_ones_use_at_most_half_and_always_may_use_one() {
        let now = Instant::now();
        for (credits, bigs) in [(1, 1), (2, 1), (3, 1), (8, 4)] {
            let mut account = Account::new(now);
            account.heard(Some(offer(credits)), now);
            let mut taken = 0;
            while account.free(Lane::Big, now) > 0 {
                account.take(Lane::Big, now);
                taken += 1;
            }
            assert_eq!((taken, account.free(Lane::Small, now)), (bigs, credits - bigs), "of {credits}");
        }
    }

    #[test]
    fn a_stream_gives_its_credit_back_unless_there_are_too_many() {
        let now = Instant::now();
        let mut account = Account::new(now);
        for _ in 0..STREAMS_MAX {
            account.take(Lane::Big, now);
            assert!(account.rest(Lane::Big, now));
        }
        account.take(Lane::Big, now);
        assert!(!account.rest(Lane::Big, now));
        assert_eq!((account.in_flight(), account.streams()), (1, STREAMS_MAX));
        account.end_stream();
        assert!(account.rest(Lane::Big, now));
        assert_eq!((account.in_flight(), account.streams()), (0, STREAMS_MAX));
    }

    #[test]
    fn a_reading_is_of_the_time_since_the_last_one() {
        let start = Instant::now();
        let mut account = Account::fixed(2, start);
        account.take(Lane::Small, start);
        account.take(Lane::Big, after(start, 400));
        account.set_waits(true, after(start, 700));
        let reading = account.read(after(start, 1000));
        let expect = Reading { window_ms: 1000, in_flight_milli: 1600, in_flight_big_milli: 600, saturated_ms: 300 };
        assert_eq!(reading, expect);
        account.give(Lane::Small, after(start, 1500));
        account.set_waits(false, after(start, 1500));
        let reading = account.read(after(start, 2000));
        let expect = Reading { window_ms: 1000, in_flight_milli: 1500, in_flight_big_milli: 1000, saturated_ms: 500 };
        assert_eq!(reading, expect);
        assert_eq!(account.read(after(start, 2000)).in_flight_milli, 0);
    }

    #[test]
    fn the_likely_rate_is_that_of_the_offer() {
        let now = Instant::now();
        let mut account = Account::new(now);
        assert!((account.likely_rate(now) - 400.0).abs() < 1e-6, "8 credits at 20 ms");
        account.heard(Some(offer(32)), now);
        assert!((account.likely_rate(now) - 3200.0).abs() < 1e-6, "32 at 10 ms");
        account.heard(Some(Offer { read_us: Some(1000), ..offer(6) }), now);
        assert!((account.likely_rate(now) - 1000.0).abs() < 1e-6, "6 at 6 ms");
        account.heard(Some(Offer { write_us: None, ..offer(6) }), now);
        assert!((account.likely_rate(now) - 300.0).abs() < 1e-6, "6 at 20 ms");
    }
}
