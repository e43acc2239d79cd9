//! A supernode: the directory of homes and the one address in front of all clusters.
//!
//! It knows nodes only by their peer routes and stores no byte of a file.

mod admission;
mod claims;
mod clusters;
pub mod directory;
mod http;
mod merge;
mod root_key;
mod route;
mod server;
mod settings;

pub use flotilla_member::{EXIT_CONFIG, EXIT_DISK, Error};
pub use server::run;
pub use settings::Settings;
