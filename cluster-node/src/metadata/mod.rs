//! The cluster's replicated metadata: rows, the rules that change them, and linearizable reads of them.

pub mod bound;
pub mod commit;
pub mod copy;
mod delete;
pub mod heal;
pub mod home_records;
pub mod keys;
pub mod life;
pub mod list;
pub mod machine;
pub mod nodes;
pub mod precondition;
pub mod read;
pub mod rows;
pub mod segments;
mod table;
#[cfg(test)]
mod testing;
mod writers;

pub use commit::{Commit, Probe};
pub use copy::Copy;
pub use delete::Delete;
pub use machine::{Answer, Command, FileMachine, Refusal};
pub use precondition::Precondition;
pub use read::Metadata;
pub use segments::SegmentAppend;
