//! `flotilla cp` and `flotilla mv`: files of a deployment under other names; a source goes in the moment its copy comes, or after
//! the copy was acked.

use flotilla_api::{
    Code, FileName,
    files::{ListItem, PutAnswer},
};
use flotilla_client::{Client, CopyOptions, DeleteOptions, Put};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::{
    cli::{CopyArgs, Place},
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
    transfer::{batch, keys, progress::Progress},
};

/// What becomes of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It stays.
    Keep,
    /// It is deleted, if it is still what was copied.
    Delete,
}

/// Runs the command.
///
/// # Errors
/// Nothing, or the one file meant, was not copied.
pub async fn run(args: CopyArgs, then: Then) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let options = CopyOptions { if_none_match: args.if_none_match.clone(), ..CopyOptions::default() };
    let report = session.report;
    let progress = if report.is_json() { Progress::hidden() } else { Progress::bytes(None, "") };
    let work = Work { client: &session.client, options: &options, progress: &progress, then };
    if !args.recursive {
        let (from, to) = (args.from.file()?, target(&args.from, &args.to)?);
        let done = work.one(&from, &to).await;
        progress.clear();
        told(report, then, &done.map_err(|failure| failure.about(&from))?)?;
        return Ok(Exit::Ok);
    }
    let (from, to) = (args.from.tree_prefix(), args.to.tree_prefix());
    if args.from.bucket == args.to.bucket && (from.starts_with(&to) || to.starts_with(&from)) {
        let failure = Failure::new(Exit::Usage, "one of the two trees lies in the other").about(&args.from);
        return Err(failure.hint("name a tree beside it, and move it from there"));
    }
    let mut items = keys::below(session.client.clone(), args.from.bucket.clone(), from.clone());
    let Some(first) = items.try_next().await.map_err(|failure| failure.about(&args.from))? else {
        return Err(Failure::new(Exit::NotFound, format!("no file's key begins with '{from}'")).about(&args.from));
    };
    let items = stream::iter([Ok(first)]).chain(items);
    let (args, bar, prefix, to) = (&args, &progress, from.as_str(), to.as_str());
    let each = |item: ListItem| async move {
        let source = FileName { bucket: args.from.bucket.clone(), key: item.key };
        let asked_for = source.key.as_str().strip_prefix(prefix);
        let rest = asked_for.ok_or_else(|| Failure::new(Exit::Other, "the key was not asked for").about(&source))?;
        let target = args.to.under(&format!("{to}{rest}"))?;
        let done = work.one(&source, &target).await.map_err(|failure| failure.about(&source))?;
        if report.is_json() { bar.aside(|| told(report, then, &done)) } else { Ok(()) }
    };
    let tally = batch::run(items, args.jobs.count(), report, bar, each).await;
    progress.clear();
    if !report.is_json() {
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        output::line(format_args!("{} files {} to {}{failed}", tally.done, then.word(), args.to))?;
    }
    Ok(tally.exit())
}

impl Then {
    fn word(self) -> &'static str {
        match self {
            Self::Keep => "copied",
            Self::Delete => "moved",
        }
    }
}

/// What every file is copied with.
#[derive(Clone, Copy)]
struct Work<'a> {
    client: &'a Client,
    options: &'a CopyOptions,
    progress: &'a Progress,
    then: Then,
}

/// A copy that was acked.
struct Done {
    from: FileName,
    answer: PutAnswer,
}

impl Work<'_> {
    async fn one(self, from: &FileName, to: &FileName) -> Result<Done, Failure> {
        if from == to {
            return Err(Failure::new(Exit::Usage, "source and target are the same file"));
        }
        let put = match self.then {
            Then::Keep => self.client.copy(from, to, self.options).await?,
            Then::Delete => match self.client.move_file(from, to, self.options).await {
                // They are at home in different clusters, which have no moment in common.
                Err(e) if e.problem().is_some_and(|problem| problem.code == Code::Conflict) => {
                    self.copy_then_delete(from, to).await?
                }
                moved => moved?,
            },
        };
        self.progress.inc(put.answer.size);
        Ok(Done { from: from.clone(), answer: put.answer })
    }

    /// Moves in two steps, of which each leaves the content under a name: what was written to the source meanwhile is in no copy,
    /// so only what was copied is deleted.
    async fn copy_then_delete(self, from: &FileName, to: &FileName) -> Result<Put, Failure> {
        let put = self.client.copy(from, to, self.options).await?;
        let options = DeleteOptions { if_match: Some(put.answer.etag.clone()), ..DeleteOptions::default() };
        self.client
            .delete(from, &options)
            .await
            .map_err(|e| Failure::from(e).hint(format!("the copy {to} is whole and the source is still there")))?;
        Ok(put)
    }
}

/// Gives the name of the copy; a bucket alone, or a key with a slash at its end, takes the source's last segment.
fn target(from: &Place, to: &Place) -> Result<FileName, Failure> {
    if to.key.is_empty() || to.key.ends_with('/') {
        let last = from.key.rsplit('/').next().unwrap_or_default();
        return to.under(&format!("{}{last}", to.key));
    }
    to.file()
}

fn told(report: Report, then: Then, done: &Done) -> Result<(), Failure> {
    let answer = &done.answer;
    if report.is_json() {
        let mut line = serde_json::to_value(answer).map_err(|e| Failure::local("the answer", &e))?;
        line["from"] = json!(done.from.to_string());
        line["moved"] = (then == Then::Delete).into();
        return output::json(&line);
    }
    let (bucket, key, size) = (&answer.bucket, &answer.key, output::size(answer.size));
    output::line(format_args!("{} {} to {bucket}/{key}, {size}, ETag {}", done.from, then.word(), answer.etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_like_target_takes_the_last_segment() {
        let place = |text: &str| text.parse::<Place>().expect("a good place");
        let name = |from, to| target(&place(from), &place(to)).expect("a good key").to_string();
        assert_eq!(name("demo/a/b", "demo/c"), "demo/c");
        assert_eq!(name("demo/a/b", "demo/c/"), "demo/c/b");
        assert_eq!(name("demo/a/b", "other"), "other/b");
    }
}
