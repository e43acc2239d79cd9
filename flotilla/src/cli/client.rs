//! Arguments of the commands that talk to a deployment.

use std::path::PathBuf;

use clap::Args;

use super::Place;

/// How many files of a tree move at a time by default: enough to hide one round trip, few enough for a laptop's disk.
const JOBS: u16 = 8;
/// More files at a time gain nothing on one machine and hold one buffer each.
const JOBS_MAX: i64 = 64;

/// Which deployment, and with which credential.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Address of the API, several parted by commas; else FLOTILLA_API, the settings file, or a dev deployment
    #[arg(long, value_name = "URL", value_delimiter = ',', global = true)]
    pub api: Vec<String>,
    /// File with the token; else FLOTILLA_TOKEN (the token itself), the settings file, or a dev deployment
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Folder of a dev deployment; else FLOTILLA_DEV_DIR or ./.flotilla-dev
    #[arg(long, value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// Settings file with api, token and token_file; else flotilla/config.toml in XDG_CONFIG_HOME or ~/.config
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// What every client command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct ClientArgs {
    /// Which deployment.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// One JSON object per line on stdout, failures as problem documents on stderr
    #[arg(long)]
    pub json: bool,
}

/// How many at a time.
#[derive(Debug, Clone, Args)]
pub struct JobsArgs {
    /// How many files at a time with -r
    #[arg(long, short = 'j', default_value_t = JOBS, value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX))]
    jobs: u16,
}

impl JobsArgs {
    /// Gives the number.
    pub fn count(&self) -> usize {
        self.jobs.into()
    }
}

/// When a change is made.
#[derive(Debug, Clone, Default, Args)]
pub struct ConditionArgs {
    /// Only if the file has this ETag; '*' for any
    #[arg(long, value_name = "ETAG")]
    pub if_match: Option<String>,
    /// Only if the file does not have this ETag; '*' only if there is no file
    #[arg(long, value_name = "ETAG", conflicts_with = "if_match")]
    pub if_none_match: Option<String>,
}

/// Arguments of `put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla put notes.txt demo/notes.txt
  tar c src | flotilla put - demo/src.tar
  flotilla put -r photos demo/photos          photos/a.jpg becomes demo/photos/a.jpg
  flotilla put notes.txt demo/notes.txt --if-none-match '*'
  flotilla put -r photos demo/photos --queue  waits for its turns while the deployment is busy

