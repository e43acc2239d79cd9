//! `flotilla put`: a file, a tree of files, or stdin into a bucket.

use std::path::{Path, PathBuf};

use flotilla_api::{FileName, files::PutAnswer};
use flotilla_client::{Put, PutOptions};
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::{
    cli::{Place, PutArgs},
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
    transfer::{batch, blocking, file_failure, progress::Progress, store, walk},
};

/// One stored file, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    answer: &'a PutAnswer,
    created: bool,
    local: &'a Path,
}

/// Runs the command.
///
/// # Errors
/// Nothing, or the one file meant, was not stored.
pub async fn run(args: PutArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let options = PutOptions {
        if_match: args.condition.if_match.clone(),
        if_none_match: args.condition.if_none_match.clone(),
        ..PutOptions::default()
    };
    if args.local == Path::new("-") {
        if args.recursive {
            return Err(Failure::new(Exit::Usage, "stdin has no files for -r"));
        }
        let (name, progress) = (args.place.file()?, shown(&session, None, &args.place.to_string()));
        let put = store::stdin(&session.client, &name, &options, &progress).await;
        progress.clear();
        told(session.report, &args.local, &put.map_err(|e| e.about(&name))?)?;
        return Ok(Exit::Ok);
    }
    let path = args.local.clone();
    let metadata = blocking(move || std::fs::metadata(path)).await.map_err(|e| {
        let failure = file_failure(&args.local, &e);
        if e.kind() == std::io::ErrorKind::NotFound {
            Failure::new(Exit::NotFound, e.to_string()).about(args.local.display())
        } else {
            failure
        }
    })?;
    if !metadata.is_dir() {
        return one(&session, &args, &options, metadata.len()).await;
    }
    if !args.recursive {
        return Err(Failure::new(Exit::Usage, "it is a folder")
            .about(args.local.display())
            .hint("give -r to store all its files"));
    }
    tree(&session, &args, &options).await
}

async fn one(session: &Session, args: &PutArgs, options: &PutOptions, length: u64) -> Result<Exit, Failure> {
    let name = named(&args.place, &args.local)?;
    let progress = shown(session, Some(length), &name.to_string());
    let put = store::file(&session.client, &name, &args.local, true, options, &progress).await;
    progress.clear();
    told(session.report, &args.local, &put.map_err(|e| e.about(&name))?)?;
    Ok(Exit::Ok)
}

async fn tree(session: &Session, args: &PutArgs, options: &PutOptions) -> Result<Exit, Failure> {
    let progress = shown(session, None, "");
    let (report, prefix) = (session.report, args.place.tree_prefix());
    let (bar, place, prefix) = (&progress, &args.place, &prefix);
    let found = walk::files(args.local.clone()).flat_map(move |found| {
        stream::iter(match found {
            Ok(walk::Found::File { path, relative }) => Some(Ok((path, format!("{prefix}{relative}")))),
            Ok(walk::Found::Skipped { path, what }) => {
                bar.aside(|| report.warning(format_args!("{} is {what} and was skipped", path.display())));
                None
            }
            Err(failure) => Some(Err(failure)),
        })
    });
    let each = |(path, key): (PathBuf, String)| async move {
        let name = place.under(&key)?;
        let put = store::file(&session.client, &name, &path, false, options, bar).await;
        let put = put.map_err(|failure| failure.about(&name))?;
        if report.is_json() { bar.aside(|| told(report, &path, &put)) } else { Ok(()) }
    };
    let tally = batch::run(found, args.jobs.count(), report, bar, each).await;
    progress.clear();
    if !report.is_json() {
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        output::line(format_args!("{} files stored under {}{failed}", tally.done, args.place))?;
    }
    Ok(tally.exit())
}

/// Gives the file's name; a bucket alone takes the local name.
fn named(place: &Place, local: &Path) -> Result<FileName, Failure> {
    match local.file_name().and_then(|name| name.to_str()) {
        Some(own) if place.key.is_empty() => place.under(own),
        Some(_) | None => place.file(),
    }
}

fn shown(session: &Session, total: Option<u64>, message: &str) -> Progress {
    if session.report.is_json() { Progress::hidden() } else { Progress::bytes(total, message) }
}

fn told(report: Report, local: &Path, put: &Put) -> Result<(), Failure> {
    let answer = &put.answer;
    if report.is_json() {
        return output::json(&Line { answer, created: put.created, local });
    }
    let what = if put.created { "created" } else { "replaced" };
    let (bucket, key, size) = (&answer.bucket, &answer.key, output::size(answer.size));
    output::line(format_args!("{bucket}/{key} {what}, {size}, cluster {}, ETag {}", answer.cluster, answer.etag))
}
