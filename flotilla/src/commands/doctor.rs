//! `flotilla doctor`: looks at what commands and servers need, and says for each thing whether it is there and what to do.

mod api;
mod deployment;
mod finding;
mod machine;

use std::path::PathBuf;

use finding::{Finding, State};

use super::dev::deployment as dev;
use crate::{
    cli::DoctorArgs,
    connect::{self, Connection},
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// stdout takes nothing; whatever is wrong otherwise is a finding.
pub async fn run(args: DoctorArgs) -> Result<Exit, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let mut all = Vec::new();
    match connect::resolve(&args.client.connection, &env) {
        Ok(connection) => {
            all.push(settings(&connection));
            all.extend(api::examine(&connection).await);
        }
        Err(failure) => all.push(Finding::of_failure("settings", &failure)),
    }
    let dir = args.client.connection.dir.clone().or_else(|| dev::find(&env));
    let (found, dev_folders) = deployment::examine(dir).await;
    all.extend(found);
    let folders: Vec<PathBuf> = if args.data_dir.is_empty() { dev_folders } else { args.data_dir.clone() };
    if !folders.is_empty() {
        all.extend(crate::transfer::blocking(move || machine::examine(&folders)).await);
    }
    if args.client.json {
        all.iter().try_for_each(output::json)?;
    } else {
        all.iter().try_for_each(output::line)?;
    }
    let failed = all.iter().any(|finding| finding.state == State::Fail);
    Ok(if failed { Exit::Other } else { Exit::Ok })
}

fn settings(connection: &Connection) -> Finding {
    let (api, origin, token) = (connection.api.join(", "), &connection.api_origin, &connection.token_origin);
    Finding::ok("settings", format!("{api} from {origin}, token from {token}"))
}
