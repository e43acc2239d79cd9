//! `flotilla dev down`: ends every process of a deployment, whoever started it; the data stays.

use std::collections::BTreeSet;

use super::{
    deployment::{Deployment, State},
    process::{self, Identity},
};
use crate::{
    cli::DownArgs,
    exit::{Exit, Failure},
    output,
    transfer::blocking,
};

/// Runs the command.
///
/// # Errors
/// There is no deployment, or a process does not end.
pub async fn run(args: DownArgs) -> Result<Exit, Failure> {
    let mut deployment = Deployment::read(&super::folder(&args.dir)?)?;
    let ended = end(&mut deployment).await?;
    output::line(format_args!("{ended} processes ended, the data stays in {}", deployment.dir.display()))?;
    Ok(Exit::Ok)
}

/// Ends all processes of a deployment and writes down that it is stopped; gives their number.
///
/// # Errors
/// A process does not end; the deployment stays in the state `stopping`.
///
/// # Cancel safety
/// Signals that were sent stay sent.
pub async fn end(deployment: &mut Deployment) -> Result<usize, Failure> {
    // A `dev up` that waits sees this and leaves.
    deployment.enter(State::Stopping)?;
    let processes = deployment.processes.clone();
    let all: BTreeSet<Identity> = blocking(move || processes.iter().flat_map(process::serving).collect()).await;
    process::end(&all).await?;
    deployment.enter(State::Stopped)?;
    Ok(all.len())
}
