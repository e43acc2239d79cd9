"""R6: nodes join, leave, are lost and replaced under load, leaders too and in the middle of a change: one leader a term, nothing lost.

usage: r6.py SIZE SEED
"""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

from census import census, fill, fsck
from lab import PEER, Host, Lab, fail, note
from verdict import Figures, check_ledger, end

CYCLES = {"short": ["add", "add", "leader", "crash", "replace"], "full": None}
FULL_CYCLES = 30
SPARE = 4
SILENT_MS = 5000  # what a node has to be silent for before it can be removed as lost
VOTERS_MAX = 5
JOIN_WITHIN_S, LEAVE_WITHIN_S, SETTLE_WITHIN_S, REPAIR_WITHIN_S = 60, 120, 60, 120
COPIES = 2
ACKED_MIN = 200


class Terms(threading.Thread):
    """Who said that it leads, by term, asked all the time."""

    def __init__(self, lab: Lab):
        super().__init__(daemon=True)
        self.lab, self.leaders = lab, {}

    def run(self) -> None:
        while True:
            for host in self.lab.nodes + self.lab.spares:
                answer = host.get("/metrics", 1) if host.alive() else None
                text = answer.body.decode() if answer else ""
                if 'flotilla_raft_is_leader{group="a"} 1' in text:
                    term = text.partition('flotilla_raft_term{group="a"} ')[2].partition("\n")[0]
                    self.leaders.setdefault(term, set()).add(host.name)
            time.sleep(0.05)


