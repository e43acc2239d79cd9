//! Starts runners by the user's commands.

use std::process::Stdio;

use tokio::process::{Child, Command};

use super::lead::Ends;
use crate::Error;

/// Starts a runner by each command of a shell; what they say on standard error is shown.
///
/// # Errors
/// [`Error::Worker`]: there is no shell.
pub(crate) fn start(commands: &[String]) -> Result<Vec<Ends>, Error> {
    let one = |(number, command): (usize, &String)| {
        let name = format!("runner {}", number + 1);
        let failed = |why: String| Error::Worker { name: name.clone(), why };
        // A process group of its own: Ctrl-C is told to runners by their leader, which waits for what they found.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child: Child = shell.spawn().map_err(|error| failed(error.to_string()))?;
        let (Some(output), Some(input)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("it has no standard input or output".to_owned()));
        };
        Ok(Ends {
            name,
            command: command.clone(),
            input: Box::new(input),
            output: Box::new(output),
            child: Some(child),
        })
    };
    commands.iter().enumerate().map(one).collect()
}
