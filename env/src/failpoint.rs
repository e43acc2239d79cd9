//! Failpoints: named places at which a test makes a server crash, wait or fail, and how often each of them was passed.
//!
//! Only builds with the feature `failpoints` have them; in others [`failpoint!`](crate::failpoint!) expands to nothing. It must
//! not know what happens at a place: the macro's caller says what an error is there.

mod points;
mod spec;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

pub use points::{POINTS, Point, Use};
pub use spec::{Error, set};

/// The variable that sets failpoints up, as `NAME=ACTION;NAME=ACTION`.
pub const VARIABLE: &str = "FAILPOINTS";

/// What the `fail` crate is told to return where this process is to crash: nobody can write it into the variable.
const CRASH: &str = "\u{0}crash";

const COUNT: usize = POINTS.len();
static HITS: [AtomicU64; COUNT] = [const { AtomicU64::new(0) }; COUNT];
/// Whether a point has an action: the others cost two atomic operations.
static ARMED: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

/// Gives a point's place in [`POINTS`]; a name that is not there does not compile.
#[must_use]
pub const fn index(name: &str) -> usize {
    let mut at = 0;
    while at < COUNT {
        if is_same(POINTS[at].name.as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("the list of failpoints does not have this name")
}

/// `==` of texts is not for constants.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Finds a name in [`POINTS`].
fn index_of(name: &str) -> Option<usize> {
    POINTS.iter().position(|point| point.name == name)
}

/// Passes a point: counts it, does what it was told to, and gives what the caller is to return, if anything.
///
/// Called by [`failpoint!`](crate::failpoint!) alone.
pub fn pass<R>(point: usize, returned: impl FnOnce(Option<String>) -> R) -> Option<R> {
    HITS[point].fetch_add(1, Ordering::Relaxed);
    if !ARMED[point].load(Ordering::Acquire) {
        return None;
    }
    let name = POINTS[point].name;
    match aside(|| act(name))? {
        Some(argument) if argument == CRASH => crash(name),
        argument => Some(returned(argument)),
    }
}

/// Tells how often each point was passed by this process, in the order of [`POINTS`].
pub fn hits() -> impl Iterator<Item = (&'static str, u64)> {
    POINTS.iter().zip(&HITS).map(|(point, hits)| (point.name, hits.load(Ordering::Relaxed)))
}

/// The error of a failing disk: `EIO`, or what `return(ENOSPC)` and `return(EDQUOT)` name.
#[must_use]
#[allow(clippy::needless_pass_by_value)] // as the macro hands it over
pub fn io_error(argument: Option<String>) -> io::Error {
    io::Error::from_raw_os_error(match argument.as_deref() {
        Some("ENOSPC") => libc::ENOSPC,
        Some("EDQUOT") => libc::EDQUOT,
        Some(_) | None => libc::EIO,
    })
}

/// Carries a point's action out: waits here, or tells that the caller is to return.
fn act(name: &str) -> Option<Option<String>> {
    fail::fail_point!(name, Some);
    None
}

/// Runs what may wait where other tasks of this thread need not: a stall of one place is not one of the whole process.
fn aside<T>(run: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        #[allow(clippy::disallowed_methods)] // a test asked for the wait, and the runtime has several threads
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(run),
        Ok(_) | Err(_) => run(),
    }
}

/// Ends the process as a crash does: no destructor runs, nothing is handed over, nobody catches a panic.
fn crash(name: &str) -> ! {
    tracing::error!(failpoint = name, "the process crashes at a failpoint");
    std::process::abort()
}