class Churn:
    def __init__(self, lab: Lab, rng: random.Random, figures: Figures):
        self.lab, self.rng, self.figures = lab, rng, figures
        self.gone: list[Host] = list(lab.spares)
        lab.nodes, lab.spares = list(lab.nodes), list(lab.spares)

    def command(self, *arguments: str, within_s: float = 30, check: bool = True) -> subprocess.CompletedProcess:
        command = [os.environ["FLOTILLA"], "node", *arguments]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=False)
        except subprocess.TimeoutExpired:
            told = subprocess.run([command[0], "tasks", "--json"], capture_output=True, text=True, timeout=30, check=False)
            chunks = {p.name: [p.metric("flotilla_chunks", f'state="{s}"') for s in ("ok", "surplus", "short")] for p in self.lab.nodes}
            note(f"members: {self.members()}\ntasks: {told.stdout}\nchunks ok, surplus, short: {chunks}")
            fail(f"node {' '.join(arguments)} did not end within {within_s} s")
        if check and done.returncode != 0:
            said = " ".join(f"{done.stdout} {done.stderr}".split())
            fail(f"node {' '.join(arguments)} ended with {done.returncode}: {said}")
        return done

    def members(self) -> dict[int, dict]:
        """The members as a leader tells them; nothing between two leaders."""
        done = self.command("list", "--json", check=False)
        return {entry["id"]: entry for entry in map(json.loads, done.stdout.splitlines())} if done.returncode == 0 else {}

    def begin_join(self) -> Host:
        host = self.gone.pop(0)
        shutil.rmtree(host.data_dir, ignore_errors=True)
        at = host.argv.index("node")
        peers = ",".join(f"{p.address}:{PEER}" for p in self.lab.nodes)
        config = host.argv[host.argv.index("--config") :]
        host.argv = host.argv[: at + 1] + ["join", peers] + config
        self.lab.start(host)
        self.lab.nodes.append(host)
        return host

    def joined(self, host: Host) -> None:
        self.lab.wait_ready([host], JOIN_WITHIN_S)
        known = lambda: next((id for id, entry in self.members().items() if entry["name"] == host.name), None)
        host.node_id = self.lab.wait(known, 20) or fail(f"{host.name} is ready and no member")

    def left(self, host: Host) -> None:
        if not self.lab.wait(lambda: not host.alive(), 30):
            fail(f"{host.name} runs 30 s after it was removed")
        self.lab.nodes.remove(host)
        self.gone.append(host)

    def add(self) -> str:
        host = self.begin_join()
        self.joined(host)
        return f"{host.name} joined as {host.node_id}"

    def remove(self, host: Host | None = None) -> str:
        host = host or self.rng.choice([p for p in self.lab.nodes if not p.leads()])
        self.command("drain", str(host.node_id), within_s=LEAVE_WITHIN_S)
        self.command("remove", str(host.node_id), within_s=LEAVE_WITHIN_S)
        self.left(host)
        return f"{host.name} was drained and removed"

    def leader(self) -> str:
        return "leader: " + self.remove(self.lab.now_leads())

    def replace(self) -> str:
        """A node dies with its disk; it is removed as lost, and an empty one joins."""
        host = self.rng.choice(self.lab.nodes)
        self.lab.kill_all([host])
        shutil.rmtree(host.data_dir)
        self.lab.wait(lambda: self.members().get(host.node_id, {}).get("silent_ms", 0) > SILENT_MS, 20)
        self.command("remove", str(host.node_id), "--lost", within_s=LEAVE_WITHIN_S)
        self.left(host)
        self.until_whole(f"{host.name} was lost", {host.node_id})
        fresh = self.begin_join()
        self.joined(fresh)
        return f"{host.name} was lost, {fresh.name} joined as {fresh.node_id}"

    def crash(self) -> str:
        """The leader dies while a change of the members is under way, which must end all the same."""
        host = self.rng.choice([p for p in self.lab.nodes if not p.leads()])
        self.command("drain", str(host.node_id), within_s=LEAVE_WITHIN_S)
        leader = self.lab.now_leads()
        if leader is host:
            leader = next(p for p in self.lab.nodes if p is not host)
        self.command("remove", str(host.node_id), "--no-wait")
        time.sleep(self.rng.uniform(0.0, 0.4))
        self.lab.kill_all([leader])
        time.sleep(0.5)
        self.lab.start(leader)
        gone = lambda: (found := self.members()) and host.node_id not in found
        if not self.lab.wait(gone, LEAVE_WITHIN_S):
            self.command("remove", str(host.node_id), within_s=LEAVE_WITHIN_S)
        self.lab.wait_ready([leader], 60)
        self.left(host)
        return f"{leader.name} died while {host.name} was removed"

    def two(self) -> str:
        """Two changes at once: one joins while another one leaves."""
        host = self.rng.choice([p for p in self.lab.nodes if not p.leads()])
        self.command("drain", str(host.node_id), within_s=LEAVE_WITHIN_S)
        fresh = self.begin_join()
        self.command("remove", str(host.node_id), within_s=LEAVE_WITHIN_S)
        self.joined(fresh)
        self.left(host)
        return f"{fresh.name} joined while {host.name} left"

    def next(self) -> str:
        count = len(self.lab.nodes)
        if count <= 3:
            return "add"
        if count > VOTERS_MAX:
            return self.rng.choice(["remove", "leader"])
        return self.rng.choice((["add"] if self.gone else []) + ["remove", "leader", "replace", "crash", "two"])

    def settle(self) -> None:
        """The voters are what they should be: all of three, or of five; four are what removal leaves of five."""

        def right() -> bool:
            found = self.members()
            voters = [entry for entry in found.values() if entry["role"] != "learner"]
            names = {entry["name"] for entry in found.values()} == {p.name for p in self.lab.nodes}
            want = {3: (3,), 4: (3, 4)}.get(len(found), (VOTERS_MAX,))
            return names and len(voters) in want and all(entry["standing"] == "up" for entry in found.values())

        if not self.lab.wait(right, SETTLE_WITHIN_S):
            told = [(e["id"], e["name"], e["role"], e["standing"]) for e in self.members().values()]
            fail(f"members are {told}, and {[p.name for p in self.lab.nodes]} run")

    def until_whole(self, what: str, without: set[int]) -> None:
        counted = lambda: census(self.lab.client(), self.contents, without)
        if not self.lab.wait(lambda: min(counted()) >= COPIES, REPAIR_WITHIN_S):
            fail(f"{what}: chunks by number of good copies are {counted()}")


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    settings = {"purge_interval": "1s", "version_linger": "1s", "down_grace": "3s", "voter_grace": "3s", "chunk_size": "1MiB"}
    lab = Lab(3, settings, spare=SPARE)
    rng, figures = random.Random(seed), Figures(faults=0)
    churn = Churn(lab, rng, figures)
    churn.contents = fill(lab, 40, 3)
    terms = Terms(lab)
    terms.start()
    log = lab.work / "ledger"
    run = lab.begin_ledger(log, 7200, seed, clients=4)
    for number in range(len(CYCLES[size] or range(FULL_CYCLES))):
        what = CYCLES[size][number] if CYCLES[size] else churn.next()
        begun = time.monotonic()
        told = getattr(churn, what)()
        churn.settle()
        lab.still_runs(run)
        figures.add(faults=1)
        figures.worst(cycle_s=time.monotonic() - begun)
        note(f"{what}: {told}; {len(lab.nodes)} nodes, {time.monotonic() - begun:.1f} s")
    lab.end_ledger(run)
    problems = [f"term {term} had two leaders: {sorted(names)}" for term, names in terms.leaders.items() if len(names) > 1]
    churn.until_whole("in the end", set())
    clients = {p.name: lab.client(p.public) for p in lab.nodes}
    for key, content in churn.contents.items():
        for name, client in clients.items():
            answer = client.file("GET", key)
            if answer.status != 200 or answer.body != content:
                problems.append(f"LOST {key} at {name}: {answer.status} {answer.code()}")
    if not lab.wait(lambda: fsck()[0] == 0, 60):
        problems.append(f"fsck finds {fsck()[1][-300:]}")
    problems += check_ledger(log, ACKED_MIN, figures)
    figures.add(terms=len(terms.leaders))
    end(figures, problems)


if __name__ == "__main__":
    main()
