//! What the outside world looks like to Flotilla: clock, entropy, disk and host, each with a fake.
//!
//! Nothing here knows what a file, a chunk or a cluster is.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod host;

pub use clock::Clock;
pub use disk::{Disk, DiskFile};
pub use entropy::Entropy;
pub use host::HostProbe;
