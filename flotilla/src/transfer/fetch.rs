//! One file from a deployment to this machine: goes on where the connection broke, and checks what came.

use std::{ffi::OsString, io, path::Path, sync::Arc};

use flotilla_api::FileName;
use flotilla_client::{ByteRange, Client, Download, FileInfo, Kind};
use flotilla_env::Entropy;
use futures::TryStreamExt;

use super::{
    blocking, file_failure,
    progress::Progress,
    sink::{Sink, Temporary},
    target::Folder,
    verify,
};
use crate::{
    exit::{Exit, Failure},
    output::stdout_failure,
};

/// How often one download goes on after its connection broke; each time the client itself tries for some seconds.
const RESUMES_MAX: u32 = 10;

/// Fetches a file into a folder, under a name that is seen only when the file is whole.
///
/// # Durability
/// Written, not synced.
///
/// # Errors
/// With exit code 8 where the bytes are not those of the ETag; nothing is left behind.
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn to_file(
    client: &Client,
    name: &FileName,
    folder: Folder,
    target: OsString,
    progress: &Progress,
    entropy: &dyn Entropy,
) -> Result<FileInfo, Failure> {
    let download = client.get(name, None).await?;
    let folder = Arc::new(folder);
    let path = folder.path_of(Path::new(&target));
    let here = |e: io::Error| file_failure(&path, &e);
    let random = entropy.u64();
    let (temporary, file) = blocking(move || Temporary::create(folder, random)).await.map_err(here)?;
    let mut sink = Sink::new(file);
    let info = receive(client, name, download, &mut sink, progress, here).await?;
    verify(&info.etag, &sink.finish().await.map_err(here)?)?;
    blocking(move || temporary.keep(Path::new(&target))).await.map_err(here)?;
    Ok(info)
}

/// Fetches a file to stdout; whether the bytes were right is known only after they were written.
///
/// # Errors
/// With exit code 8 where the bytes are not those of the ETag.
///
/// # Cancel safety
/// A part may have been written.
pub async fn to_stdout(client: &Client, name: &FileName, progress: &Progress) -> Result<FileInfo, Failure> {
    let download = client.get(name, None).await?;
    let mut sink = Sink::new(io::stdout());
    let here = |e: io::Error| stdout_failure(&e);
    let info = receive(client, name, download, &mut sink, progress, here).await?;
    verify(&info.etag, &sink.finish().await.map_err(here)?)?;
    Ok(info)
}

async fn receive(
    client: &Client,
    name: &FileName,
    mut download: Download,
    sink: &mut Sink,
    progress: &Progress,
    here: impl Fn(io::Error) -> Failure,
) -> Result<FileInfo, Failure> {
    let info = download.info.clone();
    let (mut got, mut resumes) = (0, 0);
    loop {
        match download.body.try_next().await {
            Ok(Some(piece)) => {
                got += piece.len() as u64;
                progress.inc(piece.len() as u64);
                sink.write(piece).await.map_err(&here)?;
            }
            Ok(None) => return Ok(info),
            Err(e) if e.kind() == Kind::Unavailable && got < info.size && resumes < RESUMES_MAX => {
                resumes += 1;
                tracing::debug!(file = %name, got, "going on after a break");
                download = rest(client, name, &info, got).await?;
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Asks for what is missing of the same version.
async fn rest(client: &Client, name: &FileName, info: &FileInfo, got: u64) -> Result<Download, Failure> {
    let download = client.get(name, Some(ByteRange::Span { first: got, last: None })).await?;
    let same = download.info.etag == info.etag && download.info.version == info.version;
    match download.range {
        Some((first, last)) if same && first == got && last + 1 == info.size => Ok(download),
        Some(_) | None => Err(Failure::new(Exit::Unavailable, "the file was replaced while it was read")
            .hint("fetch it again for the new content")),
    }
}
