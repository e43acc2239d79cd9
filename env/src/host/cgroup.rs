//! Reads what the process's control group allows and uses, version 2 and 1.
//!
//! # Source
//! Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/{memory,cpuacct}.rst; proc_pid_mountinfo(5).

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A group that is at least this deep is a loop or an attack on our patience; real ones have some five levels.
const LEVELS_MAX: usize = 32;

/// Memory of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// What the group may use.
    pub(super) limit_bytes: u64,
    /// What it uses and can't give back at once (cached files apart).
    pub(super) used_bytes: u64,
}

/// Processor time of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cpu {
    /// How many processors' time the group may use.
    pub(super) processors: f64,
    /// Processor time used since the group was made, in microseconds.
    pub(super) used_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    V1,
    V2,
}

/// The folders of one controller: the process's own group first, then the groups around it, each of which may be tighter.
#[derive(Debug, Default)]
struct Chain {
    generation: Option<Generation>,
    folders: Vec<PathBuf>,
}

/// The process's groups, found once; a process rarely moves.
#[derive(Debug)]
pub(super) struct Groups {
    memory: Chain,
    cpu: Chain,
    usage: Chain,
}

impl Groups {
    /// Finds the groups of the process whose `/proc` folder is given.
    pub(super) fn of_process(proc: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
        let (groups, mounts) = (read("cgroup"), read("mountinfo"));
        let chain = |controller: &str, file: &str| {
            let v1 = Chain::find(&groups, &mounts, Generation::V1, controller);
            // A controller lives in one hierarchy only; version 1 wins where its files are there.
            let used = v1.folders.first().is_some_and(|folder| folder.join(file).exists());
            if used { v1 } else { Chain::find(&groups, &mounts, Generation::V2, "") }
        };
        Self {
            memory: chain("memory", "memory.limit_in_bytes"),
            cpu: chain("cpu", "cpu.cfs_quota_us"),
            usage: chain("cpuacct", "cpuacct.usage"),
        }
    }

    /// Tells the memory of the tightest group, if any has a limit.
    pub(super) fn memory(&self) -> Option<Memory> {
        let memory = |folder: &PathBuf| {
            let (limit, used, idle) = match self.memory.generation? {
                Generation::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
                Generation::V2 => ("memory.max", "memory.current", "inactive_file"),
            };
            let idle_bytes = field(&folder.join("memory.stat"), idle).unwrap_or(0);
            let used_bytes = number(&folder.join(used))?.saturating_sub(idle_bytes);
            Some(Memory { limit_bytes: number(&folder.join(limit))?, used_bytes })
        };
        let room = |memory: &Memory| memory.limit_bytes.saturating_sub(memory.used_bytes);
        self.memory.folders.iter().filter_map(memory).min_by_key(room)
    }

    /// Tells the processor time of the tightest group, if any has a quota.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let quota = |folder: &PathBuf| match self.cpu.generation? {
            Generation::V1 => {
                let quota = number(&folder.join("cpu.cfs_quota_us"))?; // -1, which is no number here, means none
                Some(quota as f64 / number(&folder.join("cpu.cfs_period_us"))?.max(1) as f64)
            }
            Generation::V2 => {
                let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
                let mut words = text.split_whitespace().map(str::parse::<u64>);
                let quota = words.next()?.ok()?; // "max" means none
                Some(quota as f64 / words.next()?.ok()?.max(1) as f64)
            }
        };
        let (level, processors) = (self.cpu.folders.iter().enumerate())
            .filter_map(|(level, folder)| Some((level, quota(folder)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        // Usage must be that of the group with the quota: its other processes eat from the same plate.
        let folder = self.usage.folders.get(level).or(self.usage.folders.first())?;
        let used_us = match self.usage.generation? {
            Generation::V1 => number(&folder.join("cpuacct.usage"))? / 1000,
            Generation::V2 => field(&folder.join("cpu.stat"), "usage_usec")?,
        };
        Some(Cpu { processors, used_us })
    }
}

impl Chain {
    fn find(groups: &str, mounts: &str, generation: Generation, controller: &str) -> Self {
        let Some(path) = group_path(groups, controller) else { return Self::default() };
        let Some((root, mount)) = mount_of(mounts, generation, controller) else { return Self::default() };
        // Inside a container the path may be that of the host, of which only the mounted part can be seen.
        let inside = path.strip_prefix(&root).map(|rest| mount.join(rest)).ok();
        let own = inside.filter(|folder| folder.is_dir()).unwrap_or_else(|| mount.clone());
        let folders = own.ancestors().take_while(|folder| folder.starts_with(&mount)).take(LEVELS_MAX);
        Self { generation: Some(generation), folders: folders.map(Path::to_owned).collect() }
    }
}

/// Finds a group's path in the lines `number:controllers:path` of `/proc/self/cgroup`; version 2 has no controllers.
fn group_path(groups: &str, controller: &str) -> Option<PathBuf> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = if controller.is_empty() {
            number == "0" && controllers.is_empty()
        } else {
            controllers.split(',').any(|name| name == controller)
        };
        fits.then(|| PathBuf::from(path))
    })
}

/// Finds where a hierarchy is mounted: the root of what is mounted, and the folder.
fn mount_of(mounts: &str, generation: Generation, controller: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mount) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let fits = match generation {
            Generation::V1 => file_system == "cgroup" && options.split(',').any(|name| name == controller),
            Generation::V2 => file_system == "cgroup2",
        };
        fits.then(|| (PathBuf::from(root), PathBuf::from(mount)))
    })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
