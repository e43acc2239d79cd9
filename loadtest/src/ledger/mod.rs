//! The ledger: a workload that writes down what was acked, and the check that reads everything back.
//!
//! A key has one writer, so the order of its changes is known; [`history`] says which contents it may have at the end,
//! [`oracle`] compares that with what is read. Nothing here knows how a deployment stores files.

mod check;
mod file;
mod history;
mod line;
mod oracle;
mod run;
mod sdk;
mod store;
mod tally;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;

pub(crate) use check::check;
pub(crate) use run::run;
pub use store::StoreError;

/// The largest file that a ledger names; the check holds a few of them in memory.
const SIZE_MAX: u64 = 64 << 20;

/// Arguments of `flotilla loadtest ledger run`.
#[derive(Debug, Clone, clap::Args)]
pub struct LedgerArgs {
    /// The ledger; lines are appended
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// How many clients write at once, each to keys of its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: u32,
    /// How long to write
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Seed of the order of operations and of all content
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The bucket to write to
    #[arg(long, default_value = "demo")]
    pub bucket: String,
}

/// Arguments of `flotilla loadtest ledger check`.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// The ledger
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// The bucket that was written to
    #[arg(long, default_value = "demo")]
    pub bucket: String,
}
