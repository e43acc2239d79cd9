//! Reads records, and believes no byte before its checksum agreed.

use std::{ops::Range, sync::Arc};

use blake3::hazmat::HasherExt;
use bytes::Bytes;
use flotilla_api::ChunkId;
use flotilla_env::disk::Cause;

use super::{
    Shared, Volumes,
    index::Place,
    record::{self, HEADER_BYTES, Header, Kind, record_bytes},
    volume::Volume,
};
use crate::{
    buffers::Buffer,
    error::{Error, Flaw},
    store::{ChunkInfo, ChunkStore, Location},
    sums::{self, BLOCK_BYTES},
};

/// Up to this much of a record in front of a range is read with it; more of it costs more than a read of the header alone.
const READ_THROUGH_BYTES: u64 = 128 << 10;

/// How often a record is looked up: once more after it did not match, and once more for good measure, since a record moves at most
/// once while a volume is compacted, which takes far longer than a read.
const LOOKUPS_MAX: u32 = 3;

/// Where a record was found. One that does not match may have moved since it was looked up, so it is looked up again before it
/// counts as corrupt.
struct Lookup {
    place: Place,
    count: u32,
}

impl Lookup {
    fn begin(store: &ChunkStore, id: ChunkId) -> Result<Option<Self>, Error> {
        Ok(store.0.volumes.find(id)?.map(|place| Self { place, count: 1 }))
    }

    /// Goes on where the record lies now; gives the error back if it never moved.
    fn again(&mut self, store: &ChunkStore, id: ChunkId, error: Error) -> Result<(), Error> {
        let now = store.0.volumes.find(id)?.ok_or(Error::NotFound(id))?;
        if now == self.place || self.count >= LOOKUPS_MAX {
            return Err(error);
        }
        *self = Self { place: now, count: self.count + 1 };
        Ok(())
    }
}

impl ChunkStore {
    /// Reads a range of a chunk that has a record; None if it has none.
    pub(crate) async fn read_record(&self, id: ChunkId, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        let Some(mut at) = Lookup::begin(self, id)? else { return Ok(None) };
        loop {
            match self.read_at(id, at.place, range.clone()).await {
                Err(error @ Error::Corrupt { .. }) => at.again(self, id, error)?,
                other => return other.map(Some),
            }
        }
    }

