//! The directory: the supernode group's replicated map of keys to homes, and its documents.

mod batch;
pub mod machine;
pub mod read;
pub mod rows;

pub use machine::{Answer, Command, DirectoryMachine, Refusal};
pub use read::Directory;
