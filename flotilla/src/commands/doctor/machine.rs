//! This machine as a server's home: free space, file system, marks of failed disks, limits, kernel.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::output;

/// With less, one upload of a large file fills the disk.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// A disk with less free space is soon full.
const FREE_PERCENT_MIN: u64 = 10;
/// 8,192 connections of each listener, RocksDB's tables and chunk files.
const FILES_WANTED: u64 = 16_384;
/// With less a server of a few hundred clients runs out.
const FILES_MIN: u64 = 4_096;
/// From this kernel on, a failed writeback is told to every process that syncs the file.
const KERNEL_MIN: (u32, u32) = (4, 16);
/// Marks that a server leaves when a disk failed.
const MARKS: [&str; 2] = ["metadata.failed", "chunks/chunks.poisoned"];

/// Looks at folders for data and at what is the same for all of them.
pub fn examine(folders: &[PathBuf]) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut devices = BTreeSet::new();
    for folder in folders {
        match std::fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => {
                // Folders of one file system share its space.
                if devices.insert(metadata.dev()) {
                    all.push(space(folder));
                    all.push(file_system(folder));
                }
                all.extend(mark(folder));
            }
            Ok(_) => all.push(Finding::fail("data", format!("{} is no folder", folder.display()), "name another one")),
            Err(e) => {
                let fix = "make it, owned by the user that the server runs as, or mount its disk";
                all.push(Finding::fail("data", format!("{}: {e}", folder.display()), fix));
            }
        }
    }
    all.push(files(getrlimit(Resource::Nofile).maximum));
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    all.push(kernel(&release));
    all.extend(
        std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok().and_then(|text| huge_pages(&text)),
    );
    all
}

fn space(folder: &Path) -> Finding {
    match rustix::fs::statvfs(folder) {
        Ok(stat) => judged_space(folder, stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize),
        Err(e) => Finding::fail("disk", format!("{}: {e}", folder.display()), "look whether its disk is mounted"),
    }
}

fn judged_space(folder: &Path, free: u64, total: u64) -> Finding {
    let text = format!("{}: {} of {} free", folder.display(), output::size(free), output::size(total));
    let fix = "free space, or give the server a larger disk";
    match free {
        free if free < FREE_BYTES_MIN => Finding::fail("disk", text, fix),
        free if free < total / 100 * FREE_PERCENT_MIN => Finding::warn("disk", text, fix),
        _ => Finding::ok("disk", text),
    }
}

fn file_system(folder: &Path) -> Finding {
    match rustix::fs::statfs(folder) {
        // The kernel's type has another width on every architecture; the numbers themselves have 32 bits.
        Ok(stat) => judged_file_system(folder, stat.f_type as u32),
        Err(e) => Finding::fail("filesystem", format!("{}: {e}", folder.display()), "look whether its disk is mounted"),
    }
}

fn judged_file_system(folder: &Path, magic: u32) -> Finding {
    let known = |name: &str| format!("{}: {name}", folder.display());
    match magic {
        0xef53 => Finding::ok("filesystem", known("ext4")),
        0x5846_5342 => Finding::ok("filesystem", known("xfs")),
        0x9123_683e => {
            Finding::warn("filesystem", known("btrfs"), "ext4 or xfs sync faster: btrfs writes every change twice")
        }
        0x0102_1994 => {
            Finding::warn("filesystem", known("tmpfs"), "use a disk: this is memory, and gone with the power")
        }
        0x794c_7630 => Finding::warn(
            "filesystem",
            known("overlay"),
            "use a volume: a container's own layer goes with the container",
        ),
        0x6969 | 0x6573_5546 | 0xff53_4d42 | 0xfe53_4d42 => {
            let fix = "use a local disk: what a sync means here is up to another machine or program";
            Finding::warn("filesystem", known("a network or user-space file system"), fix)
        }
        other => Finding::ok("filesystem", known(&format!("type {other:#x}"))),
    }
}

fn mark(folder: &Path) -> Option<Finding> {
    let name = MARKS.iter().find(|name| folder.join(name).exists())?;
    let text = format!("{} has the mark {name}: a sync failed here", folder.display());
    let fix = format!(
        "give the node a new disk, or, if the cause is known to be harmless: `flotilla node accept-disk {}`",
        folder.display()
    );
    Some(Finding::fail("data", text, fix))
}

fn files(limit: Option<u64>) -> Finding {
    let fix = "raise it: LimitNOFILE=1048576 in a systemd unit, `ulimit -Hn` in a shell, --ulimit of a container";
    let text = |limit: u64| format!("a process may have {limit} files open");
    match limit {
        Some(limit) if limit < FILES_MIN => Finding::fail("open files", text(limit), fix),
        Some(limit) if limit < FILES_WANTED => Finding::warn("open files", text(limit), fix),
        Some(limit) => Finding::ok("open files", text(limit)),
        None => Finding::ok("open files", "a process may have any number of files open"),
    }
}

fn kernel(release: &str) -> Finding {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < KERNEL_MIN {
        let fix =
            format!("use Linux {}.{} or later: an older one can forget a failed sync", KERNEL_MIN.0, KERNEL_MIN.1);
        return Finding::warn("kernel", release, fix);
    }
    Finding::ok("kernel", release)
}

fn huge_pages(text: &str) -> Option<Finding> {
    let fix = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
    text.contains("[always]").then(|| {
        Finding::warn(
            "huge pages",
            "always: a server's memory can grow beyond what it uses, and counts in its cgroup",
            fix,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    #[test]
    fn little_space_is_told_and_less_is_a_failure() {
        let state =
            |free_gib: u64, total_gib: u64| judged_space(Path::new("/d"), free_gib << 30, total_gib << 30).state;
        assert_eq!((state(50, 100), state(9, 100), state(0, 100)), (State::Ok, State::Warn, State::Fail));
    }

    #[test]
    fn file_systems_that_keep_nothing_are_told() {
        let state = |magic| judged_file_system(Path::new("/d"), magic).state;
        for good in [0xef53, 0x5846_5342, 0x1234] {
            assert_eq!(state(good), State::Ok);
        }
        for bad in [0x0102_1994, 0x6969, 0x794c_7630] {
            assert_eq!(state(bad), State::Warn);
        }
    }

    #[test]
    fn limits_kernels_and_huge_pages_are_judged() {
        let states = [Some(1024), Some(8192), Some(20_000), None].map(|limit| files(limit).state);
        assert_eq!(states, [State::Fail, State::Warn, State::Ok, State::Ok]);
        let states = ["3.10.0-1160.el7", "4.15.0", "4.16", "6.1.0-13-amd64", "x"].map(|release| kernel(release).state);
        assert_eq!(states, [State::Warn, State::Warn, State::Ok, State::Ok, State::Warn]);
        assert!(huge_pages("[always] madvise never\n").is_some() && huge_pages("always [madvise] never\n").is_none());
    }

    #[test]
    fn marks_and_missing_folders_are_failures() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(mark(folder.path()), None);
        std::fs::write(folder.path().join("metadata.failed"), "").expect("the folder is writable");
        assert!(mark(folder.path()).is_some_and(|finding| finding.to_string().contains("accept-disk")));
        let all = examine(&[folder.path().join("none")]);
        assert_eq!((all[0].check, all[0].state), ("data", State::Fail));
    }
}
