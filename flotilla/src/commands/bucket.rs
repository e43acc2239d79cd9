//! `flotilla bucket create`: a place for files.

use flotilla_api::BucketName;
use serde::Serialize;

use crate::{
    cli::{BucketCommand, BucketCreateArgs},
    connect::Session,
    exit::{Exit, Failure},
    output,
};

#[derive(Serialize)]
struct There<'a> {
    bucket: &'a BucketName,
}

/// Runs the command.
///
/// # Errors
/// The supernodes refuse, or can't be asked.
pub async fn run(command: BucketCommand) -> Result<Exit, Failure> {
    match command {
        BucketCommand::Create(args) => create(&args).await,
    }
}

async fn create(args: &BucketCreateArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    session.client.create_bucket(&args.bucket).await.map_err(|e| Failure::from(e).about(&args.bucket))?;
    match session.report.is_json() {
        true => output::json(&There { bucket: &args.bucket })?,
        false => output::line(format_args!("bucket {} is there", args.bucket))?,
    }
    Ok(Exit::Ok)
}
