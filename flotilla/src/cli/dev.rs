//! Arguments of `dev`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Clusters are named by one letter each.
const CLUSTERS_MAX: i64 = 26;

/// Arguments of `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// What to do with the deployment.
    #[command(subcommand)]
    pub command: DevCommand,
}

/// What can be done with a dev deployment.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Start it, new or where it was left
    Up(Box<UpArgs>),
    /// Show its processes
    Status(DevStatusArgs),
    /// End all its processes; its data stays
    Down(DownArgs),
}

/// Which dev deployment.
#[derive(Debug, Clone, Default, Args)]
pub struct DirArgs {
    /// Folder of the deployment; else FLOTILLA_DEV_DIR or ./.flotilla-dev
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Arguments of `dev up`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla dev up
  flotilla dev up --dir dev --clusters 1 --port-base 9400 --detach
  flotilla dev up --set chunk_size=1MiB --set a-n1.zone=left --set a-n2.zone=right

Ports, from --port-base B with S supernodes and N nodes in each cluster:
  supernode i   public B+i-1   peer B+2+i    operations B+5+i
  node n of cluster c (a is 0), whose block begins at B+10 + c * (3N+1 rounded up to tens):
                public +n      peer +N+n     operations +2N+n
Secrets, logs and data lie in DIR; a later start in the same DIR has the same ports, ids and files.")]
pub struct UpArgs {
    /// Which deployment.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Number of clusters [default: as before, or 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=CLUSTERS_MAX))]
    pub clusters: Option<u16>,
    /// Nodes of each cluster, 1, 3 or 5 [default: as before, or 3]
    #[arg(long, value_name = "N", value_parser = nodes)]
    pub nodes: Option<u16>,
    /// Number of supernodes, 1 or 3 [default: as before, or 1]
    #[arg(long, value_name = "N", value_parser = supernodes)]
    pub supernodes: Option<u16>,
    /// First port [default: as before, or 7400]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65500))]
    pub port_base: Option<u16>,
    /// Return when all is ready and leave the processes running
    #[arg(long, conflicts_with = "live")]
    pub detach: bool,
    /// Show who leads and what is up until the end
    #[arg(long)]
    pub live: bool,
    /// Setting of all processes that know it; PROCESS.KEY=VALUE or CLUSTER.KEY=VALUE for some only
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `dev status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla dev status
  flotilla dev status --json | jq '.processes[] | {name, pid, ready}'")]
pub struct DevStatusArgs {
    /// Which deployment.
    #[command(flatten)]
    pub dir: DirArgs,
    /// One JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dev down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Which deployment.
    #[command(flatten)]
    pub dir: DirArgs,
}

/// An even group would bear no more losses than a smaller one.
fn supernodes(text: &str) -> Result<u16, String> {
    one_of(text, &[1, 3]).ok_or_else(|| "a group has 1 or 3 supernodes".to_owned())
}

fn nodes(text: &str) -> Result<u16, String> {
    one_of(text, &[1, 3, 5]).ok_or_else(|| "a cluster begins with 1, 3 or 5 nodes; others join it".to_owned())
}

fn one_of(text: &str, counts: &[u16]) -> Option<u16> {
    text.parse().ok().filter(|count| counts.contains(count))
}
