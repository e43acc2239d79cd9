//! The machine that a report was made on, from the text of `/proc`. Knows no deployment.

use serde::{Deserialize, Serialize};

/// What a reader must know of a machine to compare its figures with those of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Processors that this process may use; 0 if that is not known.
    pub(crate) cpus: usize,
    /// Memory of the whole machine; 0 if that is not known.
    pub(crate) memory_bytes: u64,
    /// The system and its version, like `Linux 6.12.1`, or `unknown`.
    pub(crate) system: String,
    /// The processors' name; none where the system does not tell it.
    pub(crate) processor: Option<String>,
}

impl Machine {
    /// Describes the machine that this process runs on.
    pub(crate) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(0, |count| count.get()),
            memory_bytes: memory_bytes(&read("/proc/meminfo")).unwrap_or(0),
            system: system(&read("/proc/sys/kernel/osrelease")),
            processor: processor(&read("/proc/cpuinfo")),
        }
    }
}

/// # Source
/// proc_meminfo(5): `kB` are 1,024 bytes.
fn memory_bytes(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn system(osrelease: &str) -> String {
    match osrelease.trim() {
        "" => "unknown".to_owned(),
        release => format!("Linux {release}"),
    }
}

/// Gives the name of the first processor; they are alike, and some architectures name none.
fn processor(cpuinfo: &str) -> Option<String> {
    let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let (_, name) = lines.find(|(field, _)| field.trim() == "model name")?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Machine, memory_bytes, processor, system};

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory_bytes("MemTotal:       24684092 kB\nMemFree:  1 kB\n"), Some(24_684_092 * 1024));
        for text in
            ["", "MemFree:  1 kB\n", "MemTotal: many kB\n", "MemTotal: 1\n", "MemTotal: 18446744073709551615 kB"]
        {
            assert_eq!(memory_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn system_is_told_with_its_release() {
        assert_eq!(system("6.12.1-generic\n"), "Linux 6.12.1-generic");
        assert_eq!(system(""), "unknown");
    }

    #[test]
    fn the_first_processor_names_them_all() {
        let text = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: Some CPU: 8 cores @ 2.60GHz\n\nmodel name\t: Other\n";
        assert_eq!(processor(text).as_deref(), Some("Some CPU: 8 cores @ 2.60GHz"));
        for text in ["", "processor\t: 0\nBogoMIPS\t: 50.00\n", "model name\t: \n"] {
            assert_eq!(processor(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_can_be_read_and_its_description_is_plain_data() {
        let machine = Machine::this();
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.system.starts_with("Linux "), "{machine:?}");
        let text = serde_json::to_string(&machine).expect("it is plain data");
        assert_eq!(serde_json::from_str::<Machine>(&text).expect("it was just written"), machine);
    }
}
