//! The machine's own figures from sysinfo, narrowed to what the process's control group allows.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use sysinfo::MemoryRefreshKind;

use super::{HostProbe, HostStats, cgroup::Groups};
use crate::clock::{self, Clock};

/// Samples processors and memory; nothing else is refreshed, since a full refresh walks every process of the machine.
#[derive(Debug)]
pub(super) struct System {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Nothing where sysinfo does not know the platform; the control group may still answer.
    machine: Option<sysinfo::System>,
    groups: Groups,
    last_use: Option<(tokio::time::Instant, u64)>,
}

impl System {
    pub(super) fn new() -> Self {
        let mut machine = sysinfo::System::new()
            .inspect_err(|error| tracing::warn!(%error, "no figures of the machine, placement sees none"))
            .ok();
        if let Some(machine) = &mut machine {
            machine.refresh_cpu_usage(); // the first sample only sets the mark that later ones count from
        }
        let groups = Groups::of_process(Path::new("/proc/self"));
        Self { clock: clock::system(), state: Mutex::new(State { machine, groups, last_use: None }) }
    }
}

impl HostProbe for System {
    fn sample(&self) -> HostStats {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats = HostStats::default();
        if let Some(machine) = &mut state.machine {
            machine.refresh_cpu_usage();
            machine.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            stats.cpu_busy = (machine.global_cpu_usage() / 100.0).clamp(0.0, 1.0);
            stats.memory_total_bytes = machine.total_memory();
            stats.memory_free_bytes = machine.available_memory();
        }
        if let Some(memory) = state.groups.memory() {
            stats = narrow_memory(stats, memory.limit_bytes, memory.used_bytes);
        }
        if let Some(cpu) = state.groups.cpu() {
            let now = self.clock.now();
            if let Some((then, used_before_us)) = state.last_use.replace((now, cpu.used_us)) {
                let elapsed_us = (now - then).as_micros() as f64;
                let share = cpu.used_us.saturating_sub(used_before_us) as f64 / (elapsed_us * cpu.processors).max(1.0);
                // Whichever is the tighter: a quota that is used up, or a machine that others keep busy.
                stats.cpu_busy = stats.cpu_busy.max((share as f32).clamp(0.0, 1.0));
            }
        }
        stats
    }
}

fn narrow_memory(stats: HostStats, limit_bytes: u64, used_bytes: u64) -> HostStats {
    if stats.memory_total_bytes != 0 && limit_bytes >= stats.memory_total_bytes {
        return stats; // "no limit" is a huge number in cgroup v1
    }
    let free = limit_bytes.saturating_sub(used_bytes);
    let machine_free = if stats.memory_total_bytes == 0 { free } else { stats.memory_free_bytes };
    HostStats { memory_total_bytes: limit_bytes, memory_free_bytes: free.min(machine_free), ..stats }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_of_machine_and_group_counts_for_memory() {
        let machine = HostStats { cpu_busy: 0.0, memory_free_bytes: 600, memory_total_bytes: 1000 };
        let check = |limit, used, total, free| {
            let stats = narrow_memory(machine, limit, used);
            assert_eq!((stats.memory_total_bytes, stats.memory_free_bytes), (total, free), "{limit} {used}");
        };
        check(u64::MAX, 5, 1000, 600);
        check(500, 100, 500, 400);
        check(900, 100, 900, 600);
        check(500, 700, 500, 0);
    }

    #[test]
    fn the_real_machine_answers_sensible_figures() {
        let probe = System::new();
        probe.sample();
        let stats = probe.sample();
        assert!(stats.memory_total_bytes > 16 << 20, "{stats:?}");
        assert!(stats.memory_free_bytes <= stats.memory_total_bytes, "{stats:?}");
        assert!((0.0..=1.0).contains(&stats.cpu_busy), "{stats:?}");
    }
}
