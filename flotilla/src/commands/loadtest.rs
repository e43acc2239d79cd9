//! `flotilla loadtest`: hands a deployment over to the load tests.

use flotilla_loadtest::Target;

use crate::{
    cli::LoadtestArgs,
    connect,
    exit::{Exit, Failure, chain},
    output::Report,
    runtime,
};

/// Runs the command; gives its own exit code.
///
/// # Errors
/// No deployment is known.
pub async fn run(args: LoadtestArgs) -> Result<u8, Failure> {
    let target = if args.command.needs_deployment() {
        let connection = connect::resolve(&args.connection, &|name| std::env::var(name).ok())?;
        Target { api: connection.api, token: connection.token, dev_json: connection.dev_json }
    } else {
        Target { api: Vec::new(), token: String::new(), dev_json: None }
    };
    runtime::raise_files_max();
    match flotilla_loadtest::run(args.command, target).await {
        Ok(code) => Ok(code),
        Err(error) => {
            Report::new(false).failure(&Failure::new(Exit::Other, chain(&error)));
            Ok(error.exit_code())
        }
    }
}
