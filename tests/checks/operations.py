"""Runs what docs/OPERATIONS.md tells people to type.

A machine of the manual is a folder and an address of the loopback network here: paths and addresses are put in their places, and
`ssh`, `scp` and `systemctl` are little programs that do on these what the real ones do.
"""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from dev import Dev, fail, flotilla, note, start_ticks
from manual import Block, blocks, unchecked

UP_S, END_S, BLOCK_S = 120, 60, 300
PATHS = re.compile(r"(?<![\w.])/(etc/flotilla|etc/prometheus|var/lib/flotilla|usr/local/bin)")
# What a request that does not wait is answered with.
NOT_FOUND = 3

SSH = """#!/bin/bash
set -eu
machine=$1
shift
MACHINE=$machine exec "$@"
"""
SCP = """#!/bin/bash
set -eu
[ "$1" = -p ] && shift
to=${2%%:*} path=${2#*:}
exec cp -p "$1" "${path/"/machines/$MACHINE/"/"/machines/$to/"}"
"""
SYSTEMCTL = """#!/bin/bash
exec python3 "$CHECKS/operations.py" systemctl "$@"
"""


def systemctl(arguments: list[str]) -> None:
    """Starts and stops the server that a unit stands for, as systemd does: SIGTERM, and waiting for its end."""
    work, machine = Path(os.environ["WORK"]), os.environ["MACHINE"]
    *orders, unit = [argument for argument in arguments if argument != "--now"]
    role = unit.removeprefix("flotilla-")
    noted = work / "machines" / machine / f"{unit}.pid"
    if orders[0] in ("stop", "restart", "disable") and noted.exists():
        pid, ticks = map(int, noted.read_text().split())
        if start_ticks(pid) == ticks:
            os.kill(pid, signal.SIGTERM)
        if not Dev.wait(lambda: start_ticks(pid) != ticks, END_S):
            fail(f"{unit} on {machine} does not end within {END_S} s")
        noted.unlink()
    if orders[0] in ("start", "restart", "enable"):
        config = work / "machines" / machine / f"etc/flotilla/{role}.toml"
        with open(work / f"{unit}-{machine}.log", "ab") as log:
            command = [str(work / "usr/local/bin/flotilla"), role, "--config", str(config)]
            environment = {"PATH": os.environ["PATH"], "HOME": str(work)}
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        noted.write_text(f"{child.pid} {start_ticks(child.pid)}")
        with open(work / "started", "a") as started:
            started.write(f"{child.pid} {start_ticks(child.pid)}\n")


class Machines:
    """The machines of the manual."""

    def __init__(self, work: Path):
        self.work, self.count = work, 0
        # Whoever else uses the loopback network has other addresses, and the ports of the manual stay free.
        self.net = f"127.{random.randrange(2, 250)}.{random.randrange(2, 250)}."
        self.programs = work / "programs"
        self.programs.mkdir()
        for name, text in (("ssh", SSH), ("scp", SCP), ("systemctl", SYSTEMCTL)):
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    def folder(self, machine: str) -> Path:
        """Gives a machine's folder; makes it when it is new."""
        folder = self.work / "machines" / machine
        if not folder.exists():
            (folder / "bin").mkdir(parents=True)
            (folder / "bin/flotilla").symlink_to(os.environ["FLOTILLA"])
        return folder

    def script(self, text: str, machine: str) -> str:
        def placed(path: re.Match) -> str:
            # The program is one file, the rest is each machine's own.
            return str(self.work / path[1] if path[1].startswith("usr") else self.folder(machine) / path[1])

        return PATHS.sub(placed, text.replace("10.0.0.", self.net))

    def run(self, block: Block, host: str) -> None:
        """Runs a block in what is left of the machine's last shell."""
        machine = host.replace("10.0.0.", self.net)
        folder = self.folder(machine)
        # The first address of a block for several machines is the reader's own.
        text = re.sub(r"^ip=10\.0\.0\.\d+", f"ip={host}", block.text, flags=re.M)
        kept = shlex.quote(str(folder / "shell"))
        script = f"[ ! -e {kept} ] || . {kept}\n{self.script(text, machine)}\nexport -p > {kept}\n"
        path = f"{self.programs}:{self.work}/usr/local/bin:{os.environ['PATH']}"
        # What this check itself was told is no setting of the machine.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FLOTILLA")}
        environment |= {"PATH": path, "MACHINE": machine}
        command = ["bash", "-euo", "pipefail", "-c", script]
        log = self.work / f"block-{block.line}-{host}.log"
        with open(log, "wb") as out:
            child = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
            try:
                code = child.wait(BLOCK_S)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                code = f"no end within {BLOCK_S} s"
        self.count += len(block.commands())
        if code != 0:
            fail(f"the block at line {block.line} of OPERATIONS.md, run on {host}, ended with {code}: {log.read_text()[-600:].strip()}")


