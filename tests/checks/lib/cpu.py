"""Groups of processes that share a part of one processor, by control groups of either version; and what they used of it.

usage: cpu.py sweep        removes groups of runs that are over

Groups lie below the caller's own group if that works, else below the root that this machine shows; a group's name has the pid of
the run that made it, so that what a killed run leaves is found.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dev import fail, note, start_ticks

PREFIX = "flotilla-check-"
# Short, so that a group which has used its part waits for milliseconds and heartbeats get their turn.
PERIOD_US = 10_000
# The kernel gives no less than a millisecond of a period.
SHARE_MIN = 0.1
REMOVED_WITHIN_S = 10


@dataclass(frozen=True)
class Mount:
    """Where a hierarchy of groups is seen, and which of its groups that is."""

    path: Path
    root: str
    version: int
    controllers: frozenset[str]


def mounts(mountinfo: str) -> list[Mount]:
    """The hierarchies of /proc/self/mountinfo; of the second version it does not say which controllers they have."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if kind[0] == "cgroup2" else 1
        controllers = frozenset(kind[2].split(",")) if version == 1 else frozenset()
        found.append(Mount(Path(fields[4]), fields[3], version, controllers))
    return found


def own_group(cgroup: str, controller: str, version: int) -> str | None:
    """The caller's group in a hierarchy, as /proc/self/cgroup has it."""
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        if (names == "" and version == 2) or (version == 1 and controller in names.split(",")):
            return path
    return None


def candidates(mount: Mount, cgroup: str, controller: str) -> list[Path]:
    """Folders below which a group may be made, the best first: the caller's own group, then those above it."""
    own = own_group(cgroup, controller, mount.version)
    found = [mount.path]
    root = mount.root.rstrip("/")
    if own is not None and own.startswith(f"{root}/") and ".." not in own.split("/"):
        steps = [step for step in own[len(root) :].split("/") if step]
        found = [mount.path.joinpath(*steps[:count]) for count in range(len(steps), -1, -1)]
    return found


def quota_us(share: float) -> int:
    return max(int(share * PERIOD_US), int(SHARE_MIN * PERIOD_US))


