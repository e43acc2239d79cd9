//! `flotilla put`: a file, a tree of files, or stdin into a bucket.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flotilla_api::{
    FileName, RequestId, TicketAnswer,
    files::{ListItem, PutAnswer},
};
use flotilla_client::{Put, PutOptions, Queue};
use flotilla_env::{Entropy, entropy};
use futures::{StreamExt, future, stream};
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{Place, PutArgs},
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
    runtime::Stop,
    transfer::{
        batch, blocking, file_failure, join, keys, progress::Progress, same, store::Store, tickets::Tickets, walk,
    },
};

/// One stored file, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    answer: &'a PutAnswer,
    created: bool,
    local: &'a Path,
}

/// Runs the command. With `--queue` it ends by itself when a signal comes: tickets that wait are given back, so that nobody
/// waits behind them.
///
/// # Errors
/// Nothing, or the one file meant, was not stored.
pub async fn run(args: PutArgs) -> Result<Exit, Failure> {
    let (session, tickets) = (Session::open(&args.client)?, Tickets::default());
    if !args.queue {
        return Box::pin(store_all(&session, &args, &tickets)).await;
    }
    let mut stop = Stop::listen().map_err(|e| Failure::local("signals can't be listened for", &e))?;
    let signal = tokio::select! {
        ended = Box::pin(store_all(&session, &args, &tickets)) => return ended,
        signal = stop.wait() => signal,
    };
    tokio::select! {
        () = tickets.give_back(|ticket| session.client.cancel_ticket(ticket)) => {}
        // Who asks twice does not want to wait for that.
        _ = stop.wait() => {}
    }
    output::note(format_args!("ended by {signal}"));
    Ok(Exit::Interrupted)
}

async fn store_all(session: &Session, args: &PutArgs, tickets: &Tickets) -> Result<Exit, Failure> {
    let key = args.idempotency_key.as_deref().map(str::parse::<RequestId>).transpose();
    let key = key.map_err(|e| Failure::new(Exit::Usage, format!("--idempotency-key: {e}")))?;
    let options = PutOptions {
        idempotency_key: key,
        if_match: args.condition.if_match.clone(),
        if_none_match: args.condition.if_none_match.clone(),
        ..PutOptions::default()
    };
    if args.local == Path::new("-") {
        if args.recursive {
            return Err(Failure::new(Exit::Usage, "stdin has no files for -r"));
        }
        if args.queue {
            return Err(Failure::new(Exit::Usage, "stdin can't be sent again when its turn comes")
                .hint("write it to a file first"));
        }
        let (name, progress) = (args.place.file()?, shown(session, None, &args.place.to_string()));
        let put = store(session, &options, &progress, &*entropy::system()).stdin(&name).await;
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
        return one(session, args, &options, tickets, metadata.len()).await;
    }
    if !args.recursive {
        return Err(Failure::new(Exit::Usage, "it is a folder")
            .about(args.local.display())
            .hint("give -r to store all its files"));
    }
    tree(session, args, &options, tickets).await
}

async fn one(
    session: &Session,
    args: &PutArgs,
    options: &PutOptions,
    tickets: &Tickets,
    length: u64,
) -> Result<Exit, Failure> {
    let name = named(&args.place, &args.local)?;
    let progress = shown(session, Some(length), &name.to_string());
    let options = PutOptions { queue: queue(args, tickets, &progress, &name.to_string()), ..options.clone() };
    let put = store(session, &options, &progress, &*entropy::system()).file(&name, &args.local, true).await;
    progress.clear();
    told(session.report, &args.local, &put.map_err(|e| e.about(&name))?)?;
    Ok(Exit::Ok)
}

