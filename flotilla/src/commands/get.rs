//! `flotilla get`: a file to stdout or to a name, or a tree of files to below a folder and nowhere else.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use flotilla_api::{FileName, files::ListItem};
use flotilla_client::{Client, FileInfo};
use flotilla_env::{Entropy, entropy};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    cli::GetArgs,
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
    transfer::{batch, blocking, fetch, file_failure, keys, paths, progress::Progress, target::Folder},
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
    fetch::to_stdout(&session.client, name, &Progress::hidden()).await.map(drop)
}

async fn one(session: &Session, name: &FileName, local: &Path) -> Result<(), Failure> {
    let (path, key) = (local.to_owned(), name.key.clone());
    let (folder, target) = blocking(move || place(&path, key.as_str())).await?;
    let path = folder.path_of(Path::new(&target));
    let progress = shown(session, &name.to_string());
    let info = fetch::to_file(&session.client, name, folder, target, &progress, &*entropy::system()).await;
    progress.clear();
    told(session.report, name, &info?, &path)
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

    let progress = shown(session, "");
    let (report, bar, entropy) = (session.report, &progress, entropy::system());
    let (root, prefix, entropy) = (&root, prefix.as_str(), &*entropy);
    let each = |item: ListItem| async move {
        let name = FileName { bucket: args.place.bucket.clone(), key: item.key };
        let fetched = below(&session.client, &name, prefix, root, bar, entropy).await;
        let (info, path) = fetched.map_err(|failure| failure.about(&name))?;
        if report.is_json() { bar.aside(|| told(report, &name, &info, &path)) } else { Ok(()) }
    };
    let tally = batch::run(items, args.jobs.count(), report, bar, each).await;
    progress.clear();
    if !report.is_json() {
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        let size = output::size(progress.position());
        output::line(format_args!("{} files ({size}) fetched to {}{failed}", tally.done, args.local.display()))?;
    }
    Ok(tally.exit())
}

/// Fetches one file of a tree.
async fn below(
    client: &Client,
    name: &FileName,
    prefix: &str,
    root: &Arc<Folder>,
    progress: &Progress,
    entropy: &dyn Entropy,
) -> Result<(FileInfo, PathBuf), Failure> {
    let key = name.key.as_str();
    // A server that lists other keys than it was asked for is not trusted with their paths.
    let relative = key.strip_prefix(prefix).ok_or_else(|| Failure::new(Exit::Other, "the key was not asked for"))?;
    let segments = paths::segments(relative).map_err(|e| Failure::new(Exit::Other, e.to_string()))?;
    let (target, folders) = segments.split_last().expect("a text that is split has one part at least");
    let folders: Vec<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
    let root = root.clone();
    let folder = blocking(move || root.descend(&folders)).await;
    let folder = folder.map_err(|e| Failure::new(Exit::Other, e.to_string()))?;
    let path = folder.path_of(Path::new(target));
    let info = fetch::to_file(client, name, folder, (*target).into(), progress, entropy).await?;
    Ok((info, path))
}

fn shown(session: &Session, message: &str) -> Progress {
    if session.report.is_json() { Progress::hidden() } else { Progress::bytes(None, message) }
}

fn told(report: Report, name: &FileName, info: &FileInfo, path: &Path) -> Result<(), Failure> {
    if report.is_json() {
        let mut line = super::stat::json(name, info);
        line["local"] = path.display().to_string().into();
        return output::json(&line);
    }
    output::line(format_args!("{} written, {}, ETag {}", path.display(), output::size(info.size), info.etag))
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
