//! Wire types, ids, error codes and route strings: what every Flotilla process agrees on.
//!
//! This crate knows no runtime, no socket and no disk; it only gives values their shapes and their names.

pub mod admin;
pub mod capability;
pub mod codec;
pub mod directory;
pub mod error;
pub mod explain;
pub mod files;
pub mod fsck;
pub mod header;
pub mod ids;
pub mod keys;
pub mod name;
pub mod peer;
pub mod queue;
pub mod route;
pub mod supernodes;
pub mod tickets;

pub use error::{Code, Problem};
pub use ids::{ChunkId, ClusterName, CommandId, Epoch, NodeId, ParseError, RequestId, Version, WriterId};
pub use name::{BucketName, FileName, Key};
pub use tickets::{TicketAnswer, TicketId, TicketState};
