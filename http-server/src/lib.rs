//! http-server.
