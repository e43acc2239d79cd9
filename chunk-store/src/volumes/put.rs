//! Collects the bytes of one chunk that becomes a record. Memory only: nothing of it touches the disk before its group does.

use bytes::{Bytes, BytesMut};
use flotilla_api::ChunkId;
use tokio::sync::oneshot;

use super::{
    Promise,
    queue::{Job, Put},
    record::Kind,
};
use crate::{
    claims::Claim,
    error::Error,
    store::ChunkStore,
    sums::{self, Sums},
    writer::Stored,
};

/// How many pieces a record is written from: more are copied together first, so that a group's list of pieces stays short.
const PARTS_MAX: usize = 64;

/// Takes the bytes of one chunk. Dropped before [`RecordWriter::finish`], it leaves nothing behind.
///
/// # Bounds
/// Holds at most the chunk, [`super::RECORD_BYTES_MAX`].
#[derive(Debug)]
pub(crate) struct RecordWriter {
    store: ChunkStore,
    claim: Claim,
    promise: Promise,
    id: ChunkId,
    tree_offset: u64,
    limit_bytes: u64,
    parts: Vec<Bytes>,
    sums: Sums,
}

impl RecordWriter {
    pub(crate) fn new(
        store: ChunkStore,
        claim: Claim,
        promise: Promise,
        id: ChunkId,
        tree_offset: u64,
        limit_bytes: u64,
    ) -> Self {
        Self { store, claim, promise, id, tree_offset, limit_bytes, parts: Vec::new(), sums: Sums::new() }
    }

    pub(crate) fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.sums.length() + bytes.len() as u64 > self.limit_bytes {
            return Err(Error::Invalid("the chunk is longer than reserved"));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.sums.update(&bytes);
        self.parts.push(bytes);
        if self.parts.len() >= PARTS_MAX {
            let mut whole = BytesMut::with_capacity(self.parts.iter().map(Bytes::len).sum());
            self.parts.drain(..).for_each(|part| whole.extend_from_slice(&part));
            self.parts.push(whole.freeze());
        }
        Ok(())
    }

    pub(crate) async fn finish(self, cv: [u8; 32]) -> Result<Stored, Error> {
        let length = self.sums.length();
        if length == 0 {
            return Err(Error::Invalid("a chunk has at least one byte"));
        }
        let sums = self.sums.into_list();
        let stored = Stored { length, crc: sums::of_list(&sums) };
        let (done, wait) = oneshot::channel();
        let put = Put {
            id: self.id,
            kind: Kind::Chunk { id: self.id, tree_offset: self.tree_offset, cv },
            sums,
            parts: self.parts,
            stored,
            claim: self.claim,
            promise: self.promise,
            done,
        };
        self.store.0.volumes.push(Job::Put(Box::new(put)));
        let stored = wait.await.unwrap_or(Err(Error::Closed))?;
        self.store.0.trust.forget(self.id); // what an earlier copy under this id was like
        self.store.0.trust.prove(self.id, stored.crc);
        Ok(stored)
    }
}
