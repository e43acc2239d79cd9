//! A supernode: the directory of homes and the one address in front of all clusters.
//!
//! It knows nodes only by their peer routes and stores no byte of a file.

mod admission;
mod asked;
mod claims;
mod clusters;
pub mod directory;
mod http;
mod membership;
mod merge;
mod process;
mod rebuild;
mod root_key;
mod route;
mod settings;
mod supernode;
mod tickets;
mod verify;

pub use flotilla_member::{EXIT_CONFIG, EXIT_DISK, Error};
pub use process::run;
pub use settings::Settings;
pub use supernode::Supernode;
