//! `flotilla get`: a file to stdout or to a name, or a tree of files to below a folder and nowhere else.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flotilla_api::{FileName, files::ListItem};
use flotilla_client::Client;
use flotilla_env::{Entropy, entropy};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::{
    cli::GetArgs,
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
    transfer::{
        batch, blocking,
        fetch::{Fetch, Fetched},
        file_failure, keys, paths,
        progress::Progress,
        same,
        target::Folder,
    },
};

/// Runs the command.
///
/// # Errors
/// Nothing, or the one file meant, was not fetched.
pub async fn run(args: GetArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let to_stdout = args.local == Path::new("-");
    if !args.recursive {
        let name = args.place.file()?;
        let done = if to_stdout { stdout(&session, &name).await } else { one(&session, &name, &args.local).await };
        return done.map(|()| Exit::Ok).map_err(|failure| failure.about(&name));
    }
    if to_stdout {
        return Err(Failure::new(Exit::Usage, "stdout takes one file; -r needs a folder"));
    }
    tree(&session, &args).await
}

async fn stdout(session: &Session, name: &FileName) -> Result<(), Failure> {
    // A bar would end up between the bytes where stdout is the same terminal.
    let (progress, entropy) = (Progress::hidden(), entropy::system());
    let fetch = Fetch { client: &session.client, name, progress: &progress, entropy: &*entropy };
    let fetched = fetch.to_stdout().await?;
    warn_of_unverified(session.report, name, &fetched);
    Ok(())
}

async fn one(session: &Session, name: &FileName, local: &Path) -> Result<(), Failure> {
    let (path, key) = (local.to_owned(), name.key.clone());
    let (folder, target) = blocking(move || place(&path, key.as_str())).await?;
    let path = folder.path_of(Path::new(&target));
    let (progress, entropy) = (shown(session, &name.to_string()), entropy::system());
    let fetch = Fetch { client: &session.client, name, progress: &progress, entropy: &*entropy };
    let fetched = fetch.to_file(folder, target).await;
    progress.clear();
    let fetched = fetched.map_err(|failure| match failure.exit() {
        Exit::Unavailable => failure.hint("the same command goes on from what has arrived"),
        _ => failure,
    })?;
    warn_of_unverified(session.report, name, &fetched);
    told(session.report, name, &fetched, &path)
}

/// Says what could not be verified.
fn warn_of_unverified(report: Report, name: &FileName, fetched: &Fetched) {
    if !fetched.verified {
        let (etag, size) = (&fetched.info.etag, fetched.info.size);
        report.warning(format_args!(
            "{name}: the ETag {etag} is not the hash of the whole content, so only its length of {size} bytes was compared"
        ));
    }
}

/// Finds the folder and the name for one file; a folder takes the file under the last segment of its key.
fn place(local: &Path, key: &str) -> Result<(Folder, OsString), Failure> {
    let here = |e: io::Error| file_failure(local, &e);
    if local.is_dir() {
        let last = key.rsplit('/').next().unwrap_or_default();
        let unfit = |e: paths::Error| Failure::new(Exit::Usage, e.to_string()).hint("name the file to write");
        let name = paths::segments(last).map_err(unfit)?.concat();
        return Ok((Folder::open(local).map_err(here)?, name.into()));
    }
    let name = local.file_name().ok_or_else(|| Failure::new(Exit::Usage, "it names no file").about(local.display()))?;
    Ok((Folder::open(local.parent().unwrap_or(Path::new("."))).map_err(here)?, name.to_owned()))
}

