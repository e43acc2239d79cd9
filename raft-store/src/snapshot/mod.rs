//! Snapshots of a group's applied state: files of sorted rows, built, sent, received and installed in bounded parts.
//!
//! It knows families and rows, and not what they mean.

mod build;
mod files;
mod install;
mod manifest;
mod part;
mod receive;
mod send;

pub(crate) use build::Builder;
pub(crate) use files::{Snapshots, Staged};
pub(crate) use install::{install, redo};
pub(crate) use manifest::Manifest;
pub(crate) use receive::{Inbox, Installed, Installing};
pub(crate) use send::{SendError, send};

#[cfg(test)]
mod tests;
