//! `flotilla dev`: a deployment of real processes on this machine.
//!
//! Nothing here knows what servers do: processes are started with arguments, asked by HTTP and ended by signals.

pub mod deployment;
mod down;
mod guide;
mod live;
mod overrides;
mod plan;
pub mod probe;
mod process;
mod spawn;
mod status;
mod up;

use std::path::PathBuf;

use crate::{
    cli::{DevArgs, DevCommand, DirArgs},
    exit::{Exit, Failure},
};

/// Where a deployment lies if nothing else is said.
const DIR: &str = ".flotilla-dev";

/// Runs the command.
///
/// # Errors
/// The deployment is not in the state that was asked for; the failure says why.
pub async fn run(args: DevArgs) -> Result<Exit, Failure> {
    match args.command {
        DevCommand::Up(args) => Box::pin(up::run(*args)).await,
        DevCommand::Status(args) => status::run(args).await,
        DevCommand::Down(args) => down::run(args).await,
    }
}

/// Gives the folder of a deployment as an absolute path: the flag's, the environment's, or the usual one.
fn folder(args: &DirArgs) -> Result<PathBuf, Failure> {
    let named = args.dir.clone().or_else(|| deployment::named(&|name| std::env::var(name).ok()));
    let dir = named.unwrap_or_else(|| PathBuf::from(DIR));
    std::path::absolute(&dir).map_err(|e| Failure::local(dir.display(), &e))
}
