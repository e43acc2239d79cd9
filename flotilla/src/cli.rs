//! The command line as clap sees it: names, arguments, help and examples. Does nothing.

use clap::{Parser, Subcommand};

mod bucket;
mod client;
mod cluster;
mod dev;
mod directory;
mod key;
mod place;
mod queue;
mod server;
mod supernode;
#[cfg(test)]
mod tests;
mod tools;

pub use bucket::{BucketArgs, BucketCommand, BucketCreateArgs};
pub use client::{
    ClientArgs, ConnectionArgs, CopyArgs, FsckArgs, GetArgs, LoadtestArgs, LsArgs, PutArgs, RmArgs, StatArgs,
    StatusArgs, TasksArgs, TransfersArgs,
};
pub use cluster::{ClusterArgs, ClusterCommand, ClusterListArgs, ForgetArgs, RetireArgs};
pub use dev::{DevArgs, DevCommand, DevStatusArgs, DirArgs, DownArgs, UpArgs};
pub use directory::{DirectoryArgs, DirectoryCommand, DumpArgs, RebuildArgs, VerifyArgs};
pub use key::{KeyArgs, KeyCommand, KeyListArgs, KeyNameArgs};
pub use place::Place;
pub use queue::{ExplainArgs, QueueArgs};
pub use server::{DrainArgs, NodeArgs, NodeCommand, NodeListArgs, NodeSettings, RemoveArgs, ServerArgs, StopArgs};
pub use supernode::{SupernodeArgs, SupernodeCommand, SupernodeListArgs, SupernodeRemoveArgs, SupernodeSettings};
#[cfg(feature = "failpoints")]
pub use tools::FailpointsArgs;
pub use tools::{
    Asked, CompletionsArgs, ConfigArgs, ConfigCommand, ConfigShowArgs, DoctorArgs, FleetSecretArgs, HealthcheckArgs,
    ManArgs, Whose,
};

const EXAMPLES: &str = "\
Examples:
  flotilla dev up                        a deployment on this machine
  flotilla put report.pdf demo/2026/report.pdf
  flotilla get demo/2026/report.pdf -    to stdout
  flotilla ls -r demo/2026/

Exit codes: 0 ok, 1 other, 2 usage, 3 not found, 4 precondition or conflict, 5 denied, 6 unavailable (try again),
7 outcome not known, 8 verification failed, 9 partly done, 130 interrupted; servers: 74 disk failed, 78 identity or
configuration.";

/// Stores files across clusters of machines: servers, a development deployment, and the client commands.
#[derive(Debug, Parser)]
#[command(name = "flotilla", version, max_term_width = 120, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Store a file, a tree of files, or stdin
    Put(PutArgs),
    /// Fetch a file or a tree of files, verified
    Get(GetArgs),
    /// List files
    Ls(LsArgs),
    /// Copy a file or a tree of files within the deployment
    Cp(CopyArgs),
    /// Move a file or a tree of files within the deployment
    Mv(CopyArgs),
    /// Delete a file or a tree of files
    Rm(RmArgs),
    /// Show what is known of a file
    Stat(StatArgs),
    /// Show the clusters and their nodes
    Status(StatusArgs),
    /// Show what waits at a supernode
    Queue(QueueArgs),
    /// Tell what became of a request, and why
    Explain(ExplainArgs),
    /// Compare metadata with the disks of all nodes
    Fsck(FsckArgs),
    /// Show what repair has planned
    Tasks(TasksArgs),
    /// Show copies on their way between nodes
    Transfers(TransfersArgs),
    /// Make buckets
    Bucket(BucketArgs),
    /// Make, list and revoke keys of principals
    Key(KeyArgs),
    /// Show clusters, and let one retire
    Cluster(ClusterArgs),
    /// Rebuild, verify and dump the directory of homes
    Directory(DirectoryArgs),
    /// Run a deployment of real processes on this machine
    Dev(DevArgs),
    /// Measure a deployment, or write and check a ledger of acked writes
    Loadtest(LoadtestArgs),
    /// Check what commands and servers need here, and say what to do about it
    Doctor(DoctorArgs),
    /// Make the secret that all processes of a fleet share
    FleetSecret(FleetSecretArgs),
    /// Ask a server on this machine whether it lives, or is ready
    Healthcheck(HealthcheckArgs),
    /// Show settings and where they came from
    Config(ConfigArgs),
    /// Print a script that completes the command line: bash, zsh, fish
    Completions(CompletionsArgs),
    /// Print or install manual pages
    Man(ManArgs),
    /// List the places at which tests make a server of this build fail
    #[cfg(feature = "failpoints")]
    Failpoints(FailpointsArgs),
    /// Run a node of a cluster
    Node(NodeArgs),
    /// Run a supernode
    Supernode(SupernodeArgs),
}
