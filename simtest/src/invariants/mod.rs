//! What must hold in every run, one file per invariant of DESIGN.md section 11 that one cluster can break.

pub mod acked_is_durable;
pub mod applied_alike;
pub mod bounded;
pub mod failed_sync;
pub mod healed;
pub mod index_rebuilt;
pub mod linearizable;
pub mod membership;
pub mod memory_returned;
pub mod not_done;
pub mod one_home;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::lock;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant, as its file is called.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// The violations of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Violations(Arc<Mutex<Vec<Violation>>>);

/// More are not kept: the first one is what counts.
const KEPT_MAX: usize = 100;

impl Violations {
    /// Notes one.
    pub fn add(&self, invariant: &'static str, what: impl fmt::Display) {
        let mut all = lock(&self.0);
        if all.len() < KEPT_MAX {
            all.push(Violation { invariant, what: what.to_string() });
        }
    }

    /// Gives all of them.
    #[must_use]
    pub fn all(&self) -> Vec<Violation> {
        lock(&self.0).clone()
    }
}
