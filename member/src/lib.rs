//! A process as a member of a Raft group: what nodes and supernodes do alike before and around their own work.
//!
//! Folder, marks of failed disks, formation over signed requests, Raft messages over signed requests, the group on its database,
//! its members, and what is left of its disk.
//! It knows neither files nor directories.

pub mod addresses;
mod entrant;
mod error;
mod fatal;
mod group;
pub mod limits;
mod live;
pub mod marks;
pub mod membership;
mod memory;
pub mod name;
mod period;
pub mod problem;
mod space;
mod transport;
mod watched;

pub use addresses::Addresses;
pub use entrant::{Entered, Entrant};
pub use error::{EXIT_CONFIG, EXIT_DISK, Error};
pub use fatal::Fatal;
pub use group::{Databases, FormPeers, Seams, Seat, hand_over};
pub use live::live;
pub use period::Period;
pub use space::SpaceGauges;
pub use transport::PeerTransport;
