//! `flotilla rm`: deletes a file, or all files whose keys begin alike.

use flotilla_api::{FileName, files::ListItem};
use flotilla_client::{Client, DeleteOptions};
use serde_json::json;

use crate::{
    cli::RmArgs,
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
    transfer::{batch, keys, progress::Progress},
};

/// Runs the command.
///
/// # Errors
/// Nothing, or the one file meant, was not deleted.
pub async fn run(args: RmArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let options = DeleteOptions {
        if_match: args.condition.if_match.clone(),
        if_none_match: args.condition.if_none_match.clone(),
        ..DeleteOptions::default()
    };
    if !args.recursive {
        let name = args.place.file()?;
        delete(&session.client, session.report, &name, &options).await?;
        return Ok(Exit::Ok);
    }
    let prefix = args.place.tree_prefix();
    let items = keys::below(session.client.clone(), args.place.bucket.clone(), prefix.clone());
    let (session, options, bucket) = (&session, &options, &args.place.bucket);
    let each = |item: ListItem| async move {
        let name = FileName { bucket: bucket.clone(), key: item.key };
        delete(&session.client, session.report, &name, options).await
    };
    let tally = batch::run(items, args.jobs.count(), session.report, &Progress::hidden(), each).await;
    if tally.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("no file's key begins with '{prefix}'")).about(&args.place));
    }
    Ok(tally.exit())
}

async fn delete(client: &Client, report: Report, name: &FileName, options: &DeleteOptions) -> Result<(), Failure> {
    let deleted = client.delete(name, options).await.map_err(|e| Failure::from(e).about(name))?;
    if report.is_json() {
        output::json(&json!({ "bucket": name.bucket, "key": name.key, "deleted": true, "version": deleted.version }))
    } else {
        output::line(format_args!("{name} deleted"))
    }
}
