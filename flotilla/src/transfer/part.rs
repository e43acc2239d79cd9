//! The file that a download fills beside its target, and what is needed to go on with it after the process has ended.
//!
//! Knows no server. Every step leaves either a whole target or a part under a name that is no target's.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, ErrorKind, Write as _},
    path::Path,
    sync::Arc,
};

use flotilla_api::FileName;
use serde::{Deserialize, Serialize};

use super::{is_hash, target::Folder};

#[cfg(test)]
mod tests;

/// Smaller files are fetched anew: asking for the rest takes as long as asking for all.
pub const RESUMABLE_BYTES_MIN: u64 = 1 << 20;
/// The version of the record's shape.
const SCHEMA: u32 = 1;
/// A record is a few short texts; more than this is not one of ours.
const RECORD_BYTES_MAX: u64 = 16 << 10;
/// How often a part is opened again because it became a target, or was removed, in between.
const OPENS_MAX: u32 = 8;

/// What the bytes of a part belong to.
///
/// # Shape
/// `{"schema":1,"file":"BUCKET/KEY","etag":"64 hex","size":N}`; another schema is not understood and the part starts over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    file: String,
    etag: String,
    size: u64,
}

/// What arrived of a file in an earlier process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The content's ETag.
    pub etag: String,
    /// The content's length.
    pub size: u64,
    /// The bytes that are there, fewer than all of them.
    pub got: u64,
}

/// A part, locked as long as this value lives.
///
/// Dropped, it removes its files, unless there is something to go on with.
#[derive(Debug)]
pub struct Part {
    folder: Arc<Folder>,
    part: String,
    record: String,
    /// Holds the lock.
    file: File,
    resumable: bool,
    kept: bool,
}

impl Part {
    /// Opens the part of a target, made if it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`]: another process fetches to the same target. [`ErrorKind::InvalidInput`]: the target has a
    /// name of ours. Else the folder takes no file.
    pub fn open(folder: Arc<Folder>, target: &OsStr) -> io::Result<Self> {
        if target.to_str().is_some_and(is_own_name) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the name is kept for unfinished downloads"));
        }
        let hash = blake3::hash(target.as_encoded_bytes()).to_hex();
        let (part, record) = (format!(".flotilla-{}.part", &hash[..16]), format!(".flotilla-{}.json", &hash[..16]));
        for _ in 0..OPENS_MAX {
            let file = folder.open_own(&part)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
            // Between opening and locking, the one who had the lock may have given the file its final name.
            if folder.is_same(&part, &file)? {
                return Ok(Self { folder, part, record, file, resumable: false, kept: false });
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Tells what an earlier process left of a file; from here on it stays when the value is dropped.
    pub fn earlier(&mut self, name: &FileName) -> Option<Earlier> {
        let text = self.folder.read(&self.record, RECORD_BYTES_MAX).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        let fits =
            record.schema == SCHEMA && record.file == name.to_string() && is_resumable(&record.etag, record.size);
        let there = self.file.metadata().ok()?.len();
        // Were all bytes there, a request for the rest would be one for nothing; so the last one is asked for again.
        let got = there.min(record.size.saturating_sub(1));
        self.resumable = fits && got > 0;
        self.resumable.then_some(Earlier { etag: record.etag, size: record.size, got })
    }

    /// Empties the part for a content and writes down what it is, where going on with it would pay and can be verified.
    ///
    /// # Errors
    /// The folder takes no file.
    pub fn begin(&mut self, name: &FileName, etag: &str, size: u64) -> io::Result<File> {
        self.resumable = false;
        // The old record must not stand beside new bytes, nor the new record beside old ones.
        self.folder.remove_if_there(&self.record)?;
        self.file.set_len(0)?;
        if is_resumable(etag, size) {
            let record = Record { schema: SCHEMA, file: name.to_string(), etag: etag.to_owned(), size };
            let text = serde_json::to_vec(&record).expect("a record is plain data");
            self.folder.create(&self.record)?.write_all(&text)?;
            self.resumable = true;
        }
        self.at(0)
    }

    /// Gives the part to write on from `got`; what is behind that is dropped.
    ///
    /// # Errors
    /// The file can't be changed.
    pub fn go_on(&mut self, got: u64) -> io::Result<File> {
        self.file.set_len(got)?;
        self.resumable = true;
        self.at(got)
    }

    /// Puts the file in the place of its target.
    ///
    /// # Durability
    /// The bytes are synced before the name changes, so that the name never stands for a part of them; the name itself is
    /// written.
    ///
    /// # Errors
    /// A folder has the target's name, or somebody else took the part's; nothing of ours is left then.
    pub fn keep(mut self, target: &Path) -> io::Result<()> {
        self.resumable = false;
        self.file.sync_data()?;
        if !self.folder.is_same(&self.part, &self.file)? {
            self.kept = true;
            return Err(io::Error::other("the unfinished download was replaced by another file"));
        }
        // Without its record the part is nothing to go on with: a crash before the rename costs time only.
        self.folder.remove_if_there(&self.record)?;
        self.folder.rename(&self.part, target)?;
        self.kept = true;
        Ok(())
    }

    /// Has the part removed when the value is dropped.
    pub fn give_up(&mut self) {
        self.resumable = false;
    }

    fn at(&self, position: u64) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(position))?;
        Ok(file)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.kept || (self.resumable && self.file.metadata().is_ok_and(|metadata| metadata.len() > 0)) {
            return;
        }
        // There is nothing better to do about a file that can't be removed.
        let _ = self.folder.remove_if_there(&self.record);
        let _ = self.folder.remove_if_there(&self.part);
    }
}

/// Says whether a file's name is one that unfinished downloads have.
pub fn is_own_name(name: &str) -> bool {
    let hash = name.strip_prefix(".flotilla-").and_then(|rest| {
        let (hash, kind) = rest.split_once('.')?;
        matches!(kind, "part" | "json").then_some(hash)
    });
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Bytes that can't be verified in the end must not have come from two processes, with a power cut in between, say.
fn is_resumable(etag: &str, size: u64) -> bool {
    size >= RESUMABLE_BYTES_MIN && is_hash(etag)
}
