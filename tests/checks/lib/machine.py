"""Machines that share this one's kernel: each has an address of its own, and folders of its own in the place of some of the system's.

The folders are mounted anew for every command, in a namespace that ends with it, so that nothing of it is seen outside. Needs root.
"""

import os
import resource
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dev import start_ticks

# Source and target of each mount, the folder to be in, and the command.
ENTER = """
set -eu
while [ "$1" != -- ]; do
  mount --bind "$2" "$3"
  [ "$1" = rw ] || mount -o remount,bind,ro "$3"
  shift 3
done
cd "$2"
shift 2
exec "$@"
"""
# What programs look for in /etc, and a machine has from the start.
OF_ETC = ["login.defs", "ld.so.cache", "alternatives"]
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def new_etc(etc: Path, hosts: dict[str, str]) -> None:
    """Fills /etc of a machine on which nothing but Debian was installed; it has no user besides root."""
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in hosts.items()))
    for name in OF_ETC:
        if (of := Path("/etc") / name).is_dir():
            shutil.copytree(of, etc / name, symlinks=True)
        elif of.exists():
            shutil.copy(of, etc / name)


@dataclass
class Machine:
    """One machine: its folder, its network namespace, or none for one without a network, and what is mounted where."""

    folder: Path
    space: str | None
    mounts: list[tuple[str, Path, str]] = field(default_factory=list)

    def mount(self, target: str, source: Path | None = None, mode: str = "rw") -> Path:
        """Puts a folder or a file in the place of one that is there; without a source one of the machine's own."""
        source = source or self.folder / target.lstrip("/")
        if not source.exists():
            source.mkdir(parents=True)
        self.mounts.append((mode, source, target))
        return source

    def inside(self, command: list[str], cwd: str = "/") -> list[str]:
        """What runs a command on the machine; the pid stays the command's own."""
        net = ["nsenter", f"--net=/run/netns/{self.space}"] if self.space else ["unshare", "--net"]
        mounts = [str(word) for mount in self.mounts for word in mount]
        return [*net, "unshare", "--mount", "bash", "-c", ENTER, "machine", *mounts, "--", cwd, *command]

    def run(self, command: list[str], env: dict[str, str] | None = None, within_s: float = 60) -> subprocess.CompletedProcess:
        """Runs a command to its end, as root where it does not say otherwise."""
        env = {"PATH": SYSTEM_PATH} | (env or {})
        return subprocess.run(
            self.inside(command), env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=False
        )

    def start(self, command: list[str], env: dict[str, str], log: Path, umask: int = 0o022, cwd: str = "/") -> subprocess.Popen:
        """Starts a server, and notes its pid for the clean-up."""
        with open(log, "ab") as out:
            child = subprocess.Popen(
                self.inside(command, cwd), env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, umask=umask, start_new_session=True
            )
        with open(Path(os.environ["WORK"]) / "started", "a") as started:
            started.write(f"{child.pid} {start_ticks(child.pid)}\n")
        return child


def as_user(user: str, group: str, files_max: int) -> list[str]:
    """What stands before a command that is to run as a user without any right of root's, with so many open files or as many as may be."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = files_max if allowed == resource.RLIM_INFINITY else min(files_max, allowed)
    return [
        "prlimit", f"--nofile={files}", "setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs",
        "--bounding-set=-all", "--inh-caps=-all", "--",
    ]
