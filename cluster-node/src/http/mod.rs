//! The node's routes: clients on the public listener, other Flotilla processes on the peer listener.

mod admin;
mod answer;
mod chunks;
mod cluster;
mod conditions;
mod copy;
mod delete;
mod direct;
mod disposition;
mod error;
mod files;
mod fsck;
mod homes;
mod multipart;
mod patch;
mod peer_files;
mod range;
mod routes;

pub use admin::Admin;
#[cfg(test)]
pub(crate) use chunks::{give, routes as chunk_routes, tests::stuck_routes};
pub use direct::Direct;
pub use files::FileService;
/// What a listener serves.
pub type Service = axum::Router;

pub use routes::{Member, peer_router, public_router};
