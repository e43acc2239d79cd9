//! Whole groups in one process: three nodes, a transport in memory that can be cut, and stores that can crash.

pub(crate) mod cluster;
pub(crate) mod counter;

mod crashes;
mod folder_lock;
mod linearizability;
mod membership;
mod proposals;
mod rocks;
mod snapshots;
