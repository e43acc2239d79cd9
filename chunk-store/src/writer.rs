//! Writes one chunk: takes bytes as they come, and makes them durable under their name at the end.

use std::{io::IoSlice, path::PathBuf, sync::Arc};

use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_env::{
    blocking,
    disk::{Cause, DIRECT_ALIGN, Disk, DiskFile},
};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    buffers::{Buffer, Buffers},
    claims::Claim,
    error::Error,
    format::{self, Header},
    names::shelf_of,
    store::Inner,
    sums::{self, Sums},
};

/// How many bytes are collected before they go to the disk: enough that the hop to a blocking thread costs little.
///
/// # Bounds
/// A writer holds at most two batches: one is collected while the other is written.
pub const BATCH_BYTES: usize = 1 << 20;

/// Chunks that may be longer than this are written, and first read, past the page cache: its fresh pages cost more than all else
/// of a large upload, while a small chunk is likely to be read soon and whole.
pub(crate) const DIRECT_OVER_BYTES: u64 = 1 << 20;

/// How many bytes are written before their writeback is started, so that the sync at the end finds little left to do.
const WRITEBACK_BYTES: u64 = 2 << 20;

/// What was stored: the facts that replicas of a chunk have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Length of the data in bytes.
    pub length: u64,
    /// CRC32C over the blocks' CRC32C values, see [`Sums::finish`].
    pub crc: u32,
}

/// Takes the bytes of one chunk. Dropped before [`Writer::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    state: State,
    buffers: Arc<Buffers>,
    /// What is collected, and how much of it.
    batch: Option<Buffer>,
    batch_bytes: usize,
    sums: Sums,
    limit_bytes: u64,
}

#[derive(Debug)]
enum State {
    Idle(Box<Body>),
    Busy(JoinHandle<Result<Box<Body>, Error>>),
    Gone,
}

/// A chunk that is being written; lives on blocking threads. Dropped, it takes its temporary file away, then frees its id.
#[derive(Debug)]
pub(crate) struct Body {
    store: Arc<Inner>,
    file: Arc<dyn DiskFile>,
    temporary: Temporary, // before `claim`: the name must be free before the id is
    claim: Claim,
    id: ChunkId,
    tree_offset: u64,
    direct: bool,
    writeback_from: u64,
    reserved_bytes: u64,
}

/// The end of a chunk: what is left to be written, where, and the checksums of all.
#[derive(Debug)]
struct End {
    batch: Buffer,
    batch_bytes: usize,
    sums: Sums,
    cv: [u8; 32],
}

/// The most that follows a chunk's data from the next page on, see [`mod@format`].
const TAIL_MAX: usize = 2 * DIRECT_ALIGN;

#[derive(Debug)]
struct Temporary {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    renamed: bool,
}

/// One who waits for the round that makes a chunk's name durable.
#[derive(Debug)]
pub(crate) struct Waiter {
    claim: Claim,
    id: ChunkId,
    stored: Stored,
    file_bytes: u64,
    done: oneshot::Sender<Result<Stored, Error>>,
}

impl Writer {
    pub(crate) fn new(body: Body) -> Self {
        let (buffers, limit_bytes) = (body.store.buffers.clone(), body.reserved_bytes);
        let state = State::Idle(Box::new(body));
        Self { state, buffers, batch: None, batch_bytes: 0, sums: Sums::new(), limit_bytes }
    }

