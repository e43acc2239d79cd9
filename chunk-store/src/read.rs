//! Reads chunks, and believes no byte before its checksum agreed.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use blake3::hazmat::HasherExt;
use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_env::disk::{Cause, DiskFile};

use crate::{
    buffers::{Buffer, POOLED_BYTES},
    error::{Error, Flaw},
    format::{self, CHUNK_BYTES_MAX, HEADER_BYTES, Header, PAGE_BYTES},
    pace::Pace,
    store::{ChunkStore, Inner},
    sums::{self, BLOCK_BYTES},
    writer::DIRECT_OVER_BYTES,
};

/// The longest range of one read; longer ones are asked for in parts, so that nobody ever holds a whole large chunk.
pub const READ_BYTES_MAX: u64 = 4 << 20;

/// The longest read that is tried on the caller's thread: copying a cached megabyte takes some 100 microseconds.
const INLINE_BYTES_MAX: usize = POOLED_BYTES;

/// How much of a chunk is in memory while it is verified.
const VERIFY_BYTES: usize = 1 << 20;

/// A chunk that was opened and whose header and checksums are in order.
#[derive(Debug)]
pub(crate) struct OpenChunk {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: Header,
    pub(crate) sums: Vec<u32>,
    /// How many bytes were read past the page cache since it was opened.
    uncached_bytes: AtomicU64,
}

impl ChunkStore {
    /// Reads a range of a chunk's data, verified by the CRC32C of every block that it touches.
    ///
    /// # Errors
    /// NotFound; Corrupt, then read another copy; Invalid for a range that does not lie in the chunk or is longer than
    /// [`READ_BYTES_MAX`].
    ///
    /// # Cancel safety
    /// Nothing happens but reading.
    pub async fn read(&self, id: ChunkId, range: Range<u64>) -> Result<Bytes, Error> {
        if range.end.saturating_sub(range.start) > READ_BYTES_MAX {
            return Err(Error::Invalid("the range is too long for one read"));
        }
        if !self.0.cache.has(id)
            && let Some(bytes) = self.read_record(id, range.clone()).await?
        {
            return Ok(bytes);
        }
        let chunk = self.chunk(id).await?;
        if range.start > range.end || range.end > chunk.header.length {
            return Err(Error::Invalid("the range does not lie in the chunk"));
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let block = BLOCK_BYTES as u64;
        let start = range.start / block * block;
        let end = range.end.next_multiple_of(block).min(chunk.header.length);
        let length = small(end - start);
        // Whole pages: between data and checksums there are zeros up to the next one.
        let mut buffer = self.0.buffers.take(length.next_multiple_of(small(PAGE_BYTES)));
        let uncached = chunk.passes_cache_by(end - start, &self.0.pace);
        let filled = match buffer.len() {
            // Whatever is wrong shows again in the read that may wait.
            ..=INLINE_BYTES_MAX if !uncached => chunk.file.read_at_nowait(start, &mut buffer).unwrap_or(0),
            _ => 0,
        };
        let checked = if filled == buffer.len() {
            chunk.check(start, &buffer[..length]).map(|()| buffer)
        } else {
            let chunk = chunk.clone();
            self.blocking(move |store| {
                chunk.fill(start, filled, &mut buffer, uncached.then_some(&store.pace))?;
                chunk.check(start, &buffer[..length])?;
                Ok(buffer)
            })
            .await
        };
        let buffer = checked.inspect_err(|_| self.0.cache.remove(id))?;
        Ok(Bytes::from_owner(buffer).slice(small(range.start - start)..small(range.end - start)))
    }

    /// Reads a whole chunk from the device and checks all of it: header, checksums and BLAKE3 value. For scrubs. A damaged copy is
    /// never given again until it is written anew, removed, or the process restarts.
    ///
    /// # Errors
    /// NotFound, Corrupt.
    ///
    /// # Bounds
    /// One call reads one chunk at full speed; whoever calls sets the pace.
    pub async fn verify(&self, id: ChunkId) -> Result<(), Error> {
        let verified = self.verify_once(id).await;
        if let Err(Error::Corrupt { flaw, .. }) = &verified
            && self.0.trust.distrust(id, *flaw)
        {
            tracing::error!(chunk = %id, %flaw, "copy is corrupt, it is not offered any more");
        }
        verified
    }

    async fn verify_once(&self, id: ChunkId) -> Result<(), Error> {
        if self.verify_record(id).await?.is_some() {
            return Ok(());
        }
        self.blocking(move |store| {
            let verified = OpenChunk::open(store, id).and_then(|chunk| chunk.verify(store));
            if verified.is_err() {
                store.cache.remove(id); // reads must not go on from a handle that was opened when all was well
            }
            verified
        })
        .await
    }

    /// Gives a chunk that is open, or opens it.
    pub(crate) async fn chunk(&self, id: ChunkId) -> Result<Arc<OpenChunk>, Error> {
        let miss = match self.0.cache.get(id) {
            Ok(chunk) => return Ok(chunk),
            Err(miss) => miss,
        };
        self.blocking(move |store| {
            let chunk = Arc::new(OpenChunk::open(store, id)?);
            store.cache.insert(id, chunk.clone(), miss);
            Ok(chunk)
        })
        .await
    }
}

impl OpenChunk {
    pub(crate) fn new(file: Arc<dyn DiskFile>, header: Header, sums: Vec<u32>) -> Self {
        Self { file, header, sums, uncached_bytes: AtomicU64::new(0) }
    }

