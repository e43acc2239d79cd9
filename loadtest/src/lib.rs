//! Workloads, their oracle and their reports: what `flotilla loadtest` runs against any deployment.
//!
//! The crate knows the public address of a deployment and, for processor and memory figures, the process ids that a dev
//! deployment wrote down. It must not know how servers work inside.

mod command;
mod content;
mod dev;
mod error;
mod ledger;
mod load;
mod pool;
mod procfs;
mod revision;
mod seed_tables;
#[cfg(test)]
mod testing;
mod wire;

pub use command::{Command, CompareArgs, LedgerCommand, RunArgs, Target, run};
pub use error::Error;
pub use ledger::{CheckArgs, LedgerArgs};
