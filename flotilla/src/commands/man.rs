//! `flotilla man`: manual pages made from the command line's definition, so that they never say something else than --help.

use std::{io, path::Path};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::{
    cli::{Cli, ManArgs},
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// There is no such command, or the folder or stdout takes nothing.
pub fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let root = prepared(Cli::command());
    if let Some(folder) = &args.out {
        let count = all(&root, folder)?;
        output::line(format_args!("{count} pages written to {}", folder.display()))?;
        return Ok(Exit::Ok);
    }
    let mut command = &root;
    for name in &args.commands {
        let unknown = || {
            Failure::new(Exit::Usage, format!("no command is called '{}'", args.commands.join(" ")))
                .hint("`flotilla --help` lists the commands")
        };
        command = command.find_subcommand(name).ok_or_else(unknown)?;
    }
    output::bytes(&page(command)?)?;
    Ok(Exit::Ok)
}

/// Gives all commands their full names: `flotilla put` in place of `put`.
fn prepared(root: Command) -> Command {
    let mut root = root.disable_help_subcommand(true);
    root.build();
    root
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    render(command).map_err(|e| Failure::local("the page can't be made", &e))
}

fn render(command: &Command) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let man = Man::new(command.clone()).manual("Flotilla");
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut out)?;
    }
    if let Some(text) = command.get_after_help() {
        out.extend(literal(&text.to_string()).into_bytes());
    }
    Ok(out)
}

/// Writes what stands behind the options as it is in --help, line by line; roff would fill it into one paragraph.
fn literal(text: &str) -> String {
    let (heading, text) = text.strip_prefix("Examples:\n").map_or(("NOTES", text), |rest| ("EXAMPLES", rest));
    let mut out = format!(".SH {heading}\n.nf\n");
    for line in text.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A dot or a quote at its beginning would make a request of a line.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        out.push_str(&format!("{guard}{line}\n"));
    }
    out.push_str(".fi\n");
    out
}

fn all(command: &Command, folder: &Path) -> Result<usize, Failure> {
    let wrong = |e: std::io::Error| Failure::local(folder.display(), &e);
    std::fs::create_dir_all(folder).map_err(wrong)?;
    let name = command.get_display_name().unwrap_or(command.get_name());
    std::fs::write(folder.join(format!("{name}.1")), page(command)?).map_err(wrong)?;
    command.get_subcommands().try_fold(1, |count, sub| Ok(count + all(sub, folder)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_examples_stay_lines() {
        let text = literal("Examples:\n  a -b\n.c\n'd\\e");
        assert_eq!(text, ".SH EXAMPLES\n.nf\n  a \\-b\n\\&.c\n\\&'d\\ee\n.fi\n");
        assert!(literal("Only this.").starts_with(".SH NOTES\n"));
    }

    #[test]
    fn every_command_has_a_page_with_its_full_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let count = all(&prepared(Cli::command()), folder.path()).expect("the folder is writable");
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), count);
        for name in ["flotilla", "flotilla-put", "flotilla-dev-up", "flotilla-node-accept-disk"] {
            let text = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).expect("a page");
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{name}");
        }
    }
}
