//! The cluster's replicated metadata: rows, the rules that change them, and linearizable reads of them.

pub mod keys;
pub mod list;
pub mod machine;
pub mod read;
pub mod rows;
mod table;

pub use machine::{Answer, Command, Commit, Delete, FileMachine, Precondition, Refusal, SegmentAppend};
pub use read::Metadata;
