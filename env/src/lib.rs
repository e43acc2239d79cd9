//! What the outside world looks like to Flotilla: clock, entropy, disk and host, each with a fake, and what is
//! particular about sockets within one machine.
//!
//! Nothing here knows what a file, a chunk or a cluster is.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod host;
pub mod net;

pub use clock::Clock;
pub use disk::{Disk, DiskFile};
pub use entropy::Entropy;
pub use host::HostProbe;
