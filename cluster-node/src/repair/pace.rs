//! How fast a node copies: a bound on bytes per second that yields to clients and never to zero.
//!
//! Must not know what is copied. It learns what clients feel from samples: how long a piece was read or a chunk was synced.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flotilla_env::Clock;
use tokio::time::Instant;

/// The least share of the bound that is always used.
const FLOOR_SHARE: f64 = 1.0 / 32.0;
/// How often the pace is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Samples that a look needs to say something; fewer are kept for the next one.
const SAMPLES_MIN: usize = 32;
/// Samples per look at the most; what comes beyond changes nothing.
const SAMPLES_MAX: usize = 4096;
/// How much longer clients may wait than they do without copies before the pace is halved. Two times longer is what is promised.
const SLOWER_MAX: f64 = 1.5;
/// What is too short to matter: below this a disk or a processor is only a little busier.
const NOISE_US: f64 = 1000.0;
/// How much a look without copies weighs in what is normal.
const SMOOTHING: f64 = 0.2;
/// How fast what is normal rises while copies are made, per look: a machine that has become slower is believed after minutes.
const FADE: f64 = 1.005;
/// What may be taken at once after a rest.
const BURST: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct State {
    /// Bytes per second now.
    rate: f64,
    /// Bytes that may be taken; negative while somebody waits for what was taken ahead.
    tokens: f64,
    filled: Instant,
    looked: Instant,
    /// Bytes that were taken since the last look.
    copied: u64,
    kinds: [Kind; 2],
}

/// What clients wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A piece that is read.
    Read,
    /// A chunk that is synced.
    Sync,
}

#[derive(Debug, Default)]
struct Kind {
    samples_us: Vec<u32>,
    /// How long clients wait while nothing is copied, in microseconds.
    calm_us: Option<f64>,
}

/// A node's pace. Clones share it.
#[derive(Debug, Clone)]
pub struct Pace {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    bound: f64,
}

impl Pace {
    /// Makes a pace of at most so many bytes per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a rate needs no more digits than a float has
    pub fn new(bytes_per_second: u64, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let bound = bytes_per_second as f64;
        let state = State { rate: bound, tokens: 0.0, filled: now, looked: now, copied: 0, kinds: Default::default() };
        Self { state: Arc::new(Mutex::new(state)), clock, bound }
    }

    /// Notes how long a client's work on this node's disk took.
    pub fn client_waited(&self, for_what: Wait, time: Duration) {
        let mut state = self.lock();
        self.look(&mut state, self.clock.now());
        let samples_us = &mut state.kinds[for_what as usize].samples_us;
        if samples_us.len() < SAMPLES_MAX {
            samples_us.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// Waits until so many bytes may be copied.
    ///
    /// # Cancel safety
    /// A dropped future has taken its share: others go on a little later.
    #[allow(clippy::cast_precision_loss)] // as `new`
    pub async fn take(&self, bytes: u64) {
        let wait = {
            let mut state = self.lock();
            let now = self.clock.now();
            self.look(&mut state, now);
            let gained = now.duration_since(state.filled).as_secs_f64() * state.rate;
            state.tokens = (state.tokens + gained).min(state.rate * BURST.as_secs_f64());
            state.filled = now;
            state.tokens -= bytes as f64;
            state.copied += bytes;
            Duration::from_secs_f64((-state.tokens / state.rate).max(0.0))
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Gives the bytes per second of now.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most the bound, at least its floor
    pub fn rate(&self) -> u64 {
        self.lock().rate as u64
    }

    /// Halves the pace where clients wait longer than without copies, else raises it by a sixteenth of the bound.
    fn look(&self, state: &mut State, now: Instant) {
        let since = now.duration_since(state.looked);
        if since < EVERY {
            return;
        }
        state.looked = now;
        let (mut slower, copied) = (false, std::mem::take(&mut state.copied) > 0);
        for kind in &mut state.kinds {
            slower |= kind.is_slower(copied);
        }
        let floor = self.bound * FLOOR_SHARE;
        state.rate =
            if slower { (state.rate / 2.0).max(floor) } else { (state.rate + self.bound / 16.0).min(self.bound) };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    /// Compares what clients waited since the last look with what is normal, which is learnt while nothing is copied.
    fn is_slower(&mut self, copied: bool) -> bool {
        if self.samples_us.len() < SAMPLES_MIN {
            return false;
        }
        self.samples_us.sort_unstable();
        let high = f64::from(self.samples_us[self.samples_us.len() * 9 / 10]);
        self.samples_us.clear();
        let calm = match self.calm_us {
            None => high,
            Some(calm) if copied => (calm * FADE).min(calm.max(high)),
            Some(calm) => calm + SMOOTHING * (high - calm),
        };
        self.calm_us = Some(calm);
        copied && high > calm * SLOWER_MAX && high > calm + NOISE_US
    }
}

#[cfg(test)]
mod tests {
    use flotilla_env::clock;

    use super::*;

    const BOUND: u64 = 32 << 20;

    /// Lets clients wait for so long, as often as matters.
    fn clients_wait(pace: &Pace, us: u64) {
        (0..SAMPLES_MIN).for_each(|_| pace.client_waited(Wait::Read, Duration::from_micros(us)));
    }

    /// Copies for so long while clients wait as told; gives the bytes per second.
    async fn copied(pace: &Pace, seconds: u64, waited_us: impl Fn(u64) -> Option<u64>) -> u64 {
        let begun = Instant::now();
        let mut bytes = 0;
        while begun.elapsed() < Duration::from_secs(seconds) {
            if let Some(us) = waited_us(pace.rate()) {
                clients_wait(pace, us);
            }
            pace.take(1 << 20).await;
            bytes += 1 << 20;
        }
        bytes / seconds
    }

    /// Nothing is copied for some seconds, and clients wait for as long as is normal.
    async fn calm(pace: &Pace, us: u64) {
        for _ in 0..20 {
            tokio::time::sleep(EVERY).await;
            clients_wait(pace, us);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_is_kept_and_used_while_clients_do_not_suffer() {
        let pace = Pace::new(BOUND, clock::system());
        for waited_us in [None, Some(1000)] {
            let rate = copied(&pace, 10, |_| waited_us).await;
            assert!((BOUND * 8 / 10..=BOUND * 11 / 10).contains(&rate), "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_wait_longer_are_yielded_to_and_never_to_zero() {
        let pace = Pace::new(BOUND, clock::system());
        calm(&pace, 1000).await;
        // Clients wait the longer the faster copies are made.
        let yielding = copied(&pace, 30, |rate| Some(1000 + 4000 * rate / BOUND)).await;
        assert!((BOUND / 32..BOUND / 2).contains(&yielding), "{yielding}");
        // It is not the copies that they wait for: the floor holds.
        let floor = copied(&pace, 30, |_| Some(50_000)).await;
        assert!((BOUND / 40..BOUND / 8).contains(&floor), "{floor}");
        // And if it stays so without copies, it is normal.
        calm(&pace, 50_000).await;
        let again = copied(&pace, 20, |_| Some(50_000)).await;
        assert!(again > BOUND / 2, "{again}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_slow_requests_say_nothing() {
        let pace = Pace::new(BOUND, clock::system());
        calm(&pace, 1000).await;
        let mut n = 0;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            n += 1;
            pace.client_waited(Wait::Read, Duration::from_micros(if n % 20 == 0 { 90_000 } else { 1000 }));
            pace.take(1 << 20).await;
        }
        assert!(n > 10 * (BOUND >> 20) * 8 / 10, "{n} MiB in 10 s");
    }
}