    /// Opens a chunk and reads what follows its data; blocks.
    pub(crate) fn open(store: &Inner, id: ChunkId) -> Result<Self, Error> {
        if store.claims.holds(id) {
            return Err(Error::NotFound(id));
        }
        let file = store.disk.open(&store.names.chunk(id)).map_err(|error| unreadable(id, error))?;
        let file_bytes = file.length().map_err(|error| unreadable(id, error))?;
        let pages = file_bytes.is_multiple_of(PAGE_BYTES) && file_bytes >= format::file_length(1);
        if !pages || file_bytes > format::file_length(CHUNK_BYTES_MAX) {
            return Err(Error::Corrupt { id, flaw: Flaw::Length });
        }
        let corrupt = |flaw| Error::Corrupt { id, flaw };
        let read = |start: u64| {
            let mut out = vec![0; small(file_bytes - start)];
            let count = file.read_at(start, &mut out).map_err(|error| unreadable(id, error))?;
            if count == out.len() { Ok(out) } else { Err(corrupt(Flaw::Length)) }
        };
        let last_page = read(file_bytes - PAGE_BYTES)?;
        let header = last_page.last_chunk::<HEADER_BYTES>().expect("a page is longer than a header");
        let header = format::decode_header(header, id, file_bytes).map_err(corrupt)?;
        let sums_start = format::sums_start(header.length);
        let tail = if file_bytes - sums_start == PAGE_BYTES { last_page } else { read(sums_start)? };
        let sums = format::decode_sums(&tail, &header).map_err(corrupt)?;
        Ok(Self::new(file, header, sums))
    }

    /// Decides whether the next read of some length goes past the page cache.
    ///
    /// The first pass over a large chunk does: most are read once, and pages for them would cost more than the read and push out
    /// what others need. So do the others on a device that gives bytes as fast as memory does; on any other one, what is read
    /// again is left to the cache.
    fn passes_cache_by(&self, length: u64, pace: &Pace) -> bool {
        let whole = self.header.length;
        let first_pass = || self.uncached_bytes.fetch_add(length, Ordering::Relaxed) < whole;
        whole > DIRECT_OVER_BYTES && (pace.is_fast() || first_pass())
    }

    /// Reads what `buffer` still misses of the data from `start`, both on a page, from the device if its pace is given; blocks.
    fn fill(&self, start: u64, filled: usize, buffer: &mut Buffer, uncached: Option<&Pace>) -> Result<(), Error> {
        let id = self.header.id;
        let filled = filled - filled % small(PAGE_BYTES);
        let (from, rest) = (start + filled as u64, &mut buffer[filled..]);
        let read = match uncached {
            Some(pace) => pace.measure(|| self.file.read_direct(from, rest)),
            None => self.file.read_at(from, rest),
        };
        let count = read.map_err(|error| unreadable(id, error))?;
        if filled + count == buffer.len() { Ok(()) } else { Err(Error::Corrupt { id, flaw: Flaw::Length }) }
    }

    /// Checks whole blocks, the first of which starts at `start`.
    fn check(&self, start: u64, bytes: &[u8]) -> Result<(), Error> {
        let first = start / BLOCK_BYTES as u64;
        for (block, bytes) in (first..).zip(bytes.chunks(BLOCK_BYTES)) {
            if self.sums.get(small(block)) != Some(&sums::of_block(bytes)) {
                return Err(Error::Corrupt { id: self.header.id, flaw: Flaw::Block(block) });
            }
        }
        Ok(())
    }

    fn verify(&self, store: &Inner) -> Result<(), Error> {
        // A hint only, so its answer does not matter: a scrub should see the device, and leave the cache to others.
        let forget = || drop(self.file.forget_cached(0, format::file_length(self.header.length)));
        forget();
        let verified = self.contents(store);
        forget();
        verified
    }

    /// Compares all of the data with its checksums and its BLAKE3 value; blocks.
    pub(crate) fn contents(&self, store: &Inner) -> Result<(), Error> {
        let length = self.header.length;
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(self.header.tree_offset);
        let uncached = (length > DIRECT_OVER_BYTES).then_some(&store.pace);
        for start in (0..length).step_by(VERIFY_BYTES) {
            let part = small(length - start).min(VERIFY_BYTES);
            let mut buffer = store.buffers.take(part.next_multiple_of(small(PAGE_BYTES)));
            self.fill(start, 0, &mut buffer, uncached)?;
            self.check(start, &buffer[..part])?;
            hasher.update(&buffer[..part]);
        }
        if hasher.finalize_non_root() == self.header.cv {
            Ok(())
        } else {
            Err(Error::Corrupt { id: self.header.id, flaw: Flaw::Contents })
        }
    }
}

/// Turns a failed read into what the caller gets: a device that can't read a chunk has no copy of it.
fn unreadable(id: ChunkId, source: std::io::Error) -> Error {
    match Cause::of(&source) {
        Cause::Missing => Error::NotFound(id),
        Cause::Failing => Error::Corrupt { id, flaw: Flaw::Unreadable },
        Cause::Full | Cause::Exists | Cause::WouldBlock | Cause::Exhausted | Cause::PowerOff => {
            Error::Io { what: "read a chunk", source }
        }
    }
}

/// Lengths and offsets within a chunk fit any machine's words.
fn small(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a chunk has at most 64 MiB")
}
