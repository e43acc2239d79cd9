//! `flotilla key create|list|revoke`: who may use the deployment.

use flotilla_api::keys::{KeyItem, PrincipalName};
use serde::Serialize;

use crate::{
    cli::{KeyCommand, KeyListArgs, KeyNameArgs},
    connect::Session,
    exit::{Exit, Failure},
    output,
};

#[derive(Serialize)]
struct Revoked<'a> {
    revoked: &'a PrincipalName,
}

/// Runs the command.
///
/// # Errors
/// The supernodes refuse, or can't be asked.
pub async fn run(command: KeyCommand) -> Result<Exit, Failure> {
    match command {
        KeyCommand::Create(args) => create(&args).await,
        KeyCommand::List(args) => list(&args).await,
        KeyCommand::Revoke(args) => revoke(&args).await,
    }
}

async fn create(args: &KeyNameArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let made = session.client.create_key(&args.name).await?;
    match session.report.is_json() {
        true => output::json(&made)?,
        false => {
            // Alone on stdout, so that it can be sent into a file.
            output::line(&made.key)?;
            output::note(format_args!(
                "the key of '{}'; it is shown this once, and works everywhere within 5 s",
                made.name
            ));
        }
    }
    Ok(Exit::Ok)
}

async fn list(args: &KeyListArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let mut rows = vec![["NAME", "MAY", "CREATED"].map(str::to_owned).to_vec()];
    for key in session.client.keys().await?.items {
        match session.report.is_json() {
            true => output::json(&key)?,
            false => rows.push(row(key)),
        }
    }
    if !session.report.is_json() {
        output::line(output::table(&rows))?;
    }
    Ok(Exit::Ok)
}

fn row(key: KeyItem) -> Vec<String> {
    let may = if key.root { "everything" } else { "files" };
    vec![key.name.into(), may.to_owned(), key.created.unwrap_or_else(|| "-".to_owned())]
}

async fn revoke(args: &KeyNameArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    session.client.revoke_key(&args.name).await?;
    match session.report.is_json() {
        true => output::json(&Revoked { revoked: &args.name })?,
        false => {
            output::line(format_args!("the key of '{}' is revoked; it opens nothing anywhere within 5 s", args.name))?
        }
    }
    Ok(Exit::Ok)
}
