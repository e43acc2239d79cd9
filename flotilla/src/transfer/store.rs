//! One file from this machine to a deployment, checked against the ETag that comes back.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use flotilla_api::FileName;
use flotilla_client::{Client, Error, Kind, Put, PutBody, PutOptions};

use super::{blocking, file_failure, progress::Progress, source, verify};
use crate::exit::Failure;

/// Files up to this size are read whole, so that the client itself can send them again; eight of them at a time are 32 MiB.
const WHOLE_BYTES_MAX: u64 = 4 << 20;
/// How often a larger file is begun again after a server was lost: one change of leaders and one lost gateway.
const RESTARTS_MAX: u32 = 3;
/// The first wait before that; it doubles.
const RESTART_WAIT: Duration = Duration::from_millis(500);

/// Stores a file of this machine; a symbolic link only where `follow` is set.
///
/// # Durability
/// As [`Client::put`].
///
/// # Errors
/// With exit code 8 where the server's ETag is not that of the bytes read.
///
/// # Cancel safety
/// As [`Client::put`].
pub async fn file(
    client: &Client,
    name: &FileName,
    path: &Path,
    follow: bool,
    options: &PutOptions,
    progress: &Progress,
) -> Result<Put, Failure> {
    let here = |e: io::Error| file_failure(path, &e);
    let mut restarts = 0;
    loop {
        let result = match open(path.to_owned(), follow).await.map_err(here)? {
            Opened::Whole(bytes) => return whole(client, name, bytes, options, progress).await,
            Opened::Large(file, length) => piped(client, name, file, Some(length), options, progress).await,
        };
        match result {
            // Nothing was stored, so the upload can begin again, under a new key if the caller gave none.
            Err(Stopped::Client(e)) if e.kind() == Kind::Unavailable && restarts < RESTARTS_MAX => {
                tokio::time::sleep(RESTART_WAIT * (1 << restarts)).await;
                restarts += 1;
            }
            Err(Stopped::Client(Error::Source(e))) => return Err(here(e)),
            Err(Stopped::Client(e)) => return Err(e.into()),
            Err(Stopped::Wrong(failure)) => return Err(failure),
            Ok(put) => return Ok(put),
        }
    }
}

/// Stores what comes from stdin.
///
/// # Errors
/// As [`file()`]; nothing can be sent again.
///
/// # Cancel safety
/// As [`Client::put`].
pub async fn stdin(
    client: &Client,
    name: &FileName,
    options: &PutOptions,
    progress: &Progress,
) -> Result<Put, Failure> {
    match piped(client, name, io::stdin(), None, options, progress).await {
        Ok(put) => Ok(put),
        Err(Stopped::Client(Error::Source(e))) => Err(Failure::local("stdin can't be read", &e)),
        Err(Stopped::Client(e)) => Err(e.into()),
        Err(Stopped::Wrong(failure)) => Err(failure),
    }
}

enum Opened {
    Whole(Bytes),
    Large(std::fs::File, u64),
}

enum Stopped {
    Client(Error),
    Wrong(Failure),
}

async fn open(path: PathBuf, follow: bool) -> io::Result<Opened> {
    blocking(move || {
        let (file, length) = source::open(&path, follow)?;
        if length > WHOLE_BYTES_MAX {
            return Ok(Opened::Large(file, length));
        }
        source::read(file, length).map(Opened::Whole)
    })
    .await
}

async fn whole(
    client: &Client,
    name: &FileName,
    bytes: Bytes,
    options: &PutOptions,
    progress: &Progress,
) -> Result<Put, Failure> {
    let put = client.put(name, PutBody::Bytes(bytes.clone()), options).await?;
    progress.inc(bytes.len() as u64);
    verify(&put.answer.etag, &blake3::hash(&bytes))?;
    Ok(put)
}

async fn piped(
    client: &Client,
    name: &FileName,
    reader: impl Read + Send + 'static,
    length: Option<u64>,
    options: &PutOptions,
    progress: &Progress,
) -> Result<Put, Stopped> {
    let (stream, hash) = source::stream(reader, progress.clone());
    let put = client.put(name, PutBody::Stream { stream, length }, options).await.map_err(Stopped::Client)?;
    // A reader whose bytes were all taken has reached its end.
    if let Ok(hash) = hash.await {
        verify(&put.answer.etag, &hash).map_err(Stopped::Wrong)?;
    }
    Ok(put)
}
