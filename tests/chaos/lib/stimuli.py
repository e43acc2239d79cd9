"""What makes servers pass a failpoint: each area of the code has load or events of its own, besides the ledger's."""

import http.client
import os
import random
import subprocess
import threading
import time

import net
from lab import CLUSTER, Lab

# A node with small chunks has segments to append; chunks of more than 1 MiB have a file each at the others.
SETTINGS = {
    "version_linger": "500ms",
    "purge_interval": "500ms",
    "claim_idle": "1s",
    "down_grace": "2s",
    "voter_grace": "2s",
}
SMALL_CHUNKS = "8KiB"


class Files(threading.Thread):
    """Puts, replaces and deletes files of every size at every listener; nobody minds what is refused."""

    def __init__(self, lab: Lab):
        super().__init__(daemon=True)
        self.lab, self.stopping, self.rng = lab, threading.Event(), random.Random(7)

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            key = f"stimuli/{number % 40}"
            size = self.rng.choice([3_000_000, 1_300_000, 900_000, 20_000, 300])
            method = "DELETE" if number % 5 == 0 else "PUT"
            url = self.rng.choice([self.lab.api] + [p.public for p in self.lab.nodes])
            try:
                self.lab.client(url, 3).file(method, key, self.rng.randbytes(size) if method == "PUT" else None)
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)

    def end(self) -> None:
        self.stopping.set()
        self.join(10)


def others(lab: Lab, target) -> list:
    return [p for p in lab.nodes if p is not target]


def away(lab: Lab, target, seconds: float = 4.0) -> None:
    """Another node is gone for longer than its grace: repair copies, and drops what is too many afterwards."""
    victim = others(lab, target)[-1]
    lab.kill_all([victim])
    time.sleep(seconds)
    lab.start(victim)
    lab.wait_ready([victim], 60)
    time.sleep(1.5)


def election(lab: Lab, target) -> None:
    """A leader dies, another one is chosen."""
    victim = next((p for p in others(lab, target) if p.alive() and p.leads()), others(lab, target)[0])
    lab.kill_all([victim])
    time.sleep(2.5)
    lab.start(victim)


def conflict(lab: Lab, target) -> None:
    """The target leads alone for a while and writes entries that the others never see: they are cut off afterwards."""
    lab.net.set_cuts(net.isolated(target.name, set(lab.net.hosts)))
    client = lab.client(target.public, 0.4)
    for number in range(6):
        try:
            client.file("PUT", f"conflict/{number}", b"x")
        except (OSError, http.client.HTTPException):
            pass
    time.sleep(2.0)
    lab.net.heal()
    time.sleep(1.5)


def drain(lab: Lab, target) -> None:
    node = others(lab, target)[0]
    base = [os.environ["FLOTILLA"], "node", "drain", str(node.node_id), "--cluster", CLUSTER]
    for more in (["--no-wait"], ["--undo"]):
        subprocess.run([*base, *more], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        time.sleep(1.0)


STIMULI = {
    "repair.": away,
    "raft.before_vote": election,
    "raft.vote_written": election,
    "raft.after_vote": election,
    "raft.before_truncate": conflict,
    "raft.after_truncate": conflict,
    "drain.": drain,
}


def event_for(name: str):
    return next((event for start, event in STIMULI.items() if name.startswith(start)), None)