    /// Takes the next bytes of the chunk; waits while the disk is more than a batch behind.
    ///
    /// # Errors
    /// Invalid if there are more bytes than were reserved (nothing is taken then); Full, Poisoned and Closed end the writer.
    /// An error may be that of an earlier piece.
    ///
    /// # Durability
    /// None; the bytes are buffered or written.
    ///
    /// # Cancel safety
    /// A dropped future may have taken the bytes or not: drop the writer too.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.len() as u64 > self.limit_bytes - self.sums.length() {
            return Err(Error::Invalid("the chunk is longer than reserved"));
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let batch = self.batch.get_or_insert_with(|| self.buffers.take(batch_room(self.limit_bytes)));
            let (part, later) = rest.split_at(rest.len().min(BATCH_BYTES - self.batch_bytes));
            batch[self.batch_bytes..][..part.len()].copy_from_slice(part);
            self.sums.update(part); // here, where the bytes are still in the processor's cache
            self.batch_bytes += part.len();
            rest = later;
            // The last batch waits for what follows the data, which goes with it.
            if self.batch_bytes == BATCH_BYTES && self.sums.length() < self.limit_bytes {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Ends the chunk; `cv` is the BLAKE3 chaining value of its bytes at its offset in its tree, kept for scrubs.
    ///
    /// # Errors
    /// Invalid for a chunk without bytes; Full, Poisoned, Closed. The chunk is then not acked: after a restart it is absent or,
    /// if only the sync of its name failed, perhaps there and whole.
    ///
    /// # Durability
    /// Ok: bytes, header and name are synced.
    ///
    /// # Cancel safety
    /// A dropped future leaves the chunk absent or whole; it becomes visible only if it was synced.
    pub async fn finish(mut self, cv: [u8; 32]) -> Result<Stored, Error> {
        let body = self.body().await?;
        if self.sums.length() == 0 {
            return Err(Error::Invalid("a chunk has at least one byte"));
        }
        let batch = self.batch.take().unwrap_or_else(|| self.buffers.take(batch_room(0)));
        let end = End { batch, batch_bytes: self.batch_bytes, sums: std::mem::take(&mut self.sums), cv };
        let (done, wait) = oneshot::channel();
        blocking::spawn(move || body.seal(end, done));
        wait.await.unwrap_or(Err(Error::Closed))
    }

    /// Hands the collected batch to a blocking thread, after the batch before it.
    async fn flush(&mut self) -> Result<(), Error> {
        let body = self.body().await?;
        let Some(mut batch) = self.batch.take() else {
            self.state = State::Idle(body);
            return Ok(());
        };
        batch.truncate(self.batch_bytes);
        let offset = self.sums.length() - self.batch_bytes as u64;
        self.batch_bytes = 0;
        self.state = State::Busy(blocking::spawn(move || body.write(offset, &batch)));
        Ok(())
    }

    /// Takes the body out of the writer once it is idle; the caller puts it back without a pause between.
    async fn body(&mut self) -> Result<Box<Body>, Error> {
        if let State::Busy(job) = &mut self.state {
            let result = job.await;
            self.state = State::Gone;
            self.state = State::Idle(result.unwrap_or(Err(Error::Closed))?);
        }
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(body) => Ok(body),
            State::Busy(_) | State::Gone => Err(Error::Closed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Gone);
        if matches!(state, State::Gone) {
            return;
        }
        // Dropping a body unlinks a file, which is no work for an async thread.
        match tokio::runtime::Handle::try_current() {
            Ok(_) => drop(blocking::spawn(move || drop(state))),
            Err(_) => drop(state),
        }
    }
}

impl Body {
    /// Makes the temporary file and sets its space aside; blocks.
    pub(crate) fn create(
        store: Arc<Inner>,
        mut claim: Claim,
        id: ChunkId,
        tree_offset: u64,
        reserved_bytes: u64,
    ) -> Result<Self, Error> {
        flotilla_env::failpoint!("chunks.before_create", |arg| Err(store
            .health
            .judge("create a chunk", flotilla_env::failpoint::io_error(arg))));
        let path = store.names.temporary(id);
        let file = match store.disk.create(&path) {
            // Its owner is gone, since the claim is ours: a removal failed.
            Err(error) if Cause::of(&error) == Cause::Exists => {
                store.disk.remove(&path).and_then(|()| store.disk.create(&path))
            }
            result => result,
        };
        let file = file.map_err(|error| store.health.judge("create a chunk", error))?;
        let temporary = Temporary { disk: store.disk.clone(), path, renamed: false };
        let space = file.allocate(format::file_length(reserved_bytes));
        space.map_err(|error| store.health.judge("reserve space for a chunk", error))?;
        claim.allocated();
        let direct = reserved_bytes > DIRECT_OVER_BYTES;
        Ok(Self { store, file, temporary, claim, id, tree_offset, direct, writeback_from: 0, reserved_bytes })
    }

    /// Writes a full batch; blocks.
    fn write(mut self: Box<Self>, offset: u64, batch: &[u8]) -> Result<Box<Self>, Error> {
        self.store.health.check()?;
        self.put(offset, batch)?;
        let until = offset + batch.len() as u64;
        // Needed where direct writes are refused; elsewhere there is nothing to start, which costs a microsecond.
        if until - self.writeback_from >= WRITEBACK_BYTES {
            let started = self.file.start_writeback(self.writeback_from, until - self.writeback_from);
            started.map_err(|error| self.store.health.judge("start writeback of a chunk", error))?;
            self.writeback_from = until;
        }
        Ok(self)
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        flotilla_env::failpoint!("chunks.before_write", |arg| Err(self
            .store
            .health
            .judge("write a chunk", flotilla_env::failpoint::io_error(arg))));
        let written = match self.direct {
            true => self.file.write_direct(offset, bytes),
            false => self.file.write_at(offset, &[IoSlice::new(bytes)]),
        };
        written.map_err(|error| self.store.health.judge("write a chunk", error))
    }