    async fn read_at(&self, id: ChunkId, place: Place, range: Range<u64>) -> Result<Bytes, Error> {
        if range.start > range.end || range.end > place.length {
            return Err(Error::Invalid("the range does not lie in the chunk"));
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let block = BLOCK_BYTES as u64;
        let start = range.start / block * block;
        let end = range.end.next_multiple_of(block).min(place.length);
        let volume = self.volume(id, &place)?;
        let (header, buffer, data_at) = if start <= READ_THROUGH_BYTES {
            let buffer = self.fetch(id, &volume, place.offset, HEADER_BYTES as u64 + end).await?;
            (header_of(id, &volume, &place, &buffer)?, buffer, HEADER_BYTES + small(start))
        } else {
            let header = self.header(id, &volume, &place).await?;
            let at = place.offset + HEADER_BYTES as u64 + start;
            (header, self.fetch(id, &volume, at, end - start).await?, 0)
        };
        let checked = record::check(&header, start / block, &buffer[data_at..]);
        checked.map_err(|flaw| Error::Corrupt { id, flaw })?;
        let from = data_at + small(range.start - start);
        Ok(Bytes::from_owner(buffer).slice(from..from + small(range.end - range.start)))
    }

    /// Gives what a record says of its chunk; None if the chunk has none.
    pub(crate) async fn stat_record(&self, id: ChunkId) -> Result<Option<ChunkInfo>, Error> {
        let Some(mut at) = Lookup::begin(self, id)? else { return Ok(None) };
        loop {
            match self.stat_at(id, at.place).await {
                Err(error @ Error::Corrupt { .. }) => at.again(self, id, error)?,
                other => return other.map(Some),
            }
        }
    }

    async fn stat_at(&self, id: ChunkId, place: Place) -> Result<ChunkInfo, Error> {
        let header = self.header(id, &self.volume(id, &place)?, &place).await?;
        let Kind::Chunk { tree_offset, cv, .. } = header.kind else { unreachable!("only chunks decode as a chunk") };
        Ok(ChunkInfo { length: header.length, tree_offset, cv, crc: sums::of_list(&header.sums) })
    }

    /// Tells where the data of a record lies; None if the chunk has none.
    pub(crate) async fn locate_record(&self, id: ChunkId) -> Result<Option<Location>, Error> {
        let Some(mut at) = Lookup::begin(self, id)? else { return Ok(None) };
        loop {
            match self.locate_at(id, at.place).await {
                Err(error @ Error::Corrupt { .. }) => at.again(self, id, error)?,
                other => return other.map(Some),
            }
        }
    }

    async fn locate_at(&self, id: ChunkId, place: Place) -> Result<Location, Error> {
        let volume = self.volume(id, &place)?;
        self.header(id, &volume, &place).await?;
        let file_offset = place.offset + HEADER_BYTES as u64;
        Ok(Location { path: volume.path.clone(), file_offset, length: place.length })
    }

    /// Reads a record from the device and checks all of it; None if the chunk has none.
    pub(crate) async fn verify_record(&self, id: ChunkId) -> Result<Option<()>, Error> {
        let Some(mut at) = Lookup::begin(self, id)? else { return Ok(None) };
        loop {
            match self.verify_at(id, at.place).await {
                Err(error @ Error::Corrupt { .. }) => at.again(self, id, error)?,
                other => return other.map(Some),
            }
        }
    }

    async fn verify_at(&self, id: ChunkId, place: Place) -> Result<(), Error> {
        self.blocking(move |store| {
            let shared = &store.volumes.shared;
            let volume = shared.volume(id, &place)?;
            let file = volume.file(&*shared.disk).map_err(|error| unreadable(id, error))?;
            let mut bytes = vec![0; small(record_bytes(place.length))];
            let filled = file.read_past_cache(place.offset, &mut bytes).map_err(|error| unreadable(id, error))?;
            let corrupt = |flaw| Error::Corrupt { id, flaw };
            let header = header_of(id, &volume, &place, &bytes[..filled])?;
            let data = bytes[..filled].get(HEADER_BYTES..HEADER_BYTES + small(place.length));
            let data = data.ok_or(corrupt(Flaw::Length))?;
            record::check(&header, 0, data).map_err(corrupt)?;
            let Kind::Chunk { tree_offset, cv, .. } = header.kind else { return Err(corrupt(Flaw::Header)) };
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(tree_offset);
            let found = hasher.update(data).finalize_non_root();
            if found == cv { Ok(()) } else { Err(corrupt(Flaw::Contents)) }
        })
        .await
    }

    async fn header(&self, id: ChunkId, volume: &Arc<Volume>, place: &Place) -> Result<Header, Error> {
        let buffer = self.fetch(id, volume, place.offset, HEADER_BYTES as u64).await?;
        header_of(id, volume, place, &buffer)
    }

    fn volume(&self, id: ChunkId, place: &Place) -> Result<Arc<Volume>, Error> {
        self.0.volumes.shared.volume(id, place)
    }

    /// Reads bytes of a volume, on this thread if they are in memory.
    async fn fetch(&self, id: ChunkId, volume: &Arc<Volume>, at: u64, length: u64) -> Result<Buffer, Error> {
        let mut buffer = self.0.buffers.take(small(length));
        // Whatever is wrong shows again in the read that may wait.
        let filled = volume.opened().and_then(|file| file.read_at_nowait(at, &mut buffer).ok()).unwrap_or(0);
        if filled == buffer.len() {
            return Ok(buffer);
        }
        let volume = volume.clone();
        self.blocking(move |store| {
            let shared = &store.volumes.shared;
            if volume.opened().is_none() {
                shared.pool.opened(volume.number);
            }
            let file = volume.file(&*shared.disk).map_err(|error| unreadable(id, error))?;
            let read = file.read_at(at + filled as u64, &mut buffer[filled..]);
            let count = read.map_err(|error| unreadable(id, error))?;
            if filled + count == buffer.len() { Ok(buffer) } else { Err(Error::Corrupt { id, flaw: Flaw::Length }) }
        })
        .await
    }
}

impl Shared {
    /// Gives the volume of a place and pins it. One that was recycled since the place was looked up counts as a mismatch.
    fn volume(&self, id: ChunkId, place: &Place) -> Result<Arc<Volume>, Error> {
        self.pool.volume(place).ok_or(Error::Corrupt { id, flaw: Flaw::Header })
    }
}

impl Volumes {
    /// Asks the system to forget what it holds of a record, if there is one; blocks. Only a hint.
    pub(crate) fn forget_cached(&self, id: ChunkId) {
        let Ok(Some(place)) = self.find(id) else { return };
        if let Some(file) = self.shared.pool.volume(&place).as_ref().and_then(|volume| volume.opened()) {
            let _ = file.forget_cached(place.offset, record_bytes(place.length)); // what is wrong shows in the next read
        }
    }

    /// Whether a chunk has a record.
    pub(crate) fn has(&self, id: ChunkId) -> Result<bool, Error> {
        Ok(self.find(id)?.is_some())
    }
}

fn header_of(id: ChunkId, volume: &Volume, place: &Place, bytes: &[u8]) -> Result<Header, Error> {
    match record::decode_chunk(bytes, volume.epoch, id) {
        Ok(header) if header.length == place.length => Ok(header),
        Ok(_) => Err(Error::Corrupt { id, flaw: Flaw::Length }),
        Err(flaw) => Err(Error::Corrupt { id, flaw }),
    }
}

/// Turns a failed read into what the caller gets: a device that can't read a record has no copy of its chunk.
fn unreadable(id: ChunkId, source: std::io::Error) -> Error {
    match Cause::of(&source) {
        Cause::Missing | Cause::Failing => Error::Corrupt { id, flaw: Flaw::Unreadable },
        Cause::Full | Cause::Exists | Cause::WouldBlock | Cause::Exhausted | Cause::PowerOff => {
            Error::Io { what: "read a chunk", source }
        }
    }
}

/// Lengths and offsets within a record fit any machine's words.
fn small(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a record has a megabyte")
}