def in_front(command: list[str], dev_args: list[str]) -> None:
    """Runs a deployment in the foreground until it is ready, and ends it as Ctrl-C does."""
    with open(Path(os.environ["WORK"]) / "front.log", "ab") as log:
        child = subprocess.Popen(command + dev_args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        folder = Path(os.environ["DIR"])

        def ready() -> bool:
            if child.poll() is not None:
                fail(f"{' '.join(command)} ended with {child.returncode}")
            try:
                return all(process.ready() for process in Dev().processes)
            except (OSError, ValueError, KeyError):
                return False

        if not Dev.wait(ready, UP_S):
            fail(f"{' '.join(command)}: not ready after {UP_S} s in {folder}")
        child.send_signal(signal.SIGINT)
        if (code := child.wait(END_S)) not in (0, 130):
            fail(f"{' '.join(command)} ended with {code} after Ctrl-C")
    finally:
        if child.poll() is None:
            child.kill()


def on_dev(block: Block, words: dict[str, str], dev_args: list[str]) -> int:
    """Runs a block's commands one by one."""
    for line in block.commands():
        command = [words.get(word, word) for word in shlex.split(line)]
        up = command[1:3] == ["dev", "up"]
        if up and "--detach" not in command:
            in_front(command, dev_args)
            continue
        expected = NOT_FOUND if "--request" in command else 0
        arguments = command[1:] + (dev_args if up else [])
        ended = flotilla(*arguments, within_s=UP_S)
        if ended.returncode != expected:
            fail(f"'{line}' ended with {ended.returncode}, not {expected}: {(ended.stdout + ended.stderr).strip()[-600:]}")
    return len(block.commands())


def on_devs(found: list[Block]) -> int:
    """Runs what is for a development deployment; the first block starts and ends it, the others have one that runs."""
    base = subprocess.run([sys.executable, f"{os.environ['LIB']}/ports.py"], capture_output=True, text=True, check=True).stdout.strip()
    words, dev_args = {"bin/flotilla": os.environ["FLOTILLA"]}, ["--port-base", base]
    first, *rest = [block for block in found if block.where == ["dev"]]
    count = on_dev(first, words, dev_args)
    if (ended := flotilla("dev", "up", "--detach", *dev_args, within_s=UP_S)).returncode != 0:
        fail(f"dev up ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
    answer = Dev().client().file("PUT", "operations", b"x" * 100_000)
    if answer.status != 201:
        fail(f"a PUT was answered {answer.status} {answer.code()}")
    words["ID"] = answer.headers["x-request-id"]
    for block in rest:
        count += on_dev(block, words, [])
    if (ended := flotilla("dev", "down", within_s=END_S)).returncode != 0:
        fail(f"dev down ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
    return count


def as_written(machines: Machines) -> None:
    """Looks whether the fleet is what the manual says at its end: the first file is there, and four nodes came and two went."""
    root = machines.folder(machines.net + "1")
    token = (root / "etc/flotilla/root.key").read_text().strip()
    os.environ |= {"FLOTILLA_API": f"http://{machines.net}1:7401", "FLOTILLA_TOKEN": token}
    if (got := flotilla("get", "photos/hello.txt", "-")).stdout != "hello\n":
        fail(f"the first file reads as '{got.stdout}': {got.stderr.strip()}")
    listed = flotilla("node", "list", "--json")
    names = {entry["name"]: entry["id"] for entry in map(json.loads, listed.stdout.splitlines())}
    if sorted(names) != ["a-11", "a-12", "a-13"] or names["a-13"] <= 4:
        fail(f"the nodes are {names} in the end")


def main() -> None:
    found, faults = blocks()
    faults += [fault for block in found if block.how == "in checks" for fault in unchecked(block)]
    # A control: a block without a mark is found, and so is a word that no check has.
    planted, missed = blocks("```sh\nflotilla x\n```\n<!-- in checks drain -->\n```sh\nbin/flotilla node planted\n```\n")
    if len(missed) != 1 or len(unchecked(planted[0])) != 1:
        fail("what no test runs is not found")
    if faults:
        fail("; ".join(faults))
    if sys.argv[1:] == ["static"]:
        return
    begun = time.monotonic()
    count = on_devs(found)
    note(f"{count} commands ran on dev fleets")
    machines = Machines(Path(os.environ["WORK"]))
    for block in found:
        for host in block.where if block.how == "run on" and block.where != ["dev"] else []:
            machines.run(block, host)
            note(f"line {block.line} on {host}: {time.monotonic() - begun:.0f} s")
    as_written(machines)
    elsewhere = sum(len(block.commands()) for block in found if block.how == "in checks")
    print(f"blocks={len(found)} dev_commands={count} machine_lines={machines.count} in_other_checks={elsewhere}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["systemctl"]:
        systemctl(sys.argv[2:])
    else:
        main()