    /// Writes the last batch and all that follows the data. Together they end on a page, as a direct write must.
    fn end(&self, mut end: End) -> Result<Header, Error> {
        let length = end.sums.length();
        let list = end.sums.into_list();
        let header =
            Header { id: self.id, tree_offset: self.tree_offset, length, cv: end.cv, crc: sums::of_list(&list) };
        let tail = format::encode_tail(&header, &list);
        end.batch[end.batch_bytes..][..tail.len()].copy_from_slice(&tail);
        end.batch.truncate(end.batch_bytes + tail.len());
        self.put(length - end.batch_bytes as u64, &end.batch)?;
        Ok(header)
    }

    /// Makes the chunk durable and answers; blocks. An answer of failure comes after the temporary file is gone.
    fn seal(self, end: End, done: oneshot::Sender<Result<Stored, Error>>) {
        let (store, id) = (self.store.clone(), self.id);
        let (claim, stored) = match self.publish(end) {
            Ok(published) => published,
            Err(error) => return drop(done.send(Err(error))), // the asker may have gone
        };
        let waiter = Waiter { claim, id, stored, file_bytes: format::file_length(stored.length), done };
        let shelf = shelf_of(id);
        let sync = || {
            store.health.check()?;
            flotilla_env::failpoint!("chunks.before_dir_sync", |arg| Err(store
                .health
                .poison("sync a folder", &flotilla_env::failpoint::io_error(arg))));
            store.health.sync_dir(&store.names.shelf(shelf))?;
            flotilla_env::failpoint!("chunks.after_dir_sync", |arg| Err(store
                .health
                .poison("sync a folder", &flotilla_env::failpoint::io_error(arg))));
            store.health.check()
        };
        store.lanes[usize::from(shelf)].join(waiter, sync, |waiter, synced: &Result<(), Error>| {
            waiter.answer(&store, synced.is_ok());
        });
    }

    /// Writes what is left, syncs the data and gives the chunk its name. Only then may it join a round.
    fn publish(mut self, end: End) -> Result<(Claim, Stored), Error> {
        let store = self.store.clone();
        let health = &store.health;
        health.check()?;
        let header = self.end(end)?;
        let file_bytes = format::file_length(header.length);
        if file_bytes < format::file_length(self.reserved_bytes) {
            let cut = self.file.set_len(file_bytes); // gives back what was reserved beyond the end
            cut.map_err(|error| health.judge("cut a chunk's reservation", error))?;
        }
        flotilla_env::failpoint!("chunks.before_sync", |arg| Err(
            health.judge("sync a chunk", flotilla_env::failpoint::io_error(arg))
        ));
        health.sync_file(&*self.file)?;
        health.check()?;
        flotilla_env::failpoint!("chunks.before_rename", |arg| Err(
            health.judge("rename a chunk", flotilla_env::failpoint::io_error(arg))
        ));
        let to = store.names.chunk(self.id);
        store.disk.rename(&self.temporary.path, &to).map_err(|error| health.judge("rename a chunk", error))?;
        self.temporary.renamed = true;
        Ok((self.claim, Stored { length: header.length, crc: header.crc }))
    }
}

/// Gives how long a batch's buffer is: the batch, or all of a smaller chunk, and the pages that follow the data.
fn batch_room(limit_bytes: u64) -> usize {
    let data = usize::try_from(limit_bytes).map_or(BATCH_BYTES, |limit| limit.min(BATCH_BYTES));
    data.next_multiple_of(DIRECT_ALIGN) + TAIL_MAX
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "temporary file of a chunk stays until the next start");
        }
    }
}

impl Waiter {
    fn answer(self, store: &Inner, synced: bool) {
        let answer = if synced {
            store.counts.add(self.claim.id(), self.file_bytes);
            store.trust.forget(self.id); // what an earlier copy under this id was like
            store.trust.prove(self.id, self.stored.crc);
            drop(self.claim); // visible from here on
            Ok(self.stored)
        } else {
            self.claim.hide();
            Err(Error::Poisoned)
        };
        let _ = self.done.send(answer); // the asker may have gone; the chunk stays, synced and visible
    }
}
