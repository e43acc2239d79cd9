//! Arguments of `supernode`: every one of the server's is a setting of the same name.

use clap::{Args, Subcommand};
use flotilla_api::NodeId;

use super::{
    ClientArgs,
    server::{ServerArgs, given},
};

/// Arguments of `supernode`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla supernode --config supernode.toml

A flag comes before FLOTILLA_KEY in the environment, before the file, before the default.
Logs are JSON lines on stderr; FLOTILLA_LOG sets their level.")]
#[command(args_conflicts_with_subcommands = true)]
pub struct SupernodeArgs {
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<SupernodeCommand>,
    /// What a supernode takes.
    #[command(flatten)]
    pub supernode: SupernodeSettings,
}

/// What a supernode takes.
#[derive(Debug, Args)]
pub struct SupernodeSettings {
    /// What both servers take.
    #[command(flatten)]
    pub server: ServerArgs,
    /// File with the root key; the first of the initial members makes it
    #[arg(long, value_name = "FILE")]
    root_key_file: Option<String>,
    /// The key in that file replaces the group's, once
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    replace_root_key: Option<String>,
}

impl SupernodeSettings {
    /// Gives the flags that were given as keys and values.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let own = [("root_key_file", &self.root_key_file), ("replace_root_key", &self.replace_root_key)];
        given(self.server.pairs().into_iter().chain(own))
    }
}

/// What can be done with supernodes.
#[derive(Debug, Subcommand)]
pub enum SupernodeCommand {
    /// Show the members of the group
    List(SupernodeListArgs),
    /// Run a supernode that joins a running group
    Join(Box<SupernodeJoinArgs>),
    /// Have a supernode leave the group for ever
    Remove(SupernodeRemoveArgs),
}

/// Arguments of `supernode list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla supernode list
  flotilla supernode list --json | jq -r 'select(.role == \"leader\") | .public'")]
pub struct SupernodeListArgs {
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `supernode join`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla supernode join 10.0.0.9:7402 --config supernode.toml
  flotilla supernode join 10.0.0.9:7402 --data-dir /var/lib/flotilla --fleet-secret-file fleet.secret \\
    --name supernode-2 --public 10.0.0.10:7400 --peer 10.0.0.10:7402 --ops 10.0.0.10:7403

The fleet's secret is what admits it: copy the file of one that serves. With an empty data folder it asks the supernodes
at ADDRESS for a place, and copies the directory; then it serves as any other, until it is stopped. One becomes three when
two have joined and caught up. Start it again with the same command, or with 'flotilla supernode' and the setting 'join'.")]
pub struct SupernodeJoinArgs {
    /// Peer addresses of supernodes that serve, parted by commas
    #[arg(value_name = "ADDRESS,…")]
    pub members: String,
    /// What a supernode takes.
    #[command(flatten)]
    pub supernode: SupernodeSettings,
}

/// Arguments of `supernode remove`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla supernode remove 1                 it hands over what it leads, and ends with exit code 78
  flotilla supernode remove 1 --lost          its disk is gone

Its id is never used again. An empty folder joins as a new supernode. Root credential only.")]
pub struct SupernodeRemoveArgs {
    /// The supernode's id, as 'flotilla supernode list' shows it
    #[arg(value_name = "ID")]
    pub id: NodeId,
    /// It is gone for good
    #[arg(long)]
    pub lost: bool,
    /// Return at once; it is removed when 'flotilla supernode list' does not show it any more
    #[arg(long)]
    pub no_wait: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}
