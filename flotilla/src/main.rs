//! The one binary: parses the command line, makes the runtime, and leaves with the command's exit code.

mod allocator;
mod cli;
mod commands;
mod connect;
mod exit;
mod known;
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return ExitCode::from(usage(&e)),
    };
    let code = match cli.command {
        Command::Node(args) => server::node(&args),
        Command::Supernode(args) => server::supernode(&args),
        command => client(command),
    };
    ExitCode::from(code)
}

/// Prints help, or what is wrong with the command line: in words, or as a problem where `--json` asks for that.
fn usage(error: &clap::Error) -> u8 {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let detail = text.trim().trim_start_matches("error: ").to_owned();
        output::Report::new(true).failure(&exit::Failure::new(exit::Exit::Usage, detail));
    } else {
        // A reader that went away needs no text.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(exit::Exit::Usage.code())
}

fn client(command: Command) -> u8 {
    logging::client();
    // These end in their own way when they are interrupted: with a report, with all processes ended, or with tickets given back.
    let own_end = match &command {
        Command::Put(args) => args.queue,
        command => matches!(command, Command::Dev(_) | Command::Loadtest(_)),
    };
    // Only a download to a file can be gone on with.
    let hint = matches!(&command, Command::Get(args) if args.local != std::path::Path::new("-"))
        .then_some("what has arrived is kept; the same command goes on from there");
    runtime::run("client", runtime::CLIENT, async move {
        let work = commands::run(command);
        if own_end { work.await } else { runtime::interruptible(work, hint).await }
    })
}
