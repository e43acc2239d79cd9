//! Arguments of `bucket`.

use clap::{Args, Subcommand};
use flotilla_api::BucketName;

use super::ClientArgs;

/// Arguments of `bucket`.
#[derive(Debug, Args)]
pub struct BucketArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: BucketCommand,
}

/// The commands of `bucket`.
#[derive(Debug, Subcommand)]
pub enum BucketCommand {
    /// Make a bucket; one that is there stays as it is
    Create(BucketCreateArgs),
}

/// Arguments of `bucket create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla bucket create photos

Root credential only.")]
pub struct BucketCreateArgs {
    /// The bucket
    #[arg(value_name = "BUCKET")]
    pub bucket: BucketName,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}