class Groups:
    """The groups of one run, by name; those who make them remove them."""

    def __init__(self, names: list[str]):
        self.names = names
        self.refused: list[str] = []
        mountinfo, cgroup = Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
        seen = mounts(mountinfo)
        self.version, self.folder = self.find(seen, cgroup)
        self.usage_folder = self.folder
        if self.version == 1:
            # Where times are counted by another hierarchy, there are groups of the same names in that one.
            counting = [mount for mount in seen if "cpuacct" in mount.controllers]
            if counting and "cpu" not in counting[0].controllers:
                self.usage_folder = self.make_all(candidates(counting[0], cgroup, "cpuacct"), lambda _: None)
            if not counting or self.usage_folder is None:
                self.refuse("no hierarchy counts processor time (cpuacct)")

    def find(self, seen: list[Mount], cgroup: str) -> tuple[int, Path]:
        for mount in seen:
            if mount.version == 1 and "cpu" not in mount.controllers:
                continue
            below = candidates(mount, cgroup, "cpu")
            prepare = self.prepare_2 if mount.version == 2 else lambda _: None
            made = self.make_all(below, prepare, lambda group, version=mount.version: self.limit(group, version, 0.5))
            if made is not None:
                return mount.version, made
        self.refuse("; ".join(self.refused) or "no hierarchy of control groups with a cpu controller is mounted")
        raise AssertionError  # it has ended

    @staticmethod
    def refuse(why: str) -> None:
        fail(f"no CPU group can be made here, and nothing is measured without them: {why}. Run it as root, with the cpu controller writable")

    @staticmethod
    def prepare_2(parent: Path) -> None:
        """Of the second version: groups below have the controller only if their parent hands it on."""
        if "cpu" not in (parent / "cgroup.controllers").read_text().split():
            raise OSError("it has no cpu controller")
        if "cpu" not in (parent / "cgroup.subtree_control").read_text().split():
            (parent / "cgroup.subtree_control").write_text("+cpu")

    def make_all(self, parents: list[Path], prepare, try_out=lambda _: None) -> Path | None:
        """Makes all groups below the first folder where that works; gives the path of the groups without their own names."""
        for parent in parents:
            made = []
            try:
                prepare(parent)
                for name in self.names:
                    group = parent / f"{PREFIX}{os.getpid()}-{name}"
                    group.mkdir()
                    made.append(group)
                    try_out(group)
                return parent
            except OSError as error:
                self.refused.append(f"{parent}: {error}")
                for group in made:
                    group.rmdir()
        return None

    def path(self, name: str) -> Path:
        return self.folder / f"{PREFIX}{os.getpid()}-{name}"

    @staticmethod
    def limit(group: Path, version: int, share: float | None) -> None:
        quota = None if share is None else quota_us(share)
        if version == 2:
            (group / "cpu.max").write_text(f"{'max' if quota is None else quota} {PERIOD_US}")
        else:
            # A shorter period may not make the part larger than it is for a moment, so the part goes first.
            (group / "cpu.cfs_quota_us").write_text("-1")
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota))

    def set(self, name: str, share: float | None) -> None:
        """Gives a group so much of one processor; None is as much as there is."""
        self.limit(self.path(name), self.version, share)

    def folders(self, name: str) -> list[Path]:
        own = f"{PREFIX}{os.getpid()}-{name}"
        return list(dict.fromkeys([self.folder / own, self.usage_folder / own]))

    def put(self, name: str, pid: int) -> None:
        """Moves a process with all its threads."""
        for folder in self.folders(name):
            (folder / "cgroup.procs").write_text(str(pid))

    def wrapper(self, name: str) -> list[str]:
        """What a process is started with, so that it is in its group from its first instruction on."""
        into = " ".join(f"echo $$ >'{folder}/cgroup.procs';" for folder in self.folders(name))
        return ["sh", "-ec", f'{into} exec "$@"', "sh"]

    def used_s(self, name: str) -> float:
        """Processor time that the group has used."""
        group = self.usage_folder / f"{PREFIX}{os.getpid()}-{name}"
        if self.version == 1:
            return int((group / "cpuacct.usage").read_text()) / 1e9
        return self.stat(name).get("usage_usec", 0) / 1e6

    def stat(self, name: str) -> dict[str, int]:
        lines = (self.path(name) / "cpu.stat").read_text().splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}

    def throttled(self, name: str) -> tuple[int, int]:
        """How many periods the group ran in, and in how many of them it had to wait for the next."""
        stat = self.stat(name)
        return stat.get("nr_periods", 0), stat.get("nr_throttled", 0)


def remove(group: Path) -> None:
    """Removes a group; its last process may be dying still."""
    end = time.monotonic() + REMOVED_WITHIN_S
    while group.exists():
        try:
            group.rmdir()
        except OSError as error:
            if time.monotonic() > end:
                note(f"{group} can't be removed: {error}")
                return
            time.sleep(0.05)


def sweep() -> None:
    """Removes the groups of runs that are over: those that made them are gone."""
    cgroup = Path("/proc/self/cgroup").read_text()
    for mount in mounts(Path("/proc/self/mountinfo").read_text()):
        for controller in ("cpu", "cpuacct"):
            if mount.version == 1 and controller not in mount.controllers:
                continue
            for parent in candidates(mount, cgroup, controller):
                for group in parent.glob(f"{PREFIX}*"):
                    pid = group.name.removeprefix(PREFIX).split("-")[0]
                    if pid.isdigit() and start_ticks(int(pid)) is None:
                        remove(group)


if __name__ == "__main__":
    if sys.argv[1:] != ["sweep"]:
        sys.exit(__doc__)
    sweep()
