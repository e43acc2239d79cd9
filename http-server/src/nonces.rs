//! The memory of nonces that makes a replayed peer request fail; it must not know signatures or requests.

use std::{collections::HashMap, time::Duration};

use flotilla_api::peer::auth::{Signature, WINDOW_MS};
use tokio::time::Instant;

/// How far behind the highest counter a request may come in: requests overtake each other by thousands under load, not by more.
const SPAN: u64 = 65_536;

/// How many process starts are remembered per caller; a crash loop pushes out its own oldest ones and nobody else's.
const BOOTS_PER_CALLER_MAX: usize = 4;

/// How many callers are remembered (8 KiB per process start): nodes and supernodes of one fleet with room to spare.
pub(crate) const CALLERS_MAX: usize = 512;

/// When a silent caller may be forgotten: a signature made one window ahead of our clock stays valid for two.
const FORGET_AFTER: Duration = Duration::from_millis(2 * WINDOW_MS);

/// Why a nonce is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The nonce was used, or is too old to tell.
    Seen,
    /// There are [`CALLERS_MAX`] other callers, all heard of lately.
    Crowded,
}

/// A set of counters as a bitmap over the last [`SPAN`] of them.
#[derive(Debug)]
struct Window {
    bits: Box<[u64]>,
    highest: u64,
}

impl Window {
    fn new(counter: u64) -> Self {
        let mut window = Self { bits: vec![0; (SPAN / 64) as usize].into(), highest: counter };
        window.set(counter);
        window
    }

    fn slot(counter: u64) -> (usize, u64) {
        ((counter % SPAN / 64) as usize, 1 << (counter % 64))
    }

    fn set(&mut self, counter: u64) -> bool {
        let (word, bit) = Self::slot(counter);
        let fresh = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        fresh
    }

    /// Tells whether the counter is new, and remembers it.
    fn admit(&mut self, counter: u64) -> bool {
        if counter > self.highest {
            if counter - self.highest >= SPAN {
                self.bits.fill(0);
            } else {
                for passed in self.highest + 1..=counter {
                    let (word, bit) = Self::slot(passed);
                    self.bits[word] &= !bit;
                }
            }
            self.highest = counter;
        } else if self.highest - counter >= SPAN {
            return false;
        }
        self.set(counter)
    }
}

#[derive(Debug)]
struct Boot {
    number: u64,
    window: Window,
    latest_ms: u64,
    used: Instant,
}

/// One caller's process starts. An unknown one must sign with a later time than every one that was pushed out, so that nothing
/// of those can be replayed.
#[derive(Debug)]
struct CallerMemory {
    boots: Vec<Boot>,
    floor_ms: u64,
    used: Instant,
}

impl CallerMemory {
    fn admit(&mut self, signature: &Signature, now: Instant) -> bool {
        self.used = now;
        if let Some(boot) = self.boots.iter_mut().find(|boot| boot.number == signature.boot) {
            boot.latest_ms = boot.latest_ms.max(signature.time_ms);
            boot.used = now;
            return boot.window.admit(signature.counter);
        }
        if signature.time_ms <= self.floor_ms {
            return false;
        }
        if self.boots.len() >= BOOTS_PER_CALLER_MAX
            && let Some(oldest) = (0..self.boots.len()).min_by_key(|at| self.boots[*at].used)
        {
            self.floor_ms = self.floor_ms.max(self.boots.swap_remove(oldest).latest_ms);
        }
        let window = Window::new(signature.counter);
        self.boots.push(Boot { number: signature.boot, window, latest_ms: signature.time_ms, used: now });
        true
    }
}

/// What this process has heard from its peers.
///
/// # Bounds
/// [`CALLERS_MAX`] callers of [`BOOTS_PER_CALLER_MAX`] windows of 8 KiB; a full memory refuses new callers until one is old.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    callers: HashMap<String, CallerMemory>,
}

impl Nonces {
    /// Takes the nonce of a verified signature, once.
    pub(crate) fn admit(&mut self, signature: &Signature, now: Instant) -> Result<(), Refused> {
        if !self.callers.contains_key(&signature.caller) {
            if self.callers.len() >= CALLERS_MAX {
                self.callers.retain(|_, memory| now.saturating_duration_since(memory.used) <= FORGET_AFTER);
            }
            if self.callers.len() >= CALLERS_MAX {
                return Err(Refused::Crowded);
            }
        }
        let memory = self.callers.entry(signature.caller.clone()).or_insert_with(|| CallerMemory {
            boots: Vec::new(),
            floor_ms: 0,
            used: now,
        });
        if memory.admit(signature, now) { Ok(()) } else { Err(Refused::Seen) }
    }
}

#[cfg(test)]
mod tests;
