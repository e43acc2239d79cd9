//! Arguments of the commands about the command line itself and about this machine.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::ClientArgs;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(flotilla completions bash)         in this shell
  flotilla completions bash > /etc/bash_completion.d/flotilla
  flotilla completions zsh > \"${fpath[1]}/_flotilla\"
  flotilla completions fish > ~/.config/fish/completions/flotilla.fish")]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla man put | man -l -                 one page
  flotilla man --out /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The command whose page goes to stdout; none for the page of flotilla itself
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    pub commands: Vec<String>,
    /// Write the pages of all commands into this folder, made if it is missing
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do with settings.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting with its value; secrets are never shown
    Show(ConfigShowArgs),
}

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// The client commands
    Client,
    /// A node that would be started with the same flags and environment
    Node,
    /// A supernode that would be started with the same flags and environment
    Supernode,
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla config show --origin
  flotilla config show node --origin --config node.toml --set zone=rack-7

A flag comes before the environment (FLOTILLA_KEY), before the file, before the default.")]
pub struct ConfigShowArgs {
    /// Whose settings
    #[arg(value_enum, default_value = "client")]
    pub whose: Whose,
    /// Also show where each value came from
    #[arg(long)]
    pub origin: bool,
    /// A server's setting, as its own flag --set takes it
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla doctor
  flotilla doctor --data-dir /srv/flotilla    also what a server on this machine needs
  flotilla doctor --json | jq 'select(.state != \"OK\")'

Each line is OK, WARN or FAIL and names what to do. The exit code is 1 if a line says FAIL, else 0.")]
pub struct DoctorArgs {
    /// Folder where a server on this machine keeps or will keep its data; else those of a dev deployment
    #[arg(long, value_name = "DIR")]
    pub data_dir: Vec<PathBuf>,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `fleet-secret`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla fleet-secret /etc/flotilla/fleet.secret

Every process of a fleet has the same: copy the file. Whoever has it can do anything in the fleet.")]
pub struct FleetSecretArgs {
    /// The file; one that is there stays as it is
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Asked {
    /// Whether it turns at all; restart it if not
    Live,
    /// Whether it can do its work; send it nothing if not
    Ready,
}

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla healthcheck
  flotilla healthcheck live --ops 127.0.0.1:7406

For probes where there is neither a shell nor curl. The exit code is 0 if the answer is yes, else 6; the reasons go to stderr.")]
pub struct HealthcheckArgs {
    /// What is asked
    #[arg(value_enum, default_value = "ready")]
    pub asked: Asked,
    /// The server's operations listener; FLOTILLA_OPS by default, else port 7403
    #[arg(long, value_name = "IP:PORT")]
    pub ops: Option<SocketAddr>,
}

/// Arguments of `failpoints`.
#[cfg(feature = "failpoints")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla failpoints
  FAILPOINTS='gateway.before_commit=1*off->panic' flotilla node --config node.toml

The first is passed once, then the process ends by SIGABRT. Others: sleep(MS), return, 10%return, 3*sleep(1000).")]
pub struct FailpointsArgs {
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
}
