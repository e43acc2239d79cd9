"""Where CPU groups are made, by what the kernel tells of its hierarchies."""

import unittest
from pathlib import Path

import cpu

SPLIT = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
JOINED = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,relatime - cgroup cgroup rw,cpu,cpuacct\n"
SECOND = "32 31 0:29 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"


class Mounts(unittest.TestCase):
    def test_hierarchies_have_their_controllers(self):
        found = cpu.mounts(SPLIT)
        self.assertEqual([(str(m.path), m.version) for m in found], [("/sys/fs/cgroup/cpu", 1), ("/sys/fs/cgroup/cpuacct", 1), ("/sys/fs/cgroup/unified", 2)])
        self.assertEqual(found[0].controllers & {"cpu", "cpuacct"}, {"cpu"})
        self.assertEqual(cpu.mounts(JOINED)[0].root, "/docker/abc")
        self.assertEqual(cpu.mounts("nonsense\n"), [])

    def test_own_group_is_that_of_the_hierarchy(self):
        told = "2:cpu,cpuacct:/a/b\n1:name=systemd:/x\n0::/user.slice\n"
        self.assertEqual(cpu.own_group(told, "cpu", 1), "/a/b")
        self.assertEqual(cpu.own_group(told, "cpuacct", 1), "/a/b")
        self.assertEqual(cpu.own_group(told, "cpu", 2), "/user.slice")
        self.assertIsNone(cpu.own_group("1:memory:/m\n", "cpu", 1))


class Candidates(unittest.TestCase):
    def check(self, mountinfo, cgroup, expect):
        found = cpu.candidates(cpu.mounts(mountinfo)[0], cgroup, "cpu")
        self.assertEqual(found, [Path(path) for path in expect])

    def test_own_group_comes_first_and_the_root_last(self):
        self.check(SPLIT, "1:cpu:/\n", ["/sys/fs/cgroup/cpu"])
        self.check(SPLIT, "1:cpu:/ci/job\n", ["/sys/fs/cgroup/cpu/ci/job", "/sys/fs/cgroup/cpu/ci", "/sys/fs/cgroup/cpu"])
        self.check(SECOND, "0::/ci\n", ["/sys/fs/cgroup/ci", "/sys/fs/cgroup"])

    def test_a_group_outside_of_what_is_mounted_is_not_seen(self):
        self.check(JOINED, "1:cpu,cpuacct:/docker/abc/run\n", ["/sys/fs/cgroup/cpu,cpuacct/run", "/sys/fs/cgroup/cpu,cpuacct"])
        self.check(JOINED, "1:cpu,cpuacct:/docker/other\n", ["/sys/fs/cgroup/cpu,cpuacct"])
        self.check(SECOND, "0::/../outside\n", ["/sys/fs/cgroup"])


class Quotas(unittest.TestCase):
    def test_the_kernel_gives_no_less_than_a_millisecond(self):
        self.assertEqual([cpu.quota_us(share) for share in (0.25, 0.1, 0.01, 1)], [2500, 1000, 1000, 10_000])


if __name__ == "__main__":
    unittest.main()
