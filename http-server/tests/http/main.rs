//! Behaviour of the HTTP server, in memory and over connections.

mod common;
mod connections;
mod credentials;
mod desync;
mod operations;
mod peers;
mod problems;
mod secrets;
mod sites;