With -r, a file is not sent if the deployment has its key with the same size and content (its ETag is the BLAKE3 hash).
Symbolic links and special files are skipped with a warning, empty folders are not kept.")]
pub struct PutArgs {
    /// File or folder; '-' is stdin
    pub local: PathBuf,
    /// Where it goes; a bucket alone takes the file's own name
    #[arg(value_name = "BUCKET/KEY")]
    pub place: Place,
    /// Store all files of a folder that are not there already
    #[arg(long, short)]
    pub recursive: bool,
    /// With -r, also send files whose content is there already
    #[arg(long, short)]
    pub force: bool,
    /// Id of this change, at most 64 of A-Z a-z 0-9 . _ : -; the same id again never makes it twice
    #[arg(long, value_name = "ID", conflicts_with = "recursive")]
    pub idempotency_key: Option<String>,
    /// While the deployment is busy, wait for a turn however long it takes, instead of being refused
    #[arg(long)]
    pub queue: bool,
    /// How many at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// When.
    #[command(flatten)]
    pub condition: ConditionArgs,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla get demo/notes.txt .
  flotilla get demo/src.tar - | tar x
  flotilla get -r demo/photos photos          demo/photos/a.jpg becomes photos/a.jpg

A file appears under its name only when it is whole and its BLAKE3 hash is the ETag; else the exit code is 8.
A broken connection is taken up again. After Ctrl-C or a crash the same command goes on from what has arrived, which lies
in .flotilla-*.part beside the target; with -r, files that are here already are not fetched.
Nothing is written outside LOCAL, whatever the keys are.")]
pub struct GetArgs {
    /// What to fetch
    #[arg(value_name = "BUCKET/KEY")]
    pub place: Place,
    /// File or folder to write; '-' is stdout
    pub local: PathBuf,
    /// Fetch all files whose keys begin with KEY/ and are not here already
    #[arg(long, short)]
    pub recursive: bool,
    /// With -r, also fetch files whose content is here already
    #[arg(long, short)]
    pub force: bool,
    /// How many at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla ls demo
  flotilla ls demo/photos/
  flotilla ls -r --json demo | jq -r .key")]
pub struct LsArgs {
    /// Bucket, and what the keys begin with
    #[arg(value_name = "BUCKET[/PREFIX]")]
    pub place: Place,
    /// List all keys, not only the next level
    #[arg(long, short)]
    pub recursive: bool,
    /// List without the clusters that don't answer (exit code 9) rather than fail
    #[arg(long)]
    pub partial: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `cp` and `mv`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla cp demo/notes.txt demo/old/        to demo/old/notes.txt
  flotilla mv demo/draft.txt demo/final.txt --if-none-match '*'
  flotilla mv -r demo/2025 archive/2025

Both names are in the deployment; put and get are for files of this machine. No byte passes through this machine. A move
between clusters copies, then deletes the source if it is still what was copied.")]
pub struct CopyArgs {
    /// The file, or with -r what keys begin with
    #[arg(value_name = "FROM")]
    pub from: Place,
    /// Where it goes; a bucket alone, or a slash at the end, takes the file's own name
    #[arg(value_name = "TO")]
    pub to: Place,
    /// All files whose keys begin with FROM/
    #[arg(long, short)]
    pub recursive: bool,
    /// Only if the target does not have this ETag; '*' only if there is no file
    #[arg(long, value_name = "ETAG")]
    pub if_none_match: Option<String>,
    /// How many at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla rm demo/notes.txt
  flotilla rm demo/notes.txt --if-match ETAG
  flotilla rm -r demo/photos                  all keys that begin with photos/")]
pub struct RmArgs {
    /// What to delete
    #[arg(value_name = "BUCKET/KEY")]
    pub place: Place,
    /// Delete all files whose keys begin with KEY/
    #[arg(long, short, conflicts_with_all = ["if_match", "if_none_match"])]
    pub recursive: bool,
    /// How many at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// When.
    #[command(flatten)]
    pub condition: ConditionArgs,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `stat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla stat demo/notes.txt
  flotilla stat demo/big.iso --layout --json  where every copy of every chunk lies")]
pub struct StatArgs {
    /// Which file
    #[arg(value_name = "BUCKET/KEY")]
    pub place: Place,
    /// Show chunks, nodes and the files that hold them (root credential only)
    #[arg(long)]
    pub layout: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla status
  flotilla status --json | jq '.name, .leader'")]
pub struct StatusArgs {
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `fsck`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla fsck                               existence and lengths, all clusters
  flotilla fsck --cluster a --verify          read every byte of cluster a
  flotilla fsck --json | jq -r 'select(.line == \"finding\") | .file'

One line per finding: MISSING, EXTRA, CORRUPT or SHORT, chunk, node, file. Exit code 8 if there is one. Root credential only.")]
pub struct FsckArgs {
    /// Only these clusters; all by default
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<flotilla_api::ClusterName>,
    /// Read the contents of every copy too
    #[arg(long)]
    pub verify: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `tasks`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla tasks                              what repair has planned, all clusters
  flotilla tasks --json | jq -r 'select(.state == \"leased\") | .id'

A cluster that has nothing to mend has no tasks. Root credential only.")]
pub struct TasksArgs {
    /// Only these clusters; all by default
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<flotilla_api::ClusterName>,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `transfers`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla transfers                          copies on their way, the last ones, and links
  flotilla transfers --chunks                 every chunk of them
  flotilla transfers --json | jq '.links'

Root credential only.")]
pub struct TransfersArgs {
    /// Only these clusters; all by default
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<flotilla_api::ClusterName>,
    /// Show every chunk
    #[arg(long)]
    pub chunks: bool,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `loadtest`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla loadtest run seed-tables
  flotilla loadtest ledger run --file ledger.jsonl --clients 8 --seconds 30
  flotilla loadtest ledger check --file ledger.jsonl")]
pub struct LoadtestArgs {
    /// Which deployment.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which test.
    #[command(subcommand)]
    pub command: flotilla_loadtest::Command,
}
