//! Raft groups over a key-value store, generic over a pure [`Machine`].
//!
//! No openraft type leaves this crate.

pub mod machine;

pub use machine::{Fault, Machine, Position, Txn};
