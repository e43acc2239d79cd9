//! The one binary: parses the command line, makes the runtime, and leaves with the command's exit code.

mod cli;
mod commands;
mod connect;
mod exit;
mod logging;
mod output;
mod runtime;
mod settings;
mod transfer;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use commands::server;

/// RocksDB under glibc's arenas grows without bound; with unprefixed symbols this one serves its C++ too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Node(args) => server::node(&args),
        Command::Supernode(args) => server::supernode(&args),
        command => client(command),
    };
    ExitCode::from(code)
}

fn client(command: Command) -> u8 {
    logging::client();
    // These two end in their own way when they are interrupted: with a report, or with all processes ended.
    let own_end = matches!(command, Command::Dev(_) | Command::Loadtest(_));
    runtime::run("client", runtime::CLIENT, async move {
        let work = commands::run(command);
        if own_end { work.await } else { runtime::interruptible(work).await }
    })
}