async fn tree(session: &Session, args: &GetArgs) -> Result<Exit, Failure> {
    let prefix = args.place.tree_prefix();
    let mut items = keys::below(session.client.clone(), args.place.bucket.clone(), prefix.clone());
    // The first item is taken before the folder is made: a typo in the key should not leave a folder behind.
    let Some(first) = items.try_next().await? else {
        return Err(Failure::new(Exit::NotFound, format!("no file's key begins with '{prefix}'")).about(&args.place));
    };
    let items = stream::iter([Ok(first)]).chain(items);
    let root = args.local.clone();
    let root = blocking(move || std::fs::create_dir_all(&root).and_then(|()| Folder::open(&root))).await;
    let root = Arc::new(root.map_err(|e| file_failure(&args.local, &e))?);

    let (progress, skipped) = (shown(session, ""), AtomicU64::new(0));
    let (report, bar, entropy) = (session.report, &progress, entropy::system());
    let tree = Tree { client: &session.client, prefix: &prefix, root: &root, bar, entropy: &*entropy };
    let skipped = &skipped;
    let each = |item: ListItem| async move {
        let name = FileName { bucket: args.place.bucket.clone(), key: item.key.clone() };
        let about = |failure: Failure| failure.about(&name);
        let (folder, target) = tree.place(&name).await.map_err(about)?;
        let path = folder.path_of(Path::new(&target));
        if !args.force && is_there(&folder, &target, &item).await {
            skipped.fetch_add(1, Ordering::Relaxed);
            let tell = || passed_by(&name, &item, &path);
            return if report.is_json() { bar.aside(tell) } else { Ok(()) };
        }
        let fetched = tree.fetch(&name).to_file(folder, target).await.map_err(about)?;
        bar.aside(|| warn_of_unverified(report, &name, &fetched));
        if report.is_json() { bar.aside(|| told(report, &name, &fetched, &path)) } else { Ok(()) }
    };
    let tally = batch::run(items, args.jobs.count(), report, bar, each).await;
    progress.clear();
    if !report.is_json() {
        let skipped = skipped.load(Ordering::Relaxed);
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        let there = if skipped > 0 { format!(", {skipped} were there already") } else { String::new() };
        let (fetched, size) = (tally.done - skipped, output::size(progress.position()));
        output::line(format_args!("{fetched} files ({size}) fetched to {}{there}{failed}", args.local.display()))?;
    }
    Ok(tally.exit())
}

/// Where the files of a tree come from and go to.
#[derive(Clone, Copy)]
struct Tree<'a> {
    client: &'a Client,
    prefix: &'a str,
    root: &'a Arc<Folder>,
    bar: &'a Progress,
    entropy: &'a dyn Entropy,
}

impl<'a> Tree<'a> {
    /// Finds the folder, made if it is missing, and the name for one file.
    async fn place(self, name: &FileName) -> Result<(Folder, OsString), Failure> {
        let key = name.key.as_str();
        // A server that lists other keys than it was asked for is not trusted with their paths.
        let relative = key.strip_prefix(self.prefix);
        let relative = relative.ok_or_else(|| Failure::new(Exit::Other, "the key was not asked for"))?;
        let unfit = |e: paths::Error| {
            Failure::new(Exit::Other, e.to_string()).hint("fetch it alone, and name the file to write")
        };
        let segments = paths::segments(relative).map_err(unfit)?;
        let (target, folders) = segments.split_last().expect("a text that is split has one part at least");
        let folders: Vec<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
        let root = self.root.clone();
        let folder = blocking(move || root.descend(&folders)).await;
        Ok((folder.map_err(|e| Failure::new(Exit::Other, e.to_string()))?, (*target).into()))
    }

    fn fetch<'f>(self, name: &'f FileName) -> Fetch<'f>
    where
        'a: 'f,
    {
        Fetch { client: self.client, name, progress: self.bar, entropy: self.entropy }
    }
}

/// Says whether a folder has the content already; a file that can't be read does not count.
async fn is_there(folder: &Folder, target: &OsStr, item: &ListItem) -> bool {
    let Ok(file) = folder.open_to_read(Path::new(target)) else { return false };
    let (size, etag) = (item.size, item.etag.clone());
    blocking(move || same::is_like(file, size, &etag)).await.unwrap_or(false)
}

/// Tells of a file that was not fetched.
fn passed_by(name: &FileName, item: &ListItem, local: &Path) -> Result<(), Failure> {
    output::json(&json!({
        "bucket": name.bucket, "key": name.key, "size": item.size, "etag": item.etag, "version": item.version,
        "skipped": true, "local": local,
    }))
}

fn shown(session: &Session, message: &str) -> Progress {
    if session.report.is_json() { Progress::hidden() } else { Progress::bytes(None, message) }
}

fn told(report: Report, name: &FileName, fetched: &Fetched, path: &Path) -> Result<(), Failure> {
    let info = &fetched.info;
    if report.is_json() {
        let mut line = super::stat::json(name, info);
        line["local"] = path.display().to_string().into();
        line["verified"] = fetched.verified.into();
        line["resumed_at"] = fetched.resumed_at.into();
        return output::json(&line);
    }
    let resumed = match fetched.resumed_at {
        0 => String::new(),
        got => format!(" (of which {} were here)", output::size(got)),
    };
    output::line(format_args!("{} written, {}{resumed}, ETag {}", path.display(), output::size(info.size), info.etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_a_file_under_the_last_segment_of_its_key() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(place(folder.path(), "a/b.txt").expect("a good key").1, "b.txt");
        assert_eq!(place(&folder.path().join("c.txt"), "a/b.txt").expect("a good name").1, "c.txt");
        assert!(place(folder.path(), "a/").is_err());
        assert!(place(&folder.path().join("none/c.txt"), "a").is_err());
    }
}
