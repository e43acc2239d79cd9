//! A node of a cluster: gateway, replica and member of the cluster's Raft group.

mod settings;

pub use settings::Settings;
