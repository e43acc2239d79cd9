//! The data path of one client request: body to chunks to replicas to commit, and back.

pub mod ask;
pub mod budget;
pub mod cache;
pub mod claim;
pub mod download;
pub mod fetch;
mod hop;
mod manifest;
mod open_chunk;
pub mod patch;
pub mod places;
pub mod race;
pub mod replicate;
pub mod sequence;
mod source;
pub mod speeds;
pub mod trace;
pub mod tree;
pub mod upload;

#[cfg(test)]
pub(crate) mod tests;