async fn tree(session: &Session, args: &PutArgs, options: &PutOptions, tickets: &Tickets) -> Result<Exit, Failure> {
    let (progress, entropy, skipped) = (shown(session, None, ""), entropy::system(), AtomicU64::new(0));
    let (report, prefix) = (session.report, args.place.tree_prefix());
    let (bar, place, skipped) = (&progress, &args.place, &skipped);
    let lost = |failure: Failure| {
        bar.aside(|| report.warning(format_args!("what is there can't be listed, so all files are sent: {failure}")));
    };
    // Who set a condition wants it evaluated for every file.
    let compares = !args.force && options.if_match.is_none() && options.if_none_match.is_none();
    let listing = match compares {
        true => keys::below(session.client.clone(), place.bucket.clone(), prefix.clone()),
        false => stream::empty().boxed(),
    };
    let pairs = join::beside(walk::files(args.local.clone()), listing, prefix.clone(), lost);
    let prefix = &prefix;
    let found = pairs.filter_map(move |pair| {
        future::ready(match pair {
            Ok((walk::Found::File { path, relative }, there)) => Some(Ok((path, format!("{prefix}{relative}"), there))),
            Ok((walk::Found::Skipped { path, what }, _)) => {
                bar.aside(|| report.warning(format_args!("{} is {what} and was skipped", path.display())));
                None
            }
            Err(failure) => Some(Err(failure)),
        })
    });
    let options = &PutOptions { queue: queue(args, tickets, bar, ""), ..options.clone() };
    let store = store(session, options, bar, &*entropy);
    let each = |(path, key, there): (PathBuf, String, Option<ListItem>)| async move {
        let name = place.under(&key)?;
        if let Some(item) = there
            && same::is_like_at(path.clone(), item.size, item.etag.clone()).await
        {
            skipped.fetch_add(1, Ordering::Relaxed);
            return if report.is_json() { bar.aside(|| passed_by(&name, &item, &path)) } else { Ok(()) };
        }
        let put = store.file(&name, &path, false).await.map_err(|failure| failure.about(&name))?;
        if report.is_json() { bar.aside(|| told(report, &path, &put)) } else { Ok(()) }
    };
    let tally = batch::run(found, args.jobs.count(), report, bar, each).await;
    progress.clear();
    if !report.is_json() {
        let skipped = skipped.load(Ordering::Relaxed);
        let stored = tally.done - skipped;
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        let there = if skipped > 0 { format!(", {skipped} were there already") } else { String::new() };
        output::line(format_args!("{stored} files stored under {}{there}{failed}", args.place))?;
    }
    Ok(tally.exit())
}

/// What a file does that would have to wait: its place is shown beside the bar, as `shown` is otherwise.
fn queue(args: &PutArgs, tickets: &Tickets, progress: &Progress, shown: &str) -> Queue {
    if !args.queue {
        return Queue::InPlace;
    }
    let (tickets, progress, shown) = (tickets.clone(), progress.clone(), shown.to_owned());
    Queue::Told(Arc::new(move |ticket: &TicketAnswer| {
        tickets.note(ticket);
        progress.message(place_of(ticket, &shown));
    }))
}

/// What is told of a ticket; `shown` once its turn has come.
fn place_of(ticket: &TicketAnswer, shown: &str) -> String {
    let Some(position) = ticket.position else { return shown.to_owned() };
    let wait = ticket.wait_ms.map_or(String::new(), |ms| format!(", about {} s", ms.div_ceil(1000)));
    format!("{shown} waits, place {position}{wait}").trim_start().to_owned()
}

fn store<'a>(
    session: &'a Session,
    options: &'a PutOptions,
    progress: &'a Progress,
    entropy: &'a dyn Entropy,
) -> Store<'a> {
    Store { client: &session.client, options, progress, entropy }
}

/// Tells of a file that was not sent.
fn passed_by(name: &FileName, item: &ListItem, local: &Path) -> Result<(), Failure> {
    let (size, etag, version) = (item.size, &item.etag, &item.version);
    output::json(&json!({
        "bucket": name.bucket, "key": name.key, "size": size, "etag": etag, "version": version, "skipped": true, "local": local,
    }))
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

#[cfg(test)]
mod tests {
    use flotilla_api::{TicketId, TicketState};

    use super::*;

    #[test]
    fn a_place_is_told_until_the_turn_has_come() {
        let ticket = |position: Option<u64>, wait_ms| TicketAnswer {
            id: TicketId { number: 1, secret: 2 },
            state: if position.is_none() { TicketState::Granted } else { TicketState::Waiting },
            position,
            wait_ms,
            cluster: None,
            granted: None,
        };
        assert_eq!(place_of(&ticket(Some(3), Some(1500)), "demo/x"), "demo/x waits, place 3, about 2 s");
        assert_eq!(place_of(&ticket(Some(1), None), ""), "waits, place 1");
        assert_eq!(place_of(&ticket(None, None), "demo/x"), "demo/x");
    }
}
