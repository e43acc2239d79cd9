//! Arguments of `key`: who may use the deployment.

use clap::{Args, Subcommand};
use flotilla_api::keys::PrincipalName;

use super::ClientArgs;

/// Arguments of `key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// The commands of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a principal and print its key, for the only time
    Create(KeyNameArgs),
    /// List the principals
    List(KeyListArgs),
    /// End a principal: its key opens nothing any more
    Revoke(KeyNameArgs),
}

/// Arguments of `key create` and `key revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla key create backup > backup.key     the key is shown this once and kept nowhere
  flotilla key revoke backup                  refused everywhere within 5 seconds

Root credential only.")]
pub struct KeyNameArgs {
    /// The principal: 1 to 32 of a-z, 0-9 and -, beginning with a letter
    #[arg(value_name = "NAME")]
    pub name: PrincipalName,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `key list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla key list
  flotilla key list --json | jq -r .name

Root credential only.")]
pub struct KeyListArgs {
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}
