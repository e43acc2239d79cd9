//! A node of a cluster: gateway, replica and member of the cluster's Raft group.
//!
//! It knows supernodes only by their peer routes, and never another cluster.

mod board;
mod fsck;
mod gateway;
mod gauges;
mod heartbeat;
mod homes;
mod http;
mod life;
mod membership;
mod metadata;
mod node;
mod ops;
mod placement;
mod repair;
mod settings;
mod under_way;

pub use flotilla_member::{EXIT_CONFIG, EXIT_DISK, Error};
pub use node::{accept_disk, run};
pub use settings::Settings;
