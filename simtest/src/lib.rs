//! Seeded simulations of one cluster: real nodes on fakes of clock, disk, database, network and host, all in one thread.
//!
//! The same seed gives the same run. A run is a process of its own (`simtest SEED`): some of what has to repeat itself is kept
//! per process by libraries. It knows nodes by what they serve and by what their disks hold, never by their insides.

pub mod clients;
pub mod clock;
pub mod directory;
pub mod disk;
pub mod host;
pub mod image;
pub mod invariants;
pub mod kv;
pub mod net;
pub mod operator;
pub mod plan;
pub mod power;
pub mod roster;
pub mod run;
pub mod settle;
pub mod trace;
pub mod world;

/// Locks a mutex: one thread runs everything, and what panics ends the run.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
