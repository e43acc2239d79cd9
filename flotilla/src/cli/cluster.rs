//! Arguments of `cluster`: which clusters there are, and how one goes.

use clap::{Args, Subcommand};
use flotilla_api::ClusterName;

use super::ClientArgs;

/// Arguments of `cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// The commands of `cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the clusters, and how many homes are left in those that retire
    List(ClusterListArgs),
    /// Give a cluster no new files, and wait until it has none left
    Retire(RetireArgs),
    /// End a cluster that has no file left
    Forget(ForgetArgs),
}

/// Arguments of `cluster list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla cluster list
  flotilla cluster list --json | jq -r 'select(.safe_to_forget) | .cluster'

Root credential only.")]
pub struct ClusterListArgs {
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `cluster retire`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla cluster retire a                   wait until it is safe to forget
  flotilla cluster retire a --undo            it gets new files again

It keeps the files that it has and serves them: copy and delete them, or let them go. What is left is counted by the
supernodes, and can't become more. Root credential only.")]
pub struct RetireArgs {
    /// The cluster
    #[arg(value_name = "NAME")]
    pub name: ClusterName,
    /// Let it get new files again
    #[arg(long)]
    pub undo: bool,
    /// Return at once; 'flotilla cluster list' shows how far it is
    #[arg(long)]
    pub no_wait: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `cluster forget`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla cluster retire a && flotilla cluster forget a
  flotilla cluster forget a --fence           it is lost for ever, with whatever it had

Its reports are refused from then on, and its name is free. It can't be taken back. Root credential only.")]
pub struct ForgetArgs {
    /// The cluster
    #[arg(value_name = "NAME")]
    pub name: ClusterName,
    /// It is gone for good: let go of all its keys, so that they can be created anew elsewhere
    #[arg(long)]
    pub fence: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}
