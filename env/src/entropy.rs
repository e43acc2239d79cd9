//! Randomness: the operating system's, or a seeded sequence in tests.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// A source of random bits.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);

    /// Gives 64 random bits.
    fn u64(&self) -> u64 {
        let mut out = [0; 8];
        self.fill(&mut out);
        u64::from_le_bytes(out)
    }

    /// Gives 128 random bits.
    fn u128(&self) -> u128 {
        let mut out = [0; 16];
        self.fill(&mut out);
        u128::from_le_bytes(out)
    }
}

/// A generator seeded from the operating system, or from a number in tests.
#[derive(Debug)]
pub struct Generator(Mutex<StdRng>);

impl Entropy for Generator {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(out);
    }
}

/// Gives a generator seeded by the operating system.
#[must_use]
pub fn system() -> Arc<dyn Entropy> {
    Arc::new(Generator(Mutex::new(rand::make_rng())))
}

/// Gives a generator that repeats itself for the same seed.
#[must_use]
pub fn seeded(seed: u64) -> Arc<dyn Entropy> {
    Arc::new(Generator(Mutex::new(StdRng::seed_from_u64(seed))))
}
