//! The directory: the supernode group's replicated map of keys to homes, its documents, and its members.

mod batch;
pub mod clusters;
pub mod compare;
pub mod machine;
pub mod members;
pub mod pages;
pub mod read;
pub mod rebuild;
pub mod rows;
mod standing;
#[cfg(test)]
pub(crate) mod testing;
pub mod tickets;

pub use machine::{Answer, Command, DirectoryMachine, Refusal};
pub use read::Directory;
pub use standing::{Head, Standing};
