//! What the outside world looks like to Flotilla: clock, entropy, disk and host, each with a fake, where blocking work runs, what
//! is particular about sockets within one machine, and the places at which tests make a server fail.
//!
//! Nothing here knows what a file, a chunk or a cluster is.

pub mod blocking;
pub mod clock;
pub mod disk;
pub mod entropy;
#[cfg(feature = "failpoints")]
pub mod failpoint;
pub mod host;
pub mod net;

pub use clock::Clock;
pub use disk::{Disk, DiskFile};
pub use entropy::Entropy;
pub use host::HostProbe;

/// Marks a failpoint: a place that a test can have a server crash at, wait at or fail at, and that counts how often it was passed.
///
/// `failpoint!("area.name")` crashes or waits. `failpoint!("area.name", |argument| value)` can also return `value` from the
/// function around it: the error that a failure has there, so that the real error path runs.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        const POINT: usize = $crate::failpoint::index($name);
        $crate::failpoint::pass(POINT, |_| ());
    }};
    ($name:literal, $returned:expr) => {{
        const POINT: usize = $crate::failpoint::index($name);
        if let Some(returned) = $crate::failpoint::pass(POINT, $returned) {
            return returned;
        }
    }};
}

/// Marks a failpoint in builds that have some; this one has none.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{}};
    ($name:literal, $returned:expr) => {{}};
}
