//! Raft groups over a key-value store, generic over a pure [`Machine`].
//!
//! No openraft type leaves this crate, and nothing in it knows what a group's commands mean.

pub mod alone;
pub mod formation;
mod group;
pub mod identity;
pub mod machine;
mod network;
mod snapshot;
mod store;

pub use group::{Applied, Error, Group, Kind, Options, ReadIndex, Settings, Status};
pub use machine::{Fault, Machine, Position, Txn};
pub use network::{
    BODY_BYTES_MAX, Member, NAME_BYTES_MAX, NAME_RULE, Rpc, Transport, TransportError, UnknownRpc, is_name,
};
pub use store::{COMMAND_BYTES_MAX, LOG_FAMILY, RESULTS_FAMILY, RESULTS_KEPT, StoreError, applied_index, families};

#[cfg(test)]
mod tests;
