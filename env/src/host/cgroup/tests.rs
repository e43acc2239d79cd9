//! Control groups of both versions, drawn in a folder.

use super::*;

struct Drawing(tempfile::TempDir);

impl Drawing {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for the test"))
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("made");
        fs::write(path, text).expect("written");
        self
    }

    /// Draws `/proc/self`; `{}` in `mounts` stands for the folder of the drawing.
    fn groups(&self, cgroup: &str, mounts: &str) -> Groups {
        let here = self.0.path().to_str().expect("a path in UTF-8");
        self.file("proc/cgroup", cgroup).file("proc/mountinfo", &mounts.replace("{}", here));
        Groups::of_process(&self.0.path().join("proc"))
    }
}

const V2_MOUNT: &str = "30 25 0:26 / {}/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn version_2_limits_of_the_own_group_are_read() {
    let drawing = Drawing::new();
    drawing
        .file("v2/pod/memory.max", "1000\n")
        .file("v2/pod/memory.current", "700\n")
        .file("v2/pod/memory.stat", "anon 400\ninactive_file 300\ninactive_file_x 9\n")
        .file("v2/pod/cpu.max", "150000 100000\n")
        .file("v2/pod/cpu.stat", "usage_usec 42\nuser_usec 1\n");
    let groups = drawing.groups("0::/pod\n", V2_MOUNT);
    assert_eq!(groups.memory(), Some(Memory { limit_bytes: 1000, used_bytes: 400 }));
    assert_eq!(groups.cpu(), Some(Cpu { processors: 1.5, used_us: 42 }));
}

#[test]
fn a_tighter_group_around_the_own_one_counts() {
    let drawing = Drawing::new();
    drawing
        .file("v2/slice/memory.max", "500\n")
        .file("v2/slice/memory.current", "450\n")
        .file("v2/slice/cpu.max", "50000 100000\n")
        .file("v2/slice/cpu.stat", "usage_usec 7\n")
        .file("v2/slice/pod/memory.max", "1000\n")
        .file("v2/slice/pod/memory.current", "100\n")
        .file("v2/slice/pod/cpu.max", "max 100000\n")
        .file("v2/slice/pod/cpu.stat", "usage_usec 3\n");
    let groups = drawing.groups("0::/slice/pod\n", V2_MOUNT);
    assert_eq!(groups.memory(), Some(Memory { limit_bytes: 500, used_bytes: 450 }));
    assert_eq!(groups.cpu(), Some(Cpu { processors: 0.5, used_us: 7 }));
}

#[test]
fn a_group_without_limits_says_nothing() {
    let drawing = Drawing::new();
    drawing
        .file("v2/pod/memory.max", "max\n")
        .file("v2/pod/memory.current", "700\n")
        .file("v2/pod/cpu.max", "max 100000\n");
    let groups = drawing.groups("0::/pod\n", V2_MOUNT);
    assert_eq!((groups.memory(), groups.cpu()), (None, None));
}

#[test]
fn version_1_limits_are_read() {
    let drawing = Drawing::new();
    drawing
        .file("memory/a/memory.limit_in_bytes", "2000\n")
        .file("memory/a/memory.usage_in_bytes", "900\n")
        .file("memory/a/memory.stat", "total_inactive_file 100\n")
        .file("cpu/a/cpu.cfs_quota_us", "200000\n")
        .file("cpu/a/cpu.cfs_period_us", "100000\n")
        .file("cpu/a/cpuacct.usage", "5000000\n");
    let groups = drawing.groups(
        "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n",
        "30 25 0:26 / {}/memory rw - cgroup cgroup rw,memory\n31 25 0:27 / {}/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n",
    );
    assert_eq!(groups.memory(), Some(Memory { limit_bytes: 2000, used_bytes: 800 }));
    assert_eq!(groups.cpu(), Some(Cpu { processors: 2.0, used_us: 5000 }));
}

#[test]
fn a_path_of_the_host_falls_back_to_what_is_mounted() {
    let drawing = Drawing::new();
    drawing.file("memory/memory.limit_in_bytes", "2000\n").file("memory/memory.usage_in_bytes", "900\n");
    let mounts = "30 25 0:26 /host/part {}/memory rw - cgroup cgroup rw,memory\n";
    let groups = drawing.groups("4:memory:/elsewhere/deep\n", mounts);
    assert_eq!(groups.memory(), Some(Memory { limit_bytes: 2000, used_bytes: 900 }));
}

#[test]
fn a_machine_without_groups_says_nothing() {
    let groups = Drawing::new().groups("", "");
    assert_eq!((groups.memory(), groups.cpu()), (None, None));
}
