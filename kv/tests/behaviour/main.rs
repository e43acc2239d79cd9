//! The promises of `Kv`, over every implementation.

mod contract;
mod kill;
mod model;
mod reopen;
mod stores;
