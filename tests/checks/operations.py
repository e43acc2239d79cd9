"""Runs what docs/OPERATIONS.md tells people to type.

A machine of the manual has its address and folders here, and the programs of this machine. `ssh`, `scp` and `systemctl` are little
programs that do between them what the real ones do; `systemctl` starts what an installed unit says, as the user that it names.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from dev import Dev, fail, flotilla, note, start_ticks
from machine import SYSTEM_PATH, Machine, new_etc
from manual import REPO, Block, blocks, unchecked
from net import Net
from units import Unit

UP_S, END_S, BLOCK_S = 120, 60, 300
# What a machine has for itself. /usr/bin is not among it: the program, which the manual and the units have there, lies in OURS, and
# is one file for all.
FOLDERS = ["/etc", "/var/lib"]
OURS = Path("/usr/local/bin/flotilla")
UNITS = ["flotilla-supernode", "flotilla-node"]
# What a request that does not wait is answered with.
NOT_FOUND = 3

# The others' machines are seen from outside of one's own.
OUTSIDE = "nsenter --mount=/proc/$OUTSIDE/ns/mnt --net=/proc/$OUTSIDE/ns/net"
PROGRAM = f"""#!/bin/bash
exec {OUTSIDE} "$PYTHON" "$CHECKS/operations.py" "${{0##*/}}" "$@"
"""


def at(host: str) -> Machine:
    """A machine of the manual, with the checkout's `bin` and `examples` in the folder that its commands are typed in."""
    work = Path(os.environ["WORK"])
    folder = work / "machines" / host
    made = Machine(folder, f"{os.environ['PREFIX']}-{host}")
    if not folder.exists():
        new_etc(folder / "etc", {})
        (folder / "etc/systemd/system").mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "bin/flotilla").symlink_to(os.environ["FLOTILLA"])
        (folder / "examples").symlink_to(REPO / "examples")
    for target in FOLDERS:
        made.mount(target)
    made.mount(str(OURS.parent), work / "program")
    return made


def ssh(host: str, *command: str) -> None:
    """Runs a command in a shell of its own, as sshd does."""
    os.environ["MACHINE"] = host
    os.execvp("nsenter", at(host).inside(["bash", "-c", " ".join(command)]))


def scp(option: str, source: str, target: str) -> None:
    """Copies one file to a machine. Its mode comes along, and its owner does not."""
    if option != "-p" or not source.startswith("/") or not target.endswith("/"):
        fail(f"scp {option} {source} {target}: only `scp -p FILE HOST:FOLDER/` is known")
    to, _, path = target.partition(":")
    copied = at(os.environ["MACHINE"]).folder / source[1:]
    left = at(to).folder / path[1:]
    if not left.is_dir():
        fail(f"scp: {to} has no folder {path}")
    subprocess.run(["cp", "--preserve=mode,timestamps", str(copied), str(left)], check=True)


def systemctl(*arguments: str) -> None:
    """Starts and stops the server of a unit that is installed, as systemd does: SIGTERM, and waiting for its end."""
    host, work = os.environ["MACHINE"], Path(os.environ["WORK"])
    *orders, name = [argument for argument in arguments if argument != "--now"]
    on = at(host)
    path = on.folder / f"etc/systemd/system/{name}.service"
    if not path.exists():
        fail(f"Unit {name}.service could not be found")
    unit, noted = Unit.read(path), on.folder / f"{name}.pid"
    if orders[0] == "enable" and "WantedBy" not in unit.values:
        fail(f"{name}.service has no [Install]")
    if orders[0] in ("stop", "restart", "disable") and noted.exists():
        pid, ticks = map(int, noted.read_text().split())
        if start_ticks(pid) == ticks:
            os.kill(pid, signal.SIGTERM)
        if not Dev.wait(lambda: start_ticks(pid) != ticks, END_S):
            fail(f"{name} on {host} does not end within {END_S} s")
        noted.unlink()
    if orders[0] in ("start", "restart", "enable"):
        command = [str(OURS), *unit.command()[1:]]
        try:
            pid = unit.start(on, command, work / f"{name}-{host}.log")
        except ValueError as error:
            fail(f"{name} on {host}: {error}")
        noted.write_text(f"{pid} {start_ticks(pid)}")


