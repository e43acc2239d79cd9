"""Disks that can lose their power: file systems on images, one per data folder.

The cut is the kernel's own shutdown of a file system without flushing its log: what was not synced is gone.
"""

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

from dev import fail

# The same number for ext4 and XFS; linux/fs.h calls it EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN.
SHUTDOWN = 0x8004587D
WITHOUT_FLUSH = 2
# Sparse; forty rounds of a ledger and big files come to some 10 GB on a node.
IMAGE_MB = 16000


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(command)}: {done.stderr.strip()}")


class Disk:
    """A file system at a folder."""

    def __init__(self, image: Path, at: Path, kind: str):
        self.image, self.at, self.kind = image, at, kind
        with open(image, "wb") as file:
            file.truncate(IMAGE_MB << 20)
        if kind == "ext4":
            run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", str(image))
        else:
            run("mkfs.xfs", "-q", "-K", str(image))
        self.mount()

    def mount(self) -> None:
        self.at.mkdir(parents=True, exist_ok=True)
        run("mount", "-o", "loop", str(self.image), str(self.at))
        self.handle = os.open(self.at, os.O_RDONLY | os.O_DIRECTORY)

    def cut(self) -> None:
        fcntl.ioctl(self.handle, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))

    def unmount(self) -> None:
        os.close(self.handle)
        for _ in range(100):
            done = subprocess.run(["umount", str(self.at)], capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.1)
        fail(f"{self.at} can't be unmounted: {done.stderr.strip()}")


class Disks:
    """All disks of a fleet: a node has one for its metadata and one for its chunks, as it may have in production."""

    def __init__(self, lab, seed: int):
        self.of: dict[str, list[Disk]] = {}
        for number, process in enumerate(lab.processes):
            # Both kinds side by side, the other way round with the next seed.
            kinds = ["ext4", "xfs"] if (number + seed) % 2 else ["xfs", "ext4"]
            name, folder = process.name, process.data_dir
            self.of[name] = [Disk(lab.work / f"{name}.img", folder, kinds[0])]
            if process.role == "node":
                self.of[name].append(Disk(lab.work / f"{name}-chunks.img", folder / "chunks", kinds[1]))

    def cut(self, names: list[str]) -> None:
        """Chunks go first: while they live, a server that notices what is done to its metadata can still mark them as failed, as
        it should when a disk fails, and then waits for an operator. Where the power fails, nobody has the time."""
        for name in names:
            for disk in reversed(self.of[name]):
                disk.cut()

    def remount(self, names: list[str]) -> None:
        """Brings back what was synced. The processes must be gone."""
        for name in names:
            for disk in reversed(self.of[name]):
                disk.unmount()
            for disk in self.of[name]:
                disk.mount()

    def unmount(self) -> None:
        for disks in self.of.values():
            for disk in reversed(disks):
                disk.unmount()
