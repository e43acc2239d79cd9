//! One file from a deployment to this machine: goes on where the connection broke or an earlier process ended, and checks what
//! came.

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};

use flotilla_api::FileName;
use flotilla_client::{Client, Download, FileInfo, Kind};
use flotilla_env::Entropy;
use futures::TryStreamExt;

use super::{
    backoff, blocking, file_failure, is_hash, part::Part, progress::Progress, sink::Sink, target::Folder, verify,
};
use crate::{
    exit::{Exit, Failure},
    output::stdout_failure,
};

/// How often a download goes on after breaks that come one upon the other; before each, the client itself tries for some
/// seconds. Together about a minute, which a restart of a whole cluster takes.
const BREAKS_MAX: u32 = 8;
/// A connection that brought so much was a good one, and a later break is the first one again.
const PROGRESS_BYTES: u64 = 1 << 20;
/// How often a download begins again because the file was replaced meanwhile, or what an earlier process left was wrong.
const STARTS_MAX: u32 = 5;

/// What is fetched, and with what.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    /// The client.
    pub client: &'a Client,
    /// The file.
    pub name: &'a FileName,
    /// Where bytes are counted.
    pub progress: &'a Progress,
    /// What spreads the waits.
    pub entropy: &'a dyn Entropy,
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What is known of it.
    pub info: FileInfo,
    /// Whether its bytes were compared with its ETag; an ETag over several trees can't be.
    pub verified: bool,
    /// How many bytes an earlier process had fetched.
    pub resumed_at: u64,
}

/// How the bytes of one version came to their end.
enum End {
    Whole,
    Replaced(Download),
}

impl Fetch<'_> {
    /// Fetches into a folder, under a name that is seen only when the file is whole and verified.
    ///
    /// # Durability
    /// The bytes are synced before they have the name.
    ///
    /// # Errors
    /// With exit code 8 where the bytes are not those of the ETag; nothing is left behind. With 4 where another process fetches to
    /// the same name.
    ///
    /// # Cancel safety
    /// What arrived of a larger file stays in its part, and the next call goes on with it.
    pub async fn to_file(self, folder: Folder, target: OsString) -> Result<Fetched, Failure> {
        let folder = Arc::new(folder);
        let path = folder.path_of(Path::new(&target));
        let here = |e: io::Error| file_failure(&path, &e);
        let open = target.clone();
        let mut part = blocking(move || Part::open(folder, &open)).await.map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => Failure::new(Exit::Precondition, "another command is fetching to this name")
                .about(path.display())
                .hint("wait for it, or name another file"),
            _ => here(e),
        })?;
        let fetched = self.fill(&mut part, here).await;
        match &fetched {
            Ok(_) => blocking(move || part.keep(Path::new(&target))).await.map_err(here)?,
            // There is nothing to go on with, or nothing that could be trusted.
            Err(failure) if matches!(failure.exit(), Exit::NotFound | Exit::Verification) => part.give_up(),
            Err(_) => {}
        }
        fetched
    }

    /// Fills the part until it has one whole content, verified.
    async fn fill(self, part: &mut Part, here: impl Fn(io::Error) -> Failure + Copy) -> Result<Fetched, Failure> {
        let mut download = match part.earlier(self.name) {
            Some(earlier) => self.client.get_rest(self.name, earlier.got, &earlier.etag).await?,
            None => self.client.get(self.name, None).await?,
        };
        for _ in 0..STARTS_MAX {
            let info = download.info.clone();
            let got = download.range.map_or(0, |(first, _)| first);
            let file = if got > 0 { part.go_on(got) } else { part.begin(self.name, &info.etag, info.size) };
            let mut sink = Sink::after(file.map_err(here)?, got);
            self.progress.inc(got);
            match self.receive(download, got, &mut sink, here).await? {
                End::Replaced(other) => {
                    // The writer must be done with the part before it is emptied.
                    sink.finish().await.map_err(here)?;
                    download = other;
                    continue;
                }
                End::Whole => {}
            }
            match verify(&info.etag, &sink.finish().await.map_err(here)?) {
                Ok(()) => return Ok(Fetched { verified: is_hash(&info.etag), info, resumed_at: got }),
                // What was left behind may have suffered (a power cut, say): only bytes of this process are blamed on the server.
                Err(_) if got > 0 => {
                    tracing::debug!(file = %self.name, got, "an unfinished download was wrong");
                    download = self.client.get(self.name, None).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::new(Exit::Unavailable, "the file is replaced again and again")
            .hint("fetch it when its writers rest"))
    }

    /// Fetches to stdout; whether the bytes were right is known only after they were written.
    ///
    /// # Errors
    /// With exit code 8 where the bytes are not those of the ETag.
    ///
    /// # Cancel safety
    /// A part may have been written.
    pub async fn to_stdout(self) -> Result<Fetched, Failure> {
        let download = self.client.get(self.name, None).await?;
        let info = download.info.clone();
        let mut sink = Sink::new(io::stdout());
        let here = |e: io::Error| stdout_failure(&e);
        match self.receive(download, 0, &mut sink, here).await? {
            End::Whole => {}
            End::Replaced(_) => {
                return Err(Failure::new(Exit::Unavailable, "the file was replaced while it was read")
                    .hint("stdout has a part of the old content: drop it and fetch again"));
            }
        }
        verify(&info.etag, &sink.finish().await.map_err(here)?)?;
        Ok(Fetched { verified: is_hash(&info.etag), info, resumed_at: 0 })
    }

    /// Passes the bytes on, of which `got` are there; after a break it asks for the rest of the same content.
    async fn receive(
        self,
        mut download: Download,
        mut got: u64,
        sink: &mut Sink,
        here: impl Fn(io::Error) -> Failure,
    ) -> Result<End, Failure> {
        let info = download.info.clone();
        let (mut breaks, mut unbroken) = (0, 0);
        loop {
            match download.body.try_next().await {
                Ok(Some(piece)) => {
                    let length = piece.len() as u64;
                    (got, unbroken) = (got + length, unbroken + length);
                    self.progress.inc(length);
                    sink.write(piece).await.map_err(&here)?;
                }
                Ok(None) => return Ok(End::Whole),
                Err(e) if e.kind() == Kind::Unavailable && got < info.size => {
                    breaks = if unbroken >= PROGRESS_BYTES { 0 } else { breaks };
                    if breaks == BREAKS_MAX {
                        return Err(e.into());
                    }
                    tracing::debug!(file = %self.name, got, breaks, "going on after a break");
                    tokio::time::sleep(backoff::wait(breaks, self.entropy.u64())).await;
                    (breaks, unbroken) = (breaks + 1, 0);
                    download = self.client.get_rest(self.name, got, &info.etag).await?;
                    if download.range.is_none() {
                        return Ok(End::Replaced(download));
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}
