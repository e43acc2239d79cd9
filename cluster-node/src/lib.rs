//! A node of a cluster: gateway, replica and member of the cluster's Raft group.
//!
//! It knows supernodes only by their peer routes, and never another cluster.

pub mod audit;
mod board;
mod credits;
mod fsck;
mod gateway;
mod gauges;
mod heartbeat;
mod here;
mod homes;
mod http;
mod life;
mod membership;
mod metadata;
mod node;
mod offers;
mod ops;
mod placement;
mod process;
mod repair;
mod settings;
pub mod supernodes;
mod under_way;

pub use flotilla_member::{Databases, EXIT_CONFIG, EXIT_DISK, Error, Period, Seams};
pub use here::{StopError, stop_here};
pub use http::Service;
pub use node::{Node, Sizes};
pub use process::{accept_disk, run};
pub use settings::Settings;
