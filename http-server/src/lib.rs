//! What both servers serve HTTP with: accept loop, limits, timeouts, request ids, problems, credentials, peer authentication,
//! operations.
//!
//! The servers bring routers and answers to "who is this token" and "are you ready". The crate knows nothing of files, clusters
//! or Raft.

pub mod admin;
pub mod bodies;
pub mod capabilities;
pub mod conditions;
pub mod credentials;
pub mod documents;
pub mod edge;
pub mod files;
pub mod framing;
pub mod late;
pub mod listener;
pub mod ndjson;
pub mod operations;
pub mod peers;
pub mod problem;
pub mod request_id;
pub mod secret;
pub mod server;
pub mod telemetry;

mod access;
mod nonces;
mod patience;
mod wire;

pub use bodies::{BodyFault, Coded, limited, read_all};
pub use capabilities::{Capabilities, Destination, Granted, Sealer, prefers_async, prefers_redirect};
pub use credentials::{Authenticator, Caller, Guard};
pub use documents::DocumentCache;
pub use edge::Edge;
pub use late::Late;
pub use listener::{BindError, Limits, bind, serve};
pub use operations::{Operations, Readiness, Reason};
pub use peers::{PeerAuth, PeerCaller};
pub use problem::ApiError;
pub use server::{Site, Sites, run};
pub use telemetry::{Metrics, RequestMetrics, install_metrics};

/// The revision that this binary was built from, as the build gave it.
pub const REV: &str = match option_env!("FLOTILLA_REV") {
    Some(rev) => rev,
    None => "unknown",
};
