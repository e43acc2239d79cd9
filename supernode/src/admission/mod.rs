//! Admission: who is sent to which cluster now, who waits for it, and who is told when to come back.
//!
//! All of it decides in memory from what it is told; no module here knows sockets, the directory or the clock, and none but the
//! gate knows tasks, and whose keys are good.

pub mod class;
pub mod engine;
pub mod estimate;
pub mod fair;
pub mod gate;
pub mod limits;
pub mod record;
pub mod stealing;
pub mod tickets;

pub use engine::Settings;
