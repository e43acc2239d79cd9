//! The Rust SDK over the public REST API: puts, gets, lists and deletes files, and tries again where that is safe.
//!
//! Knows what a client may know: addresses, a token, the public routes. Nothing here is for talk between servers.

mod admin;
mod client;
mod content;
mod copy;
mod directory;
mod error;
mod exchange;
mod fsck;
mod get;
mod keys;
mod list;
mod nodes;
mod patch;
mod put;
mod queue;
mod retry;
mod tickets;

pub use client::{Client, Options};
pub use content::PutBody;
pub use copy::CopyOptions;
pub use error::{Error, Kind};
pub use get::{ByteRange, Download, FileInfo};
pub use list::ListQuery;
pub use nodes::{ClusterNodes, Learn, NODES_GOOD_FOR};
pub use put::{DeleteOptions, Deleted, Put, PutOptions};
pub use tickets::Queue;
