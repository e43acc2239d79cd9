//! tokio runtimes, and the signals that end what runs on them.

use std::{future::Future, io, num::NonZero, thread, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    exit::{Exit, Failure, chain},
    output::{self, Report},
};

/// How many threads, and how a runtime ends.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    workers_min: usize,
    workers_max: usize,
    /// How long blocking work is waited for at the end.
    grace: Duration,
}

/// Client commands: a few streams at a time. A read of stdin that never returns must not hold the process.
pub const CLIENT: Shape = Shape { workers_min: 2, workers_max: 4, grace: Duration::ZERO };
/// Servers: every processor, and two threads at least, so that one long poll does not stop heartbeats. Blocking work
/// (syncs) gets a moment; whatever was acked is on disk before that.
pub const SERVER: Shape = Shape { workers_min: 2, workers_max: 128, grace: Duration::from_secs(5) };

/// Allows as many open files as the system lets this process have, and gives the number: RocksDB and chunk files need thousands, and
/// so do the connections of a load.
pub fn raise_files_max() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What can't be raised stays as it is.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}

/// Makes a runtime, runs `work` on it and ends it; gives 1 where none can be made.
pub fn run(name: &'static str, shape: Shape, work: impl Future<Output = u8>) -> u8 {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.clamp(shape.workers_min, shape.workers_max))
        .thread_name(format!("flotilla-{name}"))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            output::note(format_args!("error: no threads can be made: {e}"));
            return Exit::Other.code();
        }
    };
    let code = runtime.block_on(work);
    runtime.shutdown_timeout(shape.grace);
    code
}

/// The signals that ask a process to end.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// Begins to listen; from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system takes no handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them; gives its name.
    ///
    /// # Cancel safety
    /// A signal that came is not lost.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// Runs `work` until it ends or a signal comes; then it is dropped, which removes what can't be gone on with, `hint` is told and
/// 130 is given.
pub async fn interruptible(work: impl Future<Output = u8>, hint: Option<&str>) -> u8 {
    let mut stop = match Stop::listen() {
        Ok(stop) => stop,
        Err(e) => {
            Report::new(false).failure(&Failure::new(Exit::Other, chain(&e)));
            return Exit::Other.code();
        }
    };
    tokio::select! {
        code = work => code,
        signal = stop.wait() => {
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            output::note(format_args!("ended by {signal}{hint}"));
            Exit::Interrupted.code()
        }
    }
}
