//! `flotilla completions`: what a shell needs to complete the command line.

use clap::CommandFactory;

use crate::{
    cli::{Cli, CompletionsArgs},
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// stdout takes nothing.
pub fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "flotilla", &mut script);
    output::bytes(&script)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_knows_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "flotilla", &mut script);
            let script = String::from_utf8(script).expect("scripts are text");
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
