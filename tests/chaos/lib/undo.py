"""Undoes what a run may have left: processes by pid and start time, mounts, namespaces. Safe to run twice.

usage: undo.py WORK | undo.py own WORK PID | undo.py sweep PREFIX FOLDER
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from dev import start_ticks, wait_gone


def started(work: Path) -> set[tuple[int, int]]:
    found = set()
    try:
        for line in (work / "started").read_text().splitlines():
            pid, _, ticks = line.partition(" ")
            if pid.isdigit() and ticks.isdigit():
                found.add((int(pid), int(ticks)))
    except OSError:
        pass
    return found


def end_all(processes: set[tuple[int, int]]) -> None:
    left = [(pid, ticks) for pid, ticks in processes if start_ticks(pid) == ticks]
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    for pid, ticks in left:
        wait_gone(pid, ticks, 10)


def unmount(work: Path) -> None:
    """Mounts in the folder, the last one first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    for point in reversed([line.split()[1] for line in lines]):
        if point.startswith(f"{work}/"):
            done = subprocess.run(["umount", point], capture_output=True, check=False)
            if done.returncode != 0:
                subprocess.run(["umount", "-l", point], capture_output=True, check=False)


def inside(namespace: str) -> set[tuple[int, int]]:
    """Processes of a namespace. It is ours alone, so everything in it is."""
    done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in done.stdout.split() if int(pid) != os.getpid()]
    return {(pid, ticks) for pid in pids if (ticks := start_ticks(pid)) is not None}


def remove(namespaces: list[str]) -> None:
    there = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    for namespace in namespaces:
        if namespace in there:
            end_all(inside(namespace))
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def own(work: Path, pid: int) -> None:
    """Writes down which process will clean up."""
    (work / "owner").write_text(f"{pid} {start_ticks(pid)}\n")


def undo(work: Path) -> None:
    end_all(started(work))
    try:
        names = (work / "namespaces").read_text().split()
    except OSError:
        names = []
    remove(names)
    unmount(work)
    (work / "owner").unlink(missing_ok=True)


def sweep(prefix: str, folder: Path) -> None:
    """What runs left that were killed before they could clean up: the process that would have done it is gone."""
    for owner in folder.glob("flotilla-chaos-*/owner"):
        pid, _, ticks = owner.read_text().strip().partition(" ")
        if str(start_ticks(int(pid))) != ticks:
            undo(owner.parent)
            shutil.rmtree(owner.parent, ignore_errors=True)
    there = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    for name in there:
        pid = name[len(prefix) :].split("-")[0]
        if name.startswith(prefix) and pid.isdigit() and start_ticks(int(pid)) is None:
            remove([name])


def main() -> None:
    match sys.argv[1:]:
        case ["sweep", prefix, folder]:
            sweep(prefix, Path(folder))
        case ["own", work, pid]:
            own(Path(work), int(pid))
        case [work]:
            undo(Path(work))


main()
