//! What happened in a run, as lines with virtual times: hashed always, printed if asked for.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tokio::time::Instant;

use crate::lock;

/// A run's trace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begun: Instant,
    print: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hasher: blake3::Hasher,
    lines: u64,
}

impl Trace {
    /// Begins a trace at the time 0; `print` writes it to standard error too.
    #[must_use]
    pub fn new(print: bool) -> Self {
        Self(Arc::new(Inner { begun: Instant::now(), print, state: Mutex::default() }))
    }

    /// Adds a line.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        let line = format!("{:>12} {line}\n", self.0.begun.elapsed().as_micros());
        let mut state = lock(&self.0.state);
        state.hasher.update(line.as_bytes());
        state.lines += 1;
        if self.0.print {
            eprint!("{line}");
        }
    }

    /// Gives the hash of all lines so far.
    #[must_use]
    pub fn hash(&self) -> String {
        lock(&self.0.state).hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Gives how many lines there are.
    #[must_use]
    pub fn lines(&self) -> u64 {
        lock(&self.0.state).lines
    }

    /// Gives the time 0.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.0.begun
    }

    /// Gives the virtual time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.begun.elapsed()
    }
}

/// Adds a line to a trace.
#[macro_export]
macro_rules! note {
    ($trace:expr, $($line:tt)*) => { $trace.note(format_args!($($line)*)) };
}
