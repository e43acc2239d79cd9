//! `ledger check`: reads every key of a ledger and prints what is not as it may be.

use std::{collections::BTreeMap, future::Future, io::Write};

use futures::{StreamExt, stream};

use super::{
    CheckArgs, StoreError, file,
    history::{Histories, History},
    line::Outcome,
    oracle::{Finding, Listed, Read, Verdict, judge},
    sdk::Sdk,
    store::Store,
};
use crate::{
    Error, Target,
    command::{EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE, EXIT_WRONG},
};

/// The SDK's further tries per request: some ten seconds, within which a restarted deployment has to serve.
const RETRIES: u32 = 8;
/// How often a key is read before it counts as unreadable; a connection may break in the middle of a body.
const READS: usize = 3;
/// Keys that are read at once; with the largest files that is 16 MiB of ours.
const READERS: usize = 16;
/// Keys of a list that are the same page after page mean a broken cursor.
const PAGES_MAX: usize = 1_000_000;

/// Runs `ledger check`.
pub(crate) async fn check(
    args: CheckArgs,
    target: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let store = Sdk::new(&target, &args.bucket, RETRIES)?;
    compare(&args, &store, out, interrupt).await
}

/// Compares a ledger with any store.
pub(super) async fn compare(
    args: &CheckArgs,
    store: &dyn Store,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let mut histories = Histories::default();
    let torn = file::read(&args.file, |line| histories.add(&line))?;
    let mut counts = Counts { torn, ..Counts::default() };
    let ended = tokio::select! {
        ended = compare_all(&histories, store, &mut counts, out) => Some(ended),
        () = interrupt => None,
    };
    counts.print(&histories, out).map_err(Error::Print)?;
    match ended {
        None => Ok(EXIT_INTERRUPTED),
        Some(Err(error)) if counts.wrong.is_empty() => Err(error),
        Some(Ok(()) | Err(_)) if !counts.wrong.is_empty() => Ok(EXIT_WRONG),
        Some(Ok(()) | Err(_)) if counts.unreadable > 0 => Ok(EXIT_UNAVAILABLE),
        Some(Ok(()) | Err(_)) => Ok(EXIT_OK),
    }
}

async fn compare_all(
    histories: &Histories,
    store: &dyn Store,
    counts: &mut Counts,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let listed = list(histories, store).await?;
    let mut results = stream::iter(histories.iter())
        .map(|(key, history)| {
            let listed = listed.get(key);
            async move { (key, compare_one(key, history, listed, store).await) }
        })
        .buffered(READERS);
    while let Some((key, result)) = results.next().await {
        counts.read += 1;
        match result {
            Ok((files, None)) => counts.files += u64::from(files),
            Ok((_, Some(finding))) => {
                *counts.wrong.entry(finding.verdict).or_default() += 1;
                tracing::warn!(key, verdict = %finding.verdict, why = finding.why, "key is wrong");
                writeln!(out, "{} {key}", finding.verdict).map_err(Error::Print)?;
            }
            Err(error) => {
                counts.unreadable += 1;
                tracing::warn!(key, %error, "key can't be read");
                writeln!(out, "unreadable {key}: {error}").map_err(Error::Print)?;
            }
        }
    }
    Ok(())
}

/// Judges one key; gives whether it holds a file, and what is wrong.
///
/// The list is older than the read, and a request that was under way may have landed between them: before a key is
/// accused, both are asked again.
async fn compare_one(
    key: &str,
    history: &History,
    listed: Option<&Listed>,
    store: &dyn Store,
) -> Result<(bool, Option<Finding>), StoreError> {
    let read = read(key, store).await?;
    if judge(key, history, &read, listed).is_none() {
        return Ok((matches!(read, Read::File { .. }), None));
    }
    let page = store.list(key, None).await?;
    let listed = page.files.into_iter().find(|(name, _)| name == key).map(|(_, listed)| listed);
    let read = self::read(key, store).await?;
    let finding = judge(key, history, &read, listed.as_ref());
    Ok((matches!(read, Read::File { .. }), finding))
}

async fn read(key: &str, store: &dyn Store) -> Result<Read, StoreError> {
    let mut last = store.get(key).await;
    for _ in 1..READS {
        if last.is_ok() {
            break;
        }
        last = store.get(key).await;
    }
    last
}

/// Lists what the store shows of the ledger's keys.
async fn list(histories: &Histories, store: &dyn Store) -> Result<BTreeMap<String, Listed>, StoreError> {
    let mut shown = BTreeMap::new();
    let mut cursor = None;
    if histories.len() == 0 {
        return Ok(shown);
    }
    for _ in 0..PAGES_MAX {
        let page = store.list(histories.common_prefix(), cursor).await?;
        shown.extend(page.files.into_iter().filter(|(key, _)| histories.contains(key)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(shown)
}

/// What the check saw.
#[derive(Debug, Default)]
struct Counts {
    torn: u64,
    read: u64,
    files: u64,
    unreadable: u64,
    wrong: BTreeMap<Verdict, u64>,
}

impl Counts {
    fn print(&self, histories: &Histories, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        let outcomes = || histories.iter().flat_map(|(_, history)| history.outcomes());
        let count = |outcome| outcomes().filter(|&other| other == outcome).count();
        for verdict in Verdict::ALL {
            let wrong = self.wrong.get(&verdict).copied().unwrap_or(0);
            write!(out, "{} {wrong}, ", verdict.to_string().to_lowercase())?;
        }
        writeln!(
            out,
            "unreadable {}; {} of {} keys read ({} files), {} acked, {} unknown, {} failed operations, {} torn lines",
            self.unreadable,
            self.read,
            histories.len(),
            self.files,
            count(Outcome::Acked) + count(Outcome::Missing),
            count(Outcome::Unknown),
            count(Outcome::Refused),
            self.torn,
        )
    }
}
