//! The commands of `flotilla loadtest`: arguments in, exit code out. Knows no workload's inside.

use std::{future::Future, io::Write, net::SocketAddr, path::PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Error,
    ledger::{self, CheckArgs, LedgerArgs},
    load, seed_tables,
};

/// Everything was as it should be.
pub(crate) const EXIT_OK: u8 = 0;
/// Something failed that is not a finding.
pub(crate) const EXIT_ERROR: u8 = 1;
/// The arguments make no sense.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The deployment could not be read; the same command can succeed later.
pub(crate) const EXIT_UNAVAILABLE: u8 = 6;
/// A byte or a file was wrong.
pub(crate) const EXIT_WRONG: u8 = 8;
/// The user ended the command; what was measured till then was printed.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// What `flotilla loadtest` can do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Send the load of a profile and tell what users felt and whether anything was lost
    Run(RunArgs),
    /// Send the same load to two stores by turns, or take two reports, and say which is better and how sure that is
    Compare(CompareArgs),
    /// Carry out a share of the load that `run --worker` on another host leads; speaks over standard input and output
    Worker,
    /// Write with a ledger of what was acked, or check a ledger against what can be read
    #[command(subcommand)]
    Ledger(LedgerCommand),
}

impl Command {
    /// Whether it works on a deployment of Flotilla; others need no address of one.
    #[must_use]
    pub fn needs_deployment(&self) -> bool {
        match self {
            Self::Run(args) => args.target.is_none(),
            Self::Compare(args) => [&args.a, &args.b].into_iter().any(|side| side == "flotilla"),
            Self::Ledger(_) => true,
            Self::Worker => false,
        }
    }
}

/// The ledger's two commands.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum LedgerCommand {
    /// Put, replace and delete seeded files; survives servers being killed
    Run(LedgerArgs),
    /// Read every key of a ledger and compare it with what was acked; 8 if something is wrong
    Check(CheckArgs),
}

/// Arguments of `flotilla loadtest run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// smoke, spike, burst, ramp, knee, knee-put, soak, small-files, big-files, failover, duel, seed-tables, or a file ending in
    /// .toml
    pub profile: String,
    /// Write the report as page, JSON and CSV into this folder
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
    /// Also write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Multiply rates (of seed-tables: sizes and counts), for example 0.01 for a quick look
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Also write the outcome as JUnit XML to this file, for CI systems
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Also write the latencies of every second to this file, as an interval log of HdrHistogram
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Also write every request to this CSV file, which can be replayed as a trace
    #[arg(long, value_name = "FILE")]
    pub requests: Option<PathBuf>,
    /// Serve the report as it grows at this address, like 127.0.0.1:8080
    #[arg(long, value_name = "IP:PORT")]
    pub page: Option<SocketAddr>,
    /// Share the load with a runner that this command starts, like `ssh host2 flotilla loadtest worker`; several may be given, and
    /// this process then sends nothing itself
    #[arg(long, value_name = "COMMAND")]
    pub worker: Vec<String>,
    /// A fault at a time of the load, like `--at 20s "kill leader of a"`; several may be given. On a dev deployment only
    #[arg(long, num_args = 2, value_names = ["TIME", "FAULT"])]
    pub at: Vec<String>,
    /// Another store than a Flotilla: http=http://HOST:PORT/PATH, or s3=http://HOST:PORT/BUCKET with AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY and AWS_REGION in the environment
    #[arg(long, value_name = "KIND=URL")]
    pub target: Option<String>,
    /// Process ids of its servers, to tell their processor time and memory
    #[arg(long, value_name = "PID,...", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Connections at most, instead of the profile's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: Option<u32>,
    /// Let each client wait for its answer before it sends again: latencies then leave out what would have been sent meanwhile
    #[arg(long)]
    pub closed: bool,
    /// Leave the files of the load in the bucket
    #[arg(long)]
    pub keep: bool,
    /// seed-tables: run the whole table this often and print medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Seed of all content
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The bucket to work in
    #[arg(long, default_value = "demo")]
    pub bucket: String,
}

/// Arguments of `flotilla loadtest compare`.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// `flotilla`, `http=http://HOST:PORT/PATH`, `s3=http://HOST:PORT/BUCKET`, or a report ending in .json
    pub a: String,
    /// The same for the other side
    pub b: String,
    /// The profile, as for `run`
    #[arg(long, default_value = "duel")]
    pub profile: String,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Process ids of A's servers, to tell their processor time and memory
    #[arg(long, value_name = "PID,...", value_delimiter = ',')]
    pub pids_a: Vec<u32>,
    /// The same for B
    #[arg(long, value_name = "PID,...", value_delimiter = ',')]
    pub pids_b: Vec<u32>,
    /// Multiply rates
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Seed of all content and arrivals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The bucket to work in, of a Flotilla
    #[arg(long, default_value = "demo")]
    pub bucket: String,
    /// Also write the comparison and all reports as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Compare reports of different machines, seeds or profiles
    #[arg(long)]
    pub force: bool,
    /// End with code 1 if A is worse in any figure
    #[arg(long)]
    pub fail_if_worse: bool,
}

/// The deployment that a load test works on.
#[derive(Debug, Clone)]
pub struct Target {
    /// Addresses of its supernodes, `http://HOST:PORT`.
    pub api: Vec<String>,
    /// The bearer token.
    pub token: String,
    /// The `dev.json` of a dev deployment; without it there are no processor and memory figures.
    pub dev_json: Option<PathBuf>,
}

/// Runs one command, prints its report on stdout and gives the exit code.
///
/// Ctrl-C ends it early with code 130; what was found until then is still printed.
///
/// # Errors
/// See [`Error`]; [`Error::exit_code`] is the code to leave with.
///
/// # Cancel safety
/// Dropping the future loses the report. Requests that were under way may or may not take effect; the ledger on disk
/// says so.
pub async fn run(command: Command, target: Target) -> Result<u8, Error> {
    let interrupt = async {
        // Not Ctrl-C alone: whatever ends a run must find processes going on that it froze.
        let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
            // Without handlers the system ends the process itself; nothing is left to wait for here.
            return std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    run_until(command, target, &mut std::io::stdout(), interrupt).await
}

/// Does what [`run`] does, with the printing and the interruption as parameters.
pub(crate) async fn run_until(
    command: Command,
    target: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    if target.api.is_empty() && command.needs_deployment() {
        return Err(Error::Usage("no API address is known: give --api, or start a dev deployment".to_owned()));
    }
    match command {
        Command::Run(args) if args.profile == seed_tables::NAME => {
            Box::pin(seed_tables::run(args, target, out, interrupt)).await
        }
        Command::Run(args) => Box::pin(load::run(args, target, out, interrupt)).await,
        Command::Compare(args) => Box::pin(load::compare_stores(args, target, out, interrupt)).await,
        Command::Worker => Box::pin(load::follow(tokio::io::stdin(), tokio::io::stdout(), interrupt)).await,
        Command::Ledger(LedgerCommand::Run(args)) => Box::pin(ledger::run(args, target, out, interrupt)).await,
        Command::Ledger(LedgerCommand::Check(args)) => Box::pin(ledger::check(args, target, out, interrupt)).await,
    }
}
