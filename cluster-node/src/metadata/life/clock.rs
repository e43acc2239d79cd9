//! The cluster clock: a counter that only the leader's ticks move. What expires does so on it, never on a wall clock.

use flotilla_raft_store::{Fault, Txn};

use super::{
    super::{
        keys,
        table::{get, put},
    },
    Answer, done,
};

/// How far one tick moves the clock at most. What is queued between two ticks carries the time of the earlier one, so it may wait
/// this much less than it seems; whoever computes what is due adds it.
pub const TICK_MAX_MS: u64 = 15_000;

/// Where the clock begins: behind 0, at which nothing waits.
pub const BEGIN_MS: u64 = 1;

/// Gives the cluster clock, in milliseconds.
pub fn now(state: &dyn Txn) -> Result<u64, Fault> {
    Ok(get(state, keys::SYSTEM, keys::CLOCK)?.unwrap_or(BEGIN_MS))
}

/// Moves the clock: by compare-and-set, so that a tick that arrives twice, or from a leader of the past, does not make it fast.
pub fn tick(state: &mut dyn Txn, from_ms: u64, to_ms: u64) -> Result<Answer, Fault> {
    if now(state)? != from_ms || to_ms <= from_ms || to_ms - from_ms > TICK_MAX_MS {
        return Ok(Answer::Passed);
    }
    put(state, keys::SYSTEM, keys::CLOCK.to_vec(), &to_ms);
    Ok(done(1, false))
}
