//! Arguments of `directory`: which cluster has which key, as a whole.

use clap::{Args, Subcommand};
use flotilla_api::ClusterName;

use super::ClientArgs;

/// Arguments of `directory`.
#[derive(Debug, Args)]
pub struct DirectoryArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DirectoryCommand,
}

/// The commands of `directory`.
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Make a directory that was lost anew from its clusters
    Rebuild(RebuildArgs),
    /// Hold the directory against the clusters' own records
    Verify(VerifyArgs),
    /// Write all that the directory knows, one JSON object per line, sorted
    Dump(DumpArgs),
}

/// Arguments of `directory rebuild`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla directory rebuild                  all supernodes' disks are lost, and new ones run
  flotilla directory rebuild --fence a        and cluster a is lost, too, for ever

It ends only if every cluster that is known took part or is given up, and if no key is at home twice. Until then new files,
and what is not known yet, answer 503; run it again after a failure. The lost disks must never be used again.
Root credential only.")]
pub struct RebuildArgs {
    /// Give this cluster up for ever; its files are gone, its keys free
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub fence: Vec<ClusterName>,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `directory verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla directory verify
  flotilla directory verify --json | jq -r 'select(.line == \"finding\") | .key'

One line per finding: TWICE, UNKNOWN, OTHER, LOST or MISSING, the key, the clusters. Exit code 8 if there is one.
Root credential only.")]
pub struct VerifyArgs {
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `directory dump`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla directory dump > before.ndjson
  flotilla directory dump | jq -r 'select(.line == \"home\" and .cluster == \"a\") | .key'

Homes in the order of their keys, then clusters and documents; never a key's hash. Root credential only.")]
pub struct DumpArgs {
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}
