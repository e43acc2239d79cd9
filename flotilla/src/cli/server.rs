//! Arguments of the servers; every one of them is a setting of the same name.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use flotilla_api::{ClusterName, NodeId};

use super::ClientArgs;

/// What both servers take.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any setting; the last one of a key wins
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The process's name in logs and on /healthz
    #[arg(long)]
    name: Option<String>,
    /// Folder for everything that is stored
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address for clients
    #[arg(long, value_name = "IP:PORT")]
    public: Option<String>,
    /// Address for other Flotilla processes
    #[arg(long, value_name = "IP:PORT")]
    peer: Option<String>,
    /// Address for health and metrics
    #[arg(long, value_name = "IP:PORT")]
    ops: Option<String>,
    /// Peer addresses of those that form the group, parted by commas; the first one forms it
    #[arg(long, value_name = "HOST:PORT,…")]
    initial_members: Option<String>,
    /// File with the fleet's secret
    #[arg(long, value_name = "FILE")]
    fleet_secret_file: Option<String>,
}

impl ServerArgs {
    /// Gives the flags that were given as keys and values.
    pub(super) fn pairs(&self) -> Vec<(&'static str, &Option<String>)> {
        vec![
            ("name", &self.name),
            ("data_dir", &self.data_dir),
            ("public", &self.public),
            ("peer", &self.peer),
            ("ops", &self.ops),
            ("initial_members", &self.initial_members),
            ("fleet_secret_file", &self.fleet_secret_file),
        ]
    }
}

/// Arguments of `node`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla node --config node.toml
  FLOTILLA_ZONE=rack-7 flotilla node --config node.toml --set cache_bytes=256MiB

A flag comes before FLOTILLA_KEY in the environment, before the file, before the default.
Logs are JSON lines on stderr; FLOTILLA_LOG sets their level.")]
#[command(args_conflicts_with_subcommands = true)]
pub struct NodeArgs {
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
    /// What a node takes.
    #[command(flatten)]
    pub node: NodeSettings,
}

/// What a node takes.
#[derive(Debug, Args)]
pub struct NodeSettings {
    /// What both servers take.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The cluster that the node belongs to
    #[arg(long)]
    cluster: Option<String>,
    /// Peer addresses of the supernodes, parted by commas
    #[arg(long, value_name = "HOST:PORT,…")]
    supernodes: Option<String>,
    /// The node's zone
    #[arg(long)]
    zone: Option<String>,
}

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Show the members of clusters
    List(NodeListArgs),
    /// Move all data off a node, until nothing is lost when it ends for ever
    Drain(DrainArgs),
    /// Run a node that joins a running cluster
    Join(Box<JoinArgs>),
    /// Have a node leave its cluster for ever
    Remove(RemoveArgs),
    /// Have a node hand over and end
    Stop(StopArgs),
    /// Trust a disk again after a node ended with exit code 74: removes the mark that keeps it from starting
    AcceptDisk {
        /// The node's data folder
        #[arg(value_name = "DATA_DIR")]
        data_dir: PathBuf,
    },
}

impl NodeSettings {
    /// Gives the flags that were given as keys and values.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let own = [("cluster", &self.cluster), ("supernodes", &self.supernodes), ("zone", &self.zone)];
        given(self.server.pairs().into_iter().chain(own))
    }
}

/// Arguments of `node list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla node list
  flotilla node list --json | jq -r 'select(.standing == \"silent\") | .name'")]
pub struct NodeListArgs {
    /// Only these clusters; all by default
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<ClusterName>,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `node drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla node drain 3                       wait until it is safe to stop
  flotilla node drain 3 --undo                it takes data again

What is safe is counted: no chunk names the node, and no chunk lies on its disk. The node serves on until it is stopped.")]
pub struct DrainArgs {
    /// The node's id, as 'flotilla node list' shows it
    #[arg(value_name = "ID")]
    pub node: NodeId,
    /// Its cluster; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
    /// Let it take data again
    #[arg(long)]
    pub undo: bool,
    /// Return at once; 'flotilla node list' shows how far it is
    #[arg(long)]
    pub no_wait: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `node join`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla node join 10.0.0.1:7402,10.0.0.2:7402 --config node.toml
  flotilla node join 10.0.0.1:7402 --cluster a --data-dir /var/lib/flotilla --fleet-secret-file fleet.secret \\
    --public 10.0.0.4:7401 --peer 10.0.0.4:7402 --ops 10.0.0.4:7403 --supernodes 10.0.0.9:7402

The fleet's secret is what admits it: copy the file of a node that serves. With an empty data folder it asks the nodes at
ADDRESS for a place, and copies their metadata; then it serves as any other, until it is stopped. Start it again with the
same command, or with 'flotilla node' and the setting 'join' in its place.")]
pub struct JoinArgs {
    /// Peer addresses of nodes that serve, parted by commas
    #[arg(value_name = "ADDRESS,…")]
    pub members: String,
    /// What a node takes.
    #[command(flatten)]
    pub node: NodeSettings,
}

/// Arguments of `node remove`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla node drain 3 && flotilla node remove 3     without a copy too few at any time
  flotilla node remove 3 --lost                       its disk is gone; what it had is copied from others

Its id is never used again; its process ends with exit code 78. An empty folder joins as a new node.")]
pub struct RemoveArgs {
    /// The node's id, as 'flotilla node list' shows it
    #[arg(value_name = "ID")]
    pub node: NodeId,
    /// Its cluster; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
    /// It is gone for good, with whatever it had
    #[arg(long)]
    pub lost: bool,
    /// Return at once; it is removed when 'flotilla node list' does not show it any more
    #[arg(long)]
    pub no_wait: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `node stop`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla node stop 3
  flotilla node stop --here                   in a container's hook: the node that FLOTILLA_KEY in the environment describes
  flotilla node stop --here --config /etc/flotilla/node.toml
                                              the node of this machine that was started with that file

With --here, --config names the node's settings file, not the client's; settings that the node was given as flags are given
as FLOTILLA_KEY in the environment.

It gives the leadership away, takes no new requests, ends what it has begun and exits with 0, as after SIGTERM.")]
pub struct StopArgs {
    /// The node's id, as 'flotilla node list' shows it
    #[arg(value_name = "ID", required_unless_present = "here")]
    pub node: Option<NodeId>,
    /// Its cluster; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
    /// The node that runs here with the settings of this environment and of the file that --config names; needs the fleet's
    /// secret in place of a token
    #[arg(long, conflicts_with_all = ["node", "cluster", "api", "token_file", "dir"])]
    pub here: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Gives those that were given, as keys and values.
pub(super) fn given<'a>(pairs: impl Iterator<Item = (&'static str, &'a Option<String>)>) -> Vec<(String, String)> {
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
}
