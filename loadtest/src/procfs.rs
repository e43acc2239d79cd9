//! Processor time and memory of processes, from the text of `/proc`. Knows no deployment.

use std::{io, time::Duration};

/// Ticks per second of `/proc/PID/stat`; Linux fixed it at 100 for user space, whatever the kernel's own timer is.
const TICKS_PER_SECOND: u32 = 100;

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// User and system time of all its threads, also of those that ended.
    pub(crate) cpu: Duration,
    /// When it began, in ticks since the machine's start; with the pid it names a process for ever.
    pub(crate) start_ticks: u64,
}

/// What `/proc/PID/status` says of a process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// Resident now, in bytes.
    pub(crate) rss_bytes: u64,
    /// The most that was ever resident, in bytes.
    pub(crate) peak_bytes: u64,
}

/// Reads a process's times.
///
/// # Errors
/// `NotFound` if the process ended, `InvalidData` if the text is not understood.
pub(crate) fn stat(pid: &str) -> io::Result<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads a process's memory.
///
/// # Errors
/// `NotFound` if the process ended, `InvalidData` if the text is not understood.
pub(crate) fn memory(pid: &str) -> io::Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_memory(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads the load average of the last minute; none where the system has none.
pub(crate) fn load_1min() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// # Source
/// proc(5): after the name in parentheses, which may itself hold any character, fields 3 (state) and on follow; utime and
/// stime are fields 14 and 15, starttime is 22.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)?.checked_add(number(15)?)?;
    let cpu = Duration::from_millis(ticks.checked_mul(1000 / u64::from(TICKS_PER_SECOND))?);
    Some(Stat { cpu, start_ticks: number(22)? })
}

fn parse_memory(text: &str) -> Option<Memory> {
    let line = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { rss_bytes: line("VmRSS:")?, peak_bytes: line("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Memory, Stat, memory, parse_memory, parse_stat, stat};

    #[test]
    fn stat_is_read_behind_a_name_with_spaces_and_parentheses() {
        let text =
            "42 (a) b) c) S 1 42 42 0 -1 4194560 100 200 3 4 150 75 9 9 20 0 9 0 12345 1000 99 18446744073709551615 1";
        let expect = Stat { cpu: Duration::from_millis(2_250), start_ticks: 12_345 };
        assert_eq!(parse_stat(text), Some(expect));
    }

    #[test]
    fn broken_stat_is_none() {
        for text in ["", "42 (a)", "42 (a) S 1 42", "42 a S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { rss_bytes: 1 << 20, peak_bytes: 2 << 20 }));
        assert_eq!(parse_memory("Name:\tkernel-thread\n"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(stat("self").expect("this process runs").start_ticks > 0);
        let memory = memory("self").expect("this process has memory");
        assert!(memory.rss_bytes > 0 && memory.peak_bytes > 0);
    }
}
