//! One file from this machine to a deployment, checked against the ETag that comes back.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use flotilla_api::{FileName, RequestId};
use flotilla_client::{Client, Error, Put, PutBody, PutOptions};
use flotilla_env::Entropy;

use super::{
    backoff::{Restarts, Turns},
    blocking, file_failure,
    progress::Progress,
    source, verify,
};
use crate::exit::Failure;

/// Files up to this size are read whole, so that the client itself can send them again; eight of them at a time are 32 MiB.
const WHOLE_BYTES_MAX: u64 = 4 << 20;

/// What stores files, and how.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    /// The client.
    pub client: &'a Client,
    /// Conditions, and the id of the change if the user gave one.
    pub options: &'a PutOptions,
    /// Where bytes are counted.
    pub progress: &'a Progress,
    /// What ids and waits are made from.
    pub entropy: &'a dyn Entropy,
}

impl Store<'_> {
    /// Stores a file of this machine; a symbolic link only where `follow` is set.
    ///
    /// All tries have one Idempotency-Key, so that a try whose answer was lost is not a second change.
    ///
    /// # Durability
    /// As [`Client::put`].
    ///
    /// # Errors
    /// With exit code 8 where the server's ETag is not that of the bytes read; with 7 where no try said what became of an earlier
    /// one.
    ///
    /// # Cancel safety
    /// As [`Client::put`].
    pub async fn file(self, name: &FileName, path: &Path, follow: bool) -> Result<Put, Failure> {
        let here = |e: io::Error| file_failure(path, &e);
        let key = self.options.idempotency_key.clone().unwrap_or_else(|| RequestId::from_bits(self.entropy.u128()));
        let mut options = PutOptions { idempotency_key: Some(key), ..self.options.clone() };
        let (mut restarts, mut turns) = (Restarts::default(), Turns::new(options.ticket));
        loop {
            let result = match open_file(path.to_owned(), follow).await {
                Ok(Opened::Whole(bytes)) => return self.whole(name, bytes, &options).await,
                Ok(Opened::Large(file, length)) => self.piped(name, file, Some(length), &options).await,
                Err(e) => Err(Stopped::Client(Error::Source(e))),
            };
            let error = match result {
                Ok(put) => return Ok(put),
                Err(Stopped::Wrong(failure)) => return Err(failure),
                Err(Stopped::Client(error)) => match turns.after(error) {
                    Ok(ticket) => {
                        options.ticket = ticket;
                        continue;
                    }
                    Err(error) => error,
                },
            };
            match restarts.after(error, self.entropy.u64()) {
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(Error::Source(e)) => return Err(here(e)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stores what comes from stdin.
    ///
    /// # Errors
    /// As [`Store::file`]; nothing can be sent again.
    ///
    /// # Cancel safety
    /// As [`Client::put`].
    pub async fn stdin(self, name: &FileName) -> Result<Put, Failure> {
        match self.piped(name, io::stdin(), None, self.options).await {
            Ok(put) => Ok(put),
            Err(Stopped::Client(Error::Source(e))) => Err(Failure::local("stdin can't be read", &e)),
            Err(Stopped::Client(e)) => Err(e.into()),
            Err(Stopped::Wrong(failure)) => Err(failure),
        }
    }

    async fn whole(self, name: &FileName, bytes: Bytes, options: &PutOptions) -> Result<Put, Failure> {
        let put = self.client.put(name, PutBody::Bytes(bytes.clone()), options).await?;
        self.progress.inc(bytes.len() as u64);
        verify(&put.answer.etag, &blake3::hash(&bytes))?;
        Ok(put)
    }

    async fn piped(
        self,
        name: &FileName,
        reader: impl Read + Send + 'static,
        length: Option<u64>,
        options: &PutOptions,
    ) -> Result<Put, Stopped> {
        let (stream, hash) = source::stream(reader, self.progress.clone());
        let put = self.client.put(name, PutBody::Stream { stream, length }, options).await.map_err(Stopped::Client)?;
        // A reader whose bytes were all taken has reached its end.
        if let Ok(hash) = hash.await {
            verify(&put.answer.etag, &hash).map_err(Stopped::Wrong)?;
        }
        Ok(put)
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

async fn open_file(path: PathBuf, follow: bool) -> io::Result<Opened> {
    blocking(move || {
        let (file, length) = source::open(&path, follow)?;
        if length > WHOLE_BYTES_MAX {
            return Ok(Opened::Large(file, length));
        }
        source::read(file, length).map(Opened::Whole)
    })
    .await
}
