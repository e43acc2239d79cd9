//! `flotilla failpoints`, and what servers take of them from their environment; only in builds that have some.

use flotilla_env::failpoint::{self, Error, POINTS, Point, Use, VARIABLE};
use serde::Serialize;

use crate::{
    cli::FailpointsArgs,
    exit::{Exit, Failure},
    output,
    settings::{ALIKE, nearest},
};

/// One failpoint, as JSON.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    actions: &'static [&'static str],
    planted: bool,
    place: &'static str,
}

/// Runs the command.
///
/// # Errors
/// stdout takes nothing.
pub fn run(args: &FailpointsArgs) -> Result<Exit, Failure> {
    if args.json {
        for Point { name, takes, place } in POINTS {
            let actions = POINTS[failpoint::index(name)].actions();
            output::json(&Line { name, actions, planted: *takes == Use::Planted, place })?;
        }
        return Ok(Exit::Ok);
    }
    let mut rows = vec![["NAME", "ACTIONS", "WHERE"].map(str::to_owned).to_vec()];
    for point in POINTS {
        let place = match point.takes {
            Use::Planted => format!("planted fault: {}", point.place),
            Use::Pass | Use::Return => point.place.to_owned(),
        };
        rows.push(vec![point.name.to_owned(), point.actions().join(","), place]);
    }
    output::line(output::table(&rows))?;
    Ok(Exit::Ok)
}

/// Sets up what the environment asks for, before the server begins.
///
/// # Errors
/// What is wrong with it, and what was perhaps meant.
pub fn set_up() -> Result<(), String> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let text = text.to_str().ok_or_else(|| format!("{VARIABLE} is no text"))?;
    failpoint::set(text).map_err(|error| refusal(&error))
}

fn refusal(error: &Error) -> String {
    let names: Vec<&str> = POINTS.iter().map(|point| point.name).collect();
    let meant = match error {
        Error::Unknown(name) => nearest(name, &names, ALIKE),
        Error::Malformed(_) | Error::Action { .. } => None,
    };
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
    format!("{VARIABLE}: {error}{meant} ('flotilla failpoints' lists them)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_told_what_was_meant() {
        let check = |text: &str, says: &str| {
            let error = failpoint::set(text).expect_err(text);
            let line = refusal(&error);
            assert!(line.contains(says) && !line.contains('\n'), "{text}: {line}");
        };
        check("gateway.befor_commit=panic", "did you mean 'gateway.before_commit'?");
        check("gateway.after_claim=return;raft.beforevote=panic", "did you mean 'raft.before_vote'?");
        check("zzzzzzzzzzzzzzzzzzzz=panic", "there is no failpoint 'zzzzzzzzzzzzzzzzzzzz' ('flotilla failpoints'");
        check("gateway.before_commit", "'gateway.before_commit' is not NAME=ACTION");
        check("chunks.dir_sync=panic", "does not take 'panic'");
    }
}
