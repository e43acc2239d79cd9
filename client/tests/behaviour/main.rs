//! What this crate promises, tried against services on loopback and in memory; one binary, since linking is slow.

mod files;
mod memory;
mod nodes;
mod peer;
mod queue;
mod retries;
mod service;
mod tickets;
mod transport;
