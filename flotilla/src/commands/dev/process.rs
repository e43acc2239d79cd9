//! Processes of this machine by id and start time: whether one is alive, which one serves a folder, and how it is ended.

use std::{collections::BTreeSet, path::Path, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::deployment::Process;
use crate::exit::{Exit, Failure};

/// How long a server has to hand over and close after SIGTERM.
const TERM_WAIT: Duration = Duration::from_secs(15);
/// How long the system has to end a process after SIGKILL; longer means that its disk hangs.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// How often is looked whether processes are gone.
const POLL: Duration = Duration::from_millis(20);

/// One process; a later one with the same number is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it began, in ticks since the machine's start.
    pub start_ticks: u64,
}

impl Identity {
    /// Looks a number up; none if no process has it or it has ended and waits for its parent.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, start_ticks: start_ticks(&stat)? })
    }

    /// Gives the identity that a document names.
    pub fn recorded(process: &Process) -> Self {
        Self { pid: process.pid, start_ticks: process.start_ticks }
    }

    /// Says whether the process still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal to this very process; nothing if it is gone.
    fn signal(self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        // The handle is taken first: once it is known to be of this process, the number can't pass to another one.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.is_alive() {
            // A process that ended in between needs no signal.
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

/// Reads the start time out of `/proc/PID/stat`, field 22; none for a zombie.
///
/// The second field, the program's name in parentheses, can hold blanks and parentheses itself.
fn start_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") { None } else { fields.get(19)?.parse().ok() }
}

/// Finds the processes that serve a process's folder: the recorded one, and those started by hand with the same arguments.
pub fn serving(process: &Process) -> BTreeSet<Identity> {
    let recorded = Some(Identity::recorded(process)).filter(|identity| identity.is_alive());
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = std::process::id();
    let started = pids.filter(|pid| *pid != own && serves(*pid, process)).filter_map(Identity::of);
    recorded.into_iter().chain(started).collect()
}

fn serves(pid: u32, process: &Process) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    is_server_of(&line, process.role.as_str(), &process.data_dir)
}

/// Says whether a command line, its arguments ended by zero bytes, is a server's on this folder.
fn is_server_of(line: &[u8], role: &str, data_dir: &Path) -> bool {
    let folder = [b"data_dir=", data_dir.as_os_str().as_encoded_bytes()].concat();
    let has = |wanted: &[u8]| line.split(|byte| *byte == 0).any(|argument| argument == wanted);
    has(role.as_bytes()) && has(&folder)
}

/// Ends processes: SIGTERM, and SIGKILL for those that are still there after a while.
///
/// # Errors
/// Some can't be ended; they are named.
///
/// # Cancel safety
/// Signals that were sent stay sent.
pub async fn end(all: &BTreeSet<Identity>) -> Result<(), Failure> {
    for identity in all {
        identity.signal(Signal::TERM);
        // A process that was stopped takes its signals only when it goes on.
        identity.signal(Signal::CONT);
    }
    if gone(all, TERM_WAIT).await {
        return Ok(());
    }
    for identity in all {
        identity.signal(Signal::KILL);
    }
    if gone(all, KILL_WAIT).await {
        return Ok(());
    }
    let left: Vec<_> = all.iter().filter(|one| one.is_alive()).map(|one| one.pid.to_string()).collect();
    Err(Failure::new(Exit::Other, format!("processes that do not end: {}", left.join(", "))))
}

async fn gone(all: &BTreeSet<Identity>, within: Duration) -> bool {
    let wait = async {
        while all.iter().any(|identity| identity.is_alive()) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(within, wait).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A process that a failing test does not leave behind.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill(); // it may have ended
            let _ = self.0.wait();
        }
    }

    fn sleeper() -> (Sleeper, Identity) {
        let child = Sleeper(Command::new("sleep").arg("1000").spawn().expect("every system has sleep"));
        let identity = Identity::of(child.0.id()).expect("it runs");
        (child, identity)
    }

    #[test]
    fn the_start_time_is_read_behind_any_name() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_ticks(&format!("7 (a) b) S {rest}")), Some(4711));
        assert_eq!(start_ticks(&format!("7 (x) Z {rest}")), None);
        assert_eq!(start_ticks("7 (x"), None);
        assert!(Identity::of(std::process::id()).expect("this process runs").is_alive());
    }

    #[tokio::test]
    async fn a_process_is_ended_and_its_successor_is_not() {
        let (mut child, identity) = sleeper();
        let other = Identity { start_ticks: identity.start_ticks + 1, ..identity };
        assert!(!other.is_alive());
        end(&BTreeSet::from([other])).await.expect("nothing is left to end");
        assert!(identity.is_alive(), "a process with another start time was ended");
        end(&BTreeSet::from([identity])).await.expect("it takes the signal");
        assert!(!child.0.wait().expect("it is our child").success());
    }

    #[test]
    fn servers_are_known_by_role_and_folder() {
        let line = b"/bin/flotilla\0node\0--set\0data_dir=/d/a/n1\0--set\0zone=x\0";
        assert!(is_server_of(line, "node", Path::new("/d/a/n1")));
        assert!(!is_server_of(line, "node", Path::new("/d/a/n")));
        assert!(!is_server_of(line, "supernode", Path::new("/d/a/n1")));
        assert!(!is_server_of(b"grep\0data_dir=/d/a/n1\0", "node", Path::new("/d/a/n1")));
    }
}
