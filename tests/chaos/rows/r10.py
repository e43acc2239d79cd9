"""R10: a node that is given the wrong disk ends with 78 and one line that says so, and the cluster does not notice.

usage: r10.py SIZE SEED; SCENARIOS= names some of them only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import PEER, Host, Lab, fail, note
from verdict import Figures, check_ledger, end

ROUNDS = {"short": 1, "full": 5}
EXIT_CONFIG = 78
ENDS_WITHIN_S = 30
ACKED_MIN = 300


def tree(folder: Path) -> dict[str, str]:
    """What lies in a folder, by content. The database replays its own log when it is opened to be looked at."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size < 4 << 20)
    own = (path for path in files if path.name != "LOCK" and "meta" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in own}


class Wrong:
    """A fleet under load, one of whose nodes gets a wrong disk."""

    def __init__(self, lab: Lab, figures: Figures):
        self.lab, self.figures, self.problems = lab, figures, []
        self.lines: dict[str, str] = {}
        self.taken = False

    def refused(self, what: str, host: Host, argv: list[str] | None = None, untouched: Path | None = None) -> None:
        """Starts a server that must not start."""
        before = tree(untouched) if untouched else {}
        log = self.lab.work / f"refused-{what}.log"
        with open(log, "wb") as out:
            child = subprocess.Popen(argv or host.argv, env=host.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        with open(self.lab.work / "started", "a", encoding="utf-8") as started:
            started.write(f"{child.pid} {Path(f'/proc/{child.pid}/stat').read_text().rsplit(')', 1)[1].split()[19]}\n")
        begun = time.monotonic()
        try:
            code = child.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            code = None
            child.kill()
            child.wait()
        lines = [line for line in log.read_text(errors="replace").splitlines() if line]
        errors = [line for line in lines if '"level":"ERROR"' in line or not line.startswith("{")]
        self.lines[what] = self.reason(errors[-1]) if errors else "no line"
        self.figures.add(faults=1, refused=int(code == EXIT_CONFIG))
        self.figures.worst(ends_s=time.monotonic() - begun)
        note(f"{what}: exit {code} after {time.monotonic() - begun:.1f} s: {self.lines[what]}")
        self.taken = code is None
        if code is None:
            self.problems.append(f"{what}: it went on running for {ENDS_WITHIN_S} s; last line: {(lines or ['none'])[-1][:300]}")
        elif code != EXIT_CONFIG:
            self.problems.append(f"{what}: exit {code}, not {EXIT_CONFIG}: {self.lines[what]}")
        if len(errors) != 1 and code is not None:
            self.problems.append(f"{what}: {len(errors)} lines of errors, not one: {errors[:3]}")
        if untouched and code == EXIT_CONFIG and (changed := tree(untouched)) != before:
            names = sorted(name for name in changed.keys() | before.keys() if changed.get(name) != before.get(name))
            self.problems.append(f"{what}: the refused start changed {names[:5]}")

    @staticmethod
    def reason(line: str) -> str:
        try:
            document = json.loads(line)
            return str(document.get("error") or document.get("detail") or document.get("message"))[:300]
        except ValueError:
            return line[:300]

    def with_disk(self, what: str, host: Host, disk: Path | None) -> None:
        """The host is down, and another disk (or none) stands in its folder's place."""
        own = host.data_dir.with_suffix(".own")
        host.data_dir.rename(own)
        if disk is None:
            host.data_dir.mkdir()
        else:
            shutil.copytree(disk, host.data_dir)
        self.refused(what, host, untouched=host.data_dir)
        if self.taken:
            # The cluster has a member now that forgot what it promised: nothing that comes later can be judged.
            end(self.figures, self.problems)
        shutil.rmtree(host.data_dir)
        own.rename(host.data_dir)

    def back(self, hosts: list[Host]) -> None:
        self.lab.revive(hosts)
        self.lab.wait_ready(self.lab.nodes, 60)


def wiped(wrong: Wrong) -> None:
    """An empty disk under a member's name: it would vote as if it had promised nothing."""
    host = wrong.lab.nodes[2]
    wrong.lab.kill_all([host])
    wrong.with_disk("wiped", host, None)
    wrong.back([host])


def swapped(wrong: Wrong) -> None:
    """Node 2's disk in node 3, with node 2 down: both names would be one voter."""
    two, three = wrong.lab.nodes[1:3]
    wrong.lab.kill_all([three])
    wrong.lab.kill_all([two])
    wrong.with_disk("swapped", three, two.data_dir)
    wrong.back([two, three])


def twice(wrong: Wrong) -> None:
    """A second process on the folder of one that runs, at addresses of its own."""
    host = wrong.lab.nodes[2]
    free = [part for name in ("public", "peer") for part in ("--set", f"{name}={host.address}:{7500 + len(name)}")]
    argv = host.argv + free + ["--set", "ops=127.0.0.1:7599", "--set", f"advertise_peer={host.peer}"]
    wrong.refused("twice", host, argv)
    if not host.alive():
        wrong.problems.append("twice: the first process ended")
    wrong.refused("twice-same-addresses", host)
    wrong.back([host])


def claimed(wrong: Wrong) -> None:
    """A node with a new disk joins under the address of a member that lives: it would be asked for what only that one has."""
    host = wrong.lab.nodes[2]
    # Ports of its own on the same host; only what it tells the cluster is the other's.
    own = [f"{name}={host.address}:{7500 + len(name)}" for name in ("public", "peer")]
    newcomer(wrong, "claimed", host, [*own, "ops=127.0.0.1:7599", f"advertise_peer={host.peer}"])
    if not host.alive() or not host.ready():
        wrong.problems.append("claimed: the member at that address does not serve any more")


def claimed_dead(wrong: Wrong) -> None:
    """The same, of a member that is dead: it may come back, so an operator has to say that it will not."""
    host = wrong.lab.nodes[2]
    wrong.lab.kill_all([host])
    newcomer(wrong, "claimed-dead", host, [])
    wrong.back([host])


def newcomer(wrong: Wrong, what: str, host: Host, own: list[str]) -> None:
    """Has a node with an empty folder join from this host."""
    lab, folder = wrong.lab, wrong.lab.work / "new-disk"
    known = lambda: sorted((member["id"], member["name"]) for member in lab.members())
    before = known()
    at = host.argv.index("node") + 1
    argv = [*host.argv[:at], "join", ",".join(f"{p.address}:{PEER}" for p in lab.nodes), *host.argv[at:]]
    for setting in [f"data_dir={folder}", f"name={host.name}-new", *own]:
        argv += ["--set", setting]
    wrong.refused(what, host, argv)
    said = f"node {host.node_id} is a member at {host.peer} and has another disk"
    if said not in wrong.lines[what]:
        wrong.problems.append(f"{what}: it should end with '{said}', not with '{wrong.lines[what]}'")
    if known() != before:
        wrong.problems.append(f"{what}: the members were {before}, and are {known()}")
    if wrong.taken:
        end(wrong.figures, wrong.problems)
    shutil.rmtree(folder, ignore_errors=True)


def older(wrong: Wrong) -> None:
    """A copy of a follower's disk from before: votes and acks that were given since are forgotten."""
    old_copy(wrong, "older", leads=False)


def older_leader(wrong: Wrong) -> None:
    """The same, of the leader's disk: whoever leads after it knows less of what it had."""
    old_copy(wrong, "older-leader", leads=True)


def old_copy(wrong: Wrong, what: str, leads: bool) -> None:
    lab, host = wrong.lab, wrong.lab.nodes[2]
    lab.kill_all([host])
    copy = lab.work / "older"
    shutil.copytree(host.data_dir, copy)
    lab.start(host)
    lab.wait_ready(lab.nodes, 60)
    time.sleep(2)
    leader = lab.now_leads() if lab.now_leads() is not host else lab.nodes[0]
    lab.kill_all([leader])  # so that the node gives a vote that the copy does not know of
    lab.now_leads()
    lab.start(leader)
    lab.wait_ready(lab.nodes, 60)
    if not lab.make_lead(host if leads else next(p for p in lab.nodes if p is not host)):
        fail(f"{what}: no way was found to choose the leader")
    time.sleep(1)
    lab.kill_all([host])
    wrong.with_disk(what, host, copy)
    shutil.rmtree(copy)
    wrong.back([host])


def foreign(wrong: Wrong) -> None:
    """A disk of the node with the same name of another fleet."""
    lab, host = wrong.lab, wrong.lab.nodes[0]
    other = lab.work / "other"
    command = [os.environ["FLOTILLA"], "dev", "up", "--detach", "--dir", str(other), "--clusters", "1", "--nodes", "1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    document = json.loads((other / "dev.json").read_text())
    with open(lab.work / "started", "a", encoding="utf-8") as started:
        started.writelines(f"{p['pid']} {p['start_ticks']}\n" for p in document["processes"])
    subprocess.run([command[0], "dev", "down", "--dir", str(other)], capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        fail(f"the other fleet did not start: {done.stderr[-300:]}")
    disk = next(p["data_dir"] for p in document["processes"] if p["name"] == host.name)
    lab.kill_all([host])
    wrong.with_disk("foreign", host, Path(disk))
    shutil.rmtree(other)
    wrong.back([host])


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    lab = Lab(3)
    wrong = Wrong(lab, Figures(faults=0, refused=0))
    file = lab.work / "ledger"
    run = lab.begin_ledger(file, 3600, seed, clients=4)
    scenarios = {f.__name__: f for f in (wiped, swapped, twice, claimed, claimed_dead, older, older_leader, foreign)}
    time.sleep(2)
    for _ in range(ROUNDS[size]):
        for name in os.environ.get("SCENARIOS", " ".join(scenarios)).split():
            scenarios[name](wrong)
            lab.still_runs(run)
    lab.end_ledger(run)
    problems = wrong.problems + check_ledger(file, ACKED_MIN, wrong.figures)
    end(wrong.figures, problems)


if __name__ == "__main__":
    main()
