//! Where log events go: JSON lines on stderr for servers, plain lines for client commands that are asked for them.

use std::io;

use tracing_subscriber::EnvFilter;

/// The variable that sets the level, for example `info` or `warn,flotilla_supernode=debug`.
pub const VARIABLE: &str = "FLOTILLA_LOG";

/// A server's level where the variable is not set. A member that does not answer is told of by others than openraft, which says
/// so with every read.
pub const SERVER: &str = "info,openraft=warn,openraft::core::heartbeat=error";
/// A client command's level where the variable is not set.
pub const CLIENT: &str = "off";

/// Sets up a server's log.
pub fn server() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter(SERVER))
        .with_writer(io::stderr)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        let why = panic.payload_as_str().unwrap_or_default();
        let thread = std::thread::current().name().map(str::to_owned);
        tracing::error!(why, at, thread, "a thread panicked");
    }));
}

/// Sets up a client command's log; it is silent by default.
pub fn client() {
    tracing_subscriber::fmt().with_env_filter(filter(CLIENT)).with_writer(io::stderr).init();
}

/// Reads the level; a text that is none must not keep a server from starting, so what can be read of it counts.
fn filter(default: &str) -> EnvFilter {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => EnvFilter::new(text),
        Ok(_) | Err(_) => EnvFilter::new(default),
    }
}