class Machines:
    """The machines of the manual."""

    def __init__(self, work: Path, found: list[Block]):
        self.work, self.count = work, 0
        hosts = {host for block in found if block.how == "run on" for host in block.where if host != "dev"}
        # A machine is called by its address.
        Net(os.environ["PREFIX"], {host: host for host in sorted(hosts)}, str(work / "namespaces"))
        self.programs = work / "programs"
        self.programs.mkdir()
        for name in ("ssh", "scp", "systemctl"):
            (self.programs / name).write_text(PROGRAM)
            (self.programs / name).chmod(0o755)
        self.program = program(found)

    def run(self, block: Block, host: str) -> None:
        """Runs a block in what is left of the machine's last shell."""
        on = at(host)
        # The first address of a block for several machines is the reader's own.
        text = re.sub(r"^ip=10\.0\.0\.\d+", f"ip={host}", block.text, flags=re.M).replace(self.program, str(OURS))
        kept = shlex.quote(str(on.folder / "shell"))
        script = f"[ ! -e {kept} ] || . {kept}\n{text}\nexport -p > {kept}\n"
        # What this check itself was told is no setting of the machine.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FLOTILLA")}
        environment |= {
            "PATH": f"{self.programs}:{SYSTEM_PATH}", "HOME": str(on.folder), "XDG_CONFIG_HOME": str(on.folder / "config"),
            "MACHINE": host, "OUTSIDE": str(os.getpid()), "PYTHON": sys.executable, "FLOTILLA": os.environ["FLOTILLA"],
        }
        log = self.work / f"block-{block.line}-{host}.log"
        with open(log, "wb") as out:
            child = subprocess.Popen(
                on.inside(["bash", "-euo", "pipefail", "-c", script], cwd=str(on.folder)), env=environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
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


def as_written() -> None:
    """Looks whether the fleet is what the manual says at its end: the first file is there, and four nodes came and two went."""
    root = at("10.0.0.1")
    token = (root.folder / "var/lib/flotilla/root.key").read_text().strip()
    env = {"FLOTILLA_API": "http://10.0.0.1:7401", "FLOTILLA_TOKEN": token, "HOME": str(root.folder)}
    got = root.run([str(OURS), "get", "photos/hello.txt", "-"], env)
    if got.stdout != "hello\n":
        fail(f"the first file reads as '{got.stdout}': {got.stderr.strip()}")
    listed = root.run([str(OURS), "node", "list", "--json"], env)
    names = {entry["name"]: entry["id"] for entry in map(json.loads, listed.stdout.splitlines())}
    if sorted(names) != ["a-11", "a-12", "a-13"] or names["a-13"] <= 4:
        fail(f"the nodes are {names} in the end")


def programs(found: list[Block], units: list[Unit]) -> set[str]:
    """Where the manual puts the program, and where units look for it."""
    put = re.findall(r"^install .*\bbin/flotilla (\S+)$", "\n".join(block.text for block in found), re.M)
    return {*put, *(unit.program() for unit in units)}


def program(found: list[Block]) -> str:
    """The one place of the program."""
    units = [Unit.read(REPO / f"examples/systemd/{name}.service") for name in UNITS]
    all_of_them = programs(found, units)
    if len(all_of_them) != 1:
        fail(f"the manual and the units have the program at {sorted(all_of_them)}")
    # A control: a unit that has it elsewhere is found.
    elsewhere = Unit(units[0].values | {"ExecStart": "/opt/flotilla node"})
    if len(programs(found, [elsewhere, *units])) != 2 or not programs(found, []):
        fail("a program that is not where the units look for it is not found")
    return all_of_them.pop()


# What no check runs, and how many faults that is.
PLANTED = {
    "bin/flotilla node planted": 1, "bin/flotilla node rm 3": 1, "bin/flotilla nonsense list": 1, "nonsense node list": 1,
    "bin/flotilla node accept-disk DIR --replace-root-key --no-such-flag": 3, "bin/flotilla node list --no-such=x -n": 2,
    "bin/flotilla node list  # planted": 0, "bin/flotilla node drain 3 --undo": 0,
}
# Blocks that no test reads: without a mark, of another kind, of none, indented, in a list.
UNREAD = ["```sh\nflotilla x\n```\n"] + [f"{begin}\nflotilla x\n{begin.rstrip('bash')}\n" for begin in ("```bash", "```", "   ```sh", "~~~sh", "> ```sh", "````sh")]


def not_found() -> list[str]:
    """Controls: plants what has to be found, and what has not."""
    faults = []
    for command, wanted in PLANTED.items():
        (planted,), _ = blocks(f"<!-- in checks drain -->\n```sh\n{command}\n```\n")
        if len(found := unchecked(planted)) != wanted:
            faults.append(f"'{command}' is planted with {wanted} faults, and these are found: {found}")
    faults += [f"no test reads {text!r}, and that is not found" for text in UNREAD if len(blocks(text)[1]) != 1]
    shown = "```yaml\na: 1\n```\n1. x\n   ```json\n   {}\n   ```\n```text\n    ```bash\n```\n"
    return faults + [f"what is only shown is taken for a fault: {fault}" for fault in blocks(shown)[1]]


def main() -> None:
    found, faults = blocks()
    faults += [fault for block in found if block.how == "in checks" for fault in unchecked(block)]
    if missed := not_found():
        fail("; ".join(missed))
    if faults:
        fail("; ".join(faults))
    program(found)
    if sys.argv[1:] == ["static"]:
        return
    begun = time.monotonic()
    count = on_devs(found)
    note(f"{count} commands ran on dev fleets")
    machines = Machines(Path(os.environ["WORK"]), found)
    for block in found:
        for host in block.where if block.how == "run on" and block.where != ["dev"] else []:
            machines.run(block, host)
            note(f"line {block.line} on {host}: {time.monotonic() - begun:.0f} s")
    as_written()
    elsewhere = sum(len(block.commands()) for block in found if block.how == "in checks")
    print(f"blocks={len(found)} dev_commands={count} machine_lines={machines.count} in_other_checks={elsewhere}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ssh" | "scp" | "systemctl" as name, *rest]:
            {"ssh": ssh, "scp": scp, "systemctl": systemctl}[name](*rest)
        case _:
            main()
