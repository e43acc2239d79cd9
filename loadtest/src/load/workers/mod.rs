//! One load from several hosts: a leader that hands out shares and adds up what comes back, and runners that carry them out.
//!
//! A runner is a process that the leader starts by a command of the user's, like `ssh host flotilla loadtest worker`, and talks to
//! over its standard input and output: no port is opened, and who may start a load is left to ssh or Kubernetes.

mod follow;
mod lead;
mod message;
mod seconds;
mod start;
#[cfg(test)]
mod tests;

pub(super) use follow::Told;
pub(crate) use follow::run as follow;
pub(super) use lead::lead;
pub(super) use message::Task;
pub(super) use start::start;
