//! Bytes of chunks on one node's disk: stored durably, read verified, found again after any crash.
//!
//! The store knows ids, bytes and checksums. It knows nothing of files, versions, replicas or the network, and its API shows no
//! file: only [`ChunkStore::locate`], made for people and tests, tells where bytes lie. Chunks of up to a megabyte are records in
//! volumes, larger ones are files of their own; which it is follows from the space that was asked for.
//!
//! What holds after any crash: an acked chunk is there, whole; a chunk that was not acked is there whole or not at all.

mod buffers;
mod cache;
mod checked;
mod claims;
mod counts;
mod error;
mod format;
mod health;
mod inventory;
mod names;
mod pace;
mod put;
mod read;
mod recovery;
mod rounds;
mod store;
mod sums;
mod trust;
mod volumes;
mod writer;

pub use checked::{Depth, Facts};
pub use error::{Error, Flaw, Kind};
pub use format::CHUNK_BYTES_MAX;
pub use inventory::LIST_MAX;
pub use read::READ_BYTES_MAX;
pub use recovery::{Options, Recovery};
pub use store::{ChunkInfo, ChunkStore, Location, REMOVE_MAX, Usage};
pub use sums::{BLOCK_BYTES, Sums};
pub use trust::CORRUPT_MAX;
pub use volumes::{FAMILIES, RECORD_BYTES_MAX, VOLUME_BYTES, VolumeUsage};
pub use writer::{BATCH_BYTES, Stored};

pub use put::Writer;

pub use claims::WRITERS_MAX;
