//! The server processes of a dev deployment, as its `dev.json` names them. Starts and stops nothing.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use crate::{Error, procfs};

/// The part of `dev.json` that a load test needs.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Dev {
    /// Every server process.
    pub(crate) processes: Vec<Process>,
}

/// One server process.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Process {
    /// Its name, like `a-n1`.
    pub(crate) name: String,
    /// Which server it is: `node` or `supernode`.
    #[serde(default)]
    pub(crate) role: String,
    /// The cluster of a node.
    pub(crate) cluster: Option<String>,
    /// Its process id.
    pub(crate) pid: u32,
    /// When it began; tells it from a later process with the same id.
    pub(crate) start_ticks: u64,
    /// Base address of its operations listener.
    pub(crate) ops: String,
}

/// Memory of the server processes at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Resident {
    /// Of the largest process.
    pub(crate) largest_bytes: u64,
    /// Of all.
    pub(crate) sum_bytes: u64,
}

impl Resident {
    /// Gives the larger of both, figure by figure.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            largest_bytes: self.largest_bytes.max(other.largest_bytes),
            sum_bytes: self.sum_bytes.max(other.sum_bytes),
        }
    }
}

impl Process {
    /// Gives its processor time so far; none if it is gone or was replaced.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let stat = procfs::stat(&self.pid.to_string()).ok()?;
        (stat.start_ticks == self.start_ticks).then_some(stat.cpu)
    }
}

impl Dev {
    /// Reads `dev.json`.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Dev`]; the path must be another one, or the deployment must be started.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(Error::file(path))?;
        serde_json::from_slice(&text).map_err(|source| Error::Dev { path: path.to_owned(), source })
    }

    /// Takes processes of any kind by their ids.
    ///
    /// # Errors
    /// The first id that no process has.
    pub(crate) fn of_pids(pids: &[u32]) -> Result<Self, u32> {
        let process = |pid: &u32| {
            let start_ticks = procfs::stat(&pid.to_string()).map_err(|_| *pid)?.start_ticks;
            let (name, role, ops) = (pid.to_string(), String::new(), String::new());
            Ok::<Process, u32>(Process { name, role, cluster: None, pid: *pid, start_ticks, ops })
        };
        Ok(Self { processes: pids.iter().map(process).collect::<Result<_, _>>()? })
    }

    /// Gives the processor time of all processes so far; none if there are none, or one is gone or was replaced.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let times = self.processes.iter().map(Process::cpu);
        if self.processes.is_empty() { None } else { times.sum() }
    }

    /// Gives the memory that is resident now; processes that are gone count as nothing.
    pub(crate) fn resident(&self) -> Resident {
        self.processes.iter().filter_map(|process| procfs::memory(&process.pid.to_string()).ok()).fold(
            Resident::default(),
            |sum, memory| Resident {
                largest_bytes: sum.largest_bytes.max(memory.rss_bytes),
                sum_bytes: sum.sum_bytes + memory.rss_bytes,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Dev, Process};
    use crate::procfs;

    fn this_process(start_ticks: u64) -> Process {
        let (name, role, cluster) = ("a-n1".to_owned(), "node".to_owned(), Some("a".to_owned()));
        Process { name, role, cluster, pid: std::process::id(), start_ticks, ops: String::new() }
    }

    #[test]
    fn processor_time_is_only_told_of_the_processes_that_were_started() {
        let ticks = procfs::stat("self").expect("this process runs").start_ticks;
        assert!(Dev { processes: vec![this_process(ticks)] }.cpu().is_some());
        assert_eq!(Dev { processes: vec![this_process(ticks), this_process(ticks + 1)] }.cpu(), None);
        assert_eq!(Dev::default().cpu(), None);
    }

    #[test]
    fn memory_is_summed_and_the_largest_is_kept() {
        let resident = Dev { processes: vec![this_process(0), this_process(0)] }.resident();
        assert!(resident.largest_bytes > 0 && resident.sum_bytes > resident.largest_bytes);
    }

    #[test]
    fn description_with_more_fields_is_read() {
        let text = r#"{"schema":1,"state":"ready","api":[],"processes":[{"name":"a-n1","role":"node","cluster":"a",
            "node_id":1,"pid":7,"start_ticks":9,"argv":[],"env":{},"ops":"http://127.0.0.1:1"}]}"#;
        let dev: Dev = serde_json::from_str(text).expect("it is a description");
        assert_eq!((dev.processes[0].pid, dev.processes[0].start_ticks), (7, 9));
    }
}
