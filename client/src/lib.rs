//! How a process talks to another one: the transport seam, the signed peer client, and the SDK over the public REST API.
//!
//! This crate knows no server, no disk and no rule about files; hyper's client appears in [`transport`] alone.

pub mod alive;
pub mod body;
pub mod peer;
mod problem;
pub mod sdk;
pub mod transport;

pub use body::{Body, BoxError};
pub use peer::PeerClient;
pub use sdk::{
    ByteRange, Client, ClusterNodes, CopyOptions, DeleteOptions, Deleted, Download, Error, FileInfo, Kind, Learn,
    ListQuery, NODES_GOOD_FOR, Options, Put, PutBody, PutOptions, Queue,
};
pub use transport::{Http, InMemory, Lane, Network, Transport};
